import { createInterface } from 'node:readline/promises';
import pc from 'picocolors';
import wrapAnsi from 'wrap-ansi';

/** What raidctl needs of its process. */
export interface Streams {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
}

/** Characters for trees and bars. */
export interface Symbols {
  branch: string;
  last: string;
  line: string;
  full: string;
  empty: string;
}

const unicode: Symbols = { branch: '├─ ', last: '└─ ', line: '│  ', full: '█', empty: '░' };
const ascii: Symbols = { branch: '|- ', last: '`- ', line: '|  ', full: '#', empty: '-' };

/** Escape sequence of a terminal: to the upper left corner, and clear. */
const clearScreen = '\u001b[H\u001b[2J';

/** Controls, and what turns the direction of writing, but for ends of lines and the weights and colours of `colors`. */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const unseen = /\u001b\[(?:1|22|3\d|39)m|[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** Text with names in it that others chose: what a terminal would obey is shown, as JSON has it. */
export function visible(text: string): string {
  return text.replace(unseen, (found) =>
    found === '\n' || found.length > 1 ? found : `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Stands for a space at which no line is ended: a character without a meaning of its own. */
const heldSpace = '\ue000';
/** Columns of a terminal that does not say how many it has. */
const usualColumns = 80;

/** Node leaves `isTTY` undefined where there is no terminal, and a default parameter takes that for no answer. */
function isTerminal({ isTTY }: { readonly isTTY?: boolean }): boolean {
  return isTTY === true;
}

/** Where raidctl writes, and whom it can ask. */
export class Terminal {
  /** A user sees it as it is written. */
  readonly isTerminal: boolean;
  readonly colors: ReturnType<typeof pc.createColors>;
  readonly symbols: Symbols;
  /** Columns; infinite where no user sees it as it is written, and a line may be searched for. */
  readonly #width: number;
  readonly #out: NodeJS.WriteStream;
  readonly #in: NodeJS.ReadStream;

  constructor({ stdin, stdout, env }: Streams) {
    this.#out = stdout;
    this.#in = stdin;
    this.isTerminal = isTerminal(stdout);
    this.#width = this.isTerminal ? stdout.columns || usualColumns : Infinity;
    const isCapable = this.isTerminal && env.TERM !== undefined && env.TERM !== 'dumb';
    // As https://no-color.org has it: set to anything but nothing.
    this.colors = pc.createColors(isCapable && (env.NO_COLOR ?? '') === '');
    // The first that says something counts.
    const locale = [env.LC_ALL, env.LC_CTYPE, env.LANG].find((value) => value !== undefined && value !== '') ?? '';
    this.symbols = isCapable && /utf-?8/i.test(locale) ? unicode : ascii;
  }

  /** Whether there is a user who can answer a question. */
  get canAsk(): boolean {
    return this.isTerminal && isTerminal(this.#in);
  }

  /**
   * Text as lines that fit the terminal, all but the first behind `indent` spaces; the first begins in that column too. Lines end
   * between words alone: one that is too long, as a path may be, has a line to itself. What `whole` has is one word.
   */
  fold(text: string, indent: number, whole: readonly string[] = []): string {
    if (this.#width === Infinity) return text;
    const isHeld = !text.includes(heldSpace);
    let held = text;
    if (isHeld) {
      for (const word of whole) if (word.includes(' ')) held = held.replaceAll(word, word.replaceAll(' ', heldSpace));
    }
    const folded = wrapAnsi(held, Math.max(1, this.#width - indent)).replaceAll('\n', `\n${' '.repeat(indent)}`);
    return isHeld ? folded.replaceAll(heldSpace, ' ') : folded;
  }

  write(text: string): void {
    this.#out.write(visible(text));
  }

  /** Writes in the place of what is on the screen. */
  rewrite(text: string): void {
    this.#out.write(this.isTerminal ? `${clearScreen}${visible(text)}` : visible(text));
  }

  /** Whether the answer is yes; anything but `y` or `yes` is a no, as is the end of the input. */
  async ask(question: string): Promise<boolean> {
    const lines = createInterface({ input: this.#in, output: this.#out });
    try {
      const answer = await new Promise<string>((resolve, reject) => {
        lines.once('close', () => resolve(''));
        lines.question(`${question} [y/N] `).then(resolve, reject);
      });
      return /^y(es)?$/i.test(answer.trim());
    } finally {
      lines.close();
    }
  }
}
