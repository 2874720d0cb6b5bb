/** A line of a plot; the newest value is the last, and null is a gap. */
export interface Series {
  name: 'read' | 'write';
  values: readonly (number | null)[];
}

interface Props {
  title: string;
  series: readonly Series[];
  /** Number of values that fit in the plot's width. */
  room: number;
  /** Time that the width stands for, in words. */
  span: string;
  format: (value: number) => string;
  /** Base of the units of `format`: the top of the plot is a round number of them. */
  base: 1000 | 1024;
}

const width = 300;
const height = 64;

/** Plots lines over time, from zero. The latest values are also given in words. */
export function Plot({ base, format, room, series, span, title }: Props) {
  const most = Math.max(0, ...series.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const top = roundUp(most, base);
  const last = series.map(({ name, values }) => `${name} ${say(values.at(-1) ?? null, format)}`);
  return (
    <figure class="plot">
      <figcaption>
        <span class="plot-title">{title}</span>
        <span class="keys">
          {series.map(({ name, values }) => (
            <span class={`key ${name}`} key={name}>
              {name} <b>{say(values.at(-1) ?? null, format)}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title} over the last ${span}: at most ${format(most)}; now ${last.join(', ')}`}
      >
        <path class="grid" d={`M0 ${height - 0.5}H${width}M0 ${height / 2}H${width}M0 .5H${width}`} />
        {series.map(({ name, values }) => (
          <g class={name} key={name}>
            <path class="area" d={pathOf(values, room, top, true)} />
            <path class="line" d={pathOf(values, room, top, false)} />
          </g>
        ))}
      </svg>
      <div class="scale" aria-hidden="true">
        <span>{span} ago</span>
        <span>{top === 0 ? '' : `top: ${format(top)}`}</span>
        <span>now</span>
      </div>
    </figure>
  );
}

function say(value: number | null, format: (value: number) => string): string {
  return value === null ? '–' : format(value);
}

/** Rounds up to 1, 2 or 5 times a power of ten of a unit. */
function roundUp(value: number, base: number): number {
  if (value <= 0) return 0;
  const unit = base ** Math.floor(Math.log(value) / Math.log(base));
  const power = unit * 10 ** Math.floor(Math.log10(value / unit));
  return Math.min([1, 2, 5, 10].map((step) => step * power).find((round) => round >= value) ?? Infinity, unit * base);
}

/** Returns the path of a line through the values, or of the area below it; a gap interrupts it. */
function pathOf(values: readonly (number | null)[], room: number, top: number, isArea: boolean): string {
  const step = width / Math.max(1, room - 1);
  const shown = values.slice(-room);
  const x = (index: number): string => (width - (shown.length - 1 - index) * step).toFixed(1);
  const y = (value: number): string => (top === 0 ? height - 1 : height - 1 - (value / top) * (height - 3)).toFixed(1);
  let path = '';
  shown.forEach((value, index) => {
    if (value === null) return;
    const isFirst = (shown[index - 1] ?? null) === null;
    const isLast = (shown[index + 1] ?? null) === null;
    const from = isArea && isFirst ? `M${x(index)} ${height}L` : isFirst ? 'M' : 'L';
    path += `${from}${x(index)} ${y(value)}${isArea && isLast ? `V${height}Z` : ''}`;
  });
  return path;
}
