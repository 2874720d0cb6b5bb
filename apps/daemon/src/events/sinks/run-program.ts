import { spawn } from 'node:child_process';

/** Bytes of a program's complaints that are kept. */
const mostOutput = 2048;

/** How a program is run. */
export interface ProgramRun {
  /** Absolute path. */
  readonly path: string;
  readonly args: readonly string[];
  /** All that it has in its environment, besides {@link inherited}. */
  readonly env?: Readonly<Record<string, string>>;
  /** What it reads from standard input. Default: nothing. */
  readonly input?: string | Buffer;
  /** It is killed, with whatever it has started, after so many milliseconds. */
  readonly limitMs: number;
  readonly signal: AbortSignal;
}

/** Variables of the daemon's environment that programs have too; others may hold what is none of their business. */
const inherited = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

/** Runs a program without a shell. Resolves when it has ended with code 0; rejects, with what it has said, if not. */
export function runProgram({ path, args, env = {}, input, limitMs, signal }: ProgramRun): Promise<void> {
  const environment: Record<string, string> = { ...env };
  for (const name of inherited) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return new Promise((resolve, reject) => {
    // A group of its own: what it starts ends with it.
    const child = spawn(path, [...args], { detached: true, env: environment, stdio: ['pipe', 'ignore', 'pipe'], cwd: '/' });
    let said = '';
    let isOver = false;
    const kill = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    };
    const end = (error: Error | null): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
      child.stderr.destroy();
      child.unref();
      if (error === null) resolve();
      else reject(error);
    };
    const giveUp = (): void => {
      kill();
      end(new Error(`${path} was given up`));
    };
    const timer = setTimeout(() => {
      kill();
      end(new Error(`${path} did not end in ${limitMs / 1000} s, and was killed`));
    }, limitMs);
    timer.unref();
    signal.addEventListener('abort', giveUp);
    if (signal.aborted) giveUp();
    child.on('error', (error) => end(new Error(`${path} cannot be run: ${error.message}`)));
    child.stderr.on('data', (piece: Buffer) => (said = `${said}${piece.toString()}`.slice(-mostOutput)));
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    // Not `close`: something that it has left running may keep its streams open.
    child.on('exit', (code, killedBy) => {
      if (code === 0) end(null);
      else end(new Error(`${path} ended with ${killedBy ?? `code ${String(code)}`}${said === '' ? '' : `: ${said.trim()}`}`));
    });
  });
}

/** Text for an argument or a header line: no control characters. */
export function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replaceAll(/[\u0000-\u001f\u007f]+/g, ' ');
}
