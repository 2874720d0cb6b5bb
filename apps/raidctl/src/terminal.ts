import { createInterface } from 'node:readline/promises';
import pc from 'picocolors';
import wrapAnsi from 'wrap-ansi';

/** The parts of the process that raidctl uses. */
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

/** Escape sequence: cursor to the upper left corner, and clear the screen. */
const clearScreen = '\u001b[H\u001b[2J';

/**
 * Control characters and characters that change the direction of text, except newlines and the escape sequences of `colors`.
 */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const unseen = /\u001b\[(?:1|22|3\d|39)m|[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** Escapes, as in JSON, what a terminal would interpret: texts may contain names that other users chose. */
export function visible(text: string): string {
  return text.replace(unseen, (found) =>
    found === '\n' || found.length > 1 ? found : `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Stands for a space that must not become a line break: a private-use character. */
const heldSpace = '\ue000';
/** Width of a terminal that does not report it. */
const usualColumns = 80;

/** Node leaves `isTTY` undefined where there is no terminal, so a default parameter would replace it. */
function isTerminal({ isTTY }: { readonly isTTY?: boolean }): boolean {
  return isTTY === true;
}

/** Writes raidctl's output and asks the user. */
export class Terminal {
  /** Whether output goes to a terminal. */
  readonly isTerminal: boolean;
  readonly colors: ReturnType<typeof pc.createColors>;
  readonly symbols: Symbols;
  /** Width in columns; infinite if output goes elsewhere, where lines may be searched. */
  readonly #width: number;
  readonly #out: NodeJS.WriteStream;
  readonly #in: NodeJS.ReadStream;

  constructor({ stdin, stdout, env }: Streams) {
    this.#out = stdout;
    this.#in = stdin;
    this.isTerminal = isTerminal(stdout);
    this.#width = this.isTerminal ? stdout.columns || usualColumns : Infinity;
    const isCapable = this.isTerminal && env.TERM !== undefined && env.TERM !== 'dumb';
    // By https://no-color.org: any non-empty value disables colours.
    this.colors = pc.createColors(isCapable && (env.NO_COLOR ?? '') === '');
    // The first non-empty variable counts.
    const locale = [env.LC_ALL, env.LC_CTYPE, env.LANG].find((value) => value !== undefined && value !== '') ?? '';
    this.symbols = isCapable && /utf-?8/i.test(locale) ? unicode : ascii;
  }

  /** Whether there is a user who can answer a question. */
  get canAsk(): boolean {
    return this.isTerminal && isTerminal(this.#in);
  }

  /**
   * Folds text into lines that fit the terminal. All but the first are indented by `indent` spaces; the first starts in that
   * column already. Lines break only between words, so a long word, such as a path, has a line to itself. Each entry of `whole`
   * counts as one word.
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

  /** Replaces what is on the screen. */
  rewrite(text: string): void {
    this.#out.write(this.isTerminal ? `${clearScreen}${visible(text)}` : visible(text));
  }

  /** Asks a question; resolves with true for `y` or `yes`. Anything else, or the end of input, is a no. */
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
