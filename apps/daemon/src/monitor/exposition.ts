/** Labels of one sample. */
export type Labels = Readonly<Record<string, string | number>>;

type Type = 'counter' | 'gauge' | 'histogram';

/** A histogram that was already counted: number of values per bucket, with its upper bound. */
export interface Counted {
  /** In ascending order of the bounds. */
  readonly buckets: readonly (readonly [upper: number, count: number])[];
  readonly sum: number;
}

/**
 * Writes metrics in Prometheus' text format 0.0.4. The caller chooses names, units and types. (Prometheus client libraries can
 * only observe single values; these are already counted.)
 */
export class Exposition {
  #text = '';

  get text(): string {
    return this.#text;
  }

  gauge(name: string, help: string, samples: Iterable<readonly [Labels, number]>): void {
    this.#family(name, help, 'gauge', samples);
  }

  /** `name` must end with `_total`. */
  counter(name: string, help: string, samples: Iterable<readonly [Labels, number]>): void {
    this.#family(name, help, 'counter', samples);
  }

  /** `edges`: upper bounds of the buckets to show, ascending; what is above the last one counts only in `+Inf`. */
  histogram(name: string, help: string, edges: readonly number[], samples: Iterable<readonly [Labels, Counted]>): void {
    this.#head(name, help, 'histogram');
    for (const [labels, { buckets, sum }] of samples) {
      let below = 0;
      let next = 0;
      for (const edge of edges) {
        for (; (buckets[next]?.[0] ?? Infinity) <= edge; next++) below += buckets[next]?.[1] ?? 0;
        this.#sample(`${name}_bucket`, { ...labels, le: format(edge) }, below);
      }
      for (; next < buckets.length; next++) below += buckets[next]?.[1] ?? 0;
      this.#sample(`${name}_bucket`, { ...labels, le: '+Inf' }, below);
      this.#sample(`${name}_sum`, labels, sum);
      this.#sample(`${name}_count`, labels, below);
    }
  }

  #family(name: string, help: string, type: Type, samples: Iterable<readonly [Labels, number]>): void {
    this.#head(name, help, type);
    for (const [labels, value] of samples) this.#sample(name, labels, value);
  }

  #head(name: string, help: string, type: Type): void {
    this.#text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
  }

  #sample(name: string, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escape(String(text))}"`);
    this.#text += `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${format(value)}\n`;
  }
}

function format(value: number): string {
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : String(value);
}

function escape(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
