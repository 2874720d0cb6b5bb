import { spawn } from 'node:child_process';

/** Bytes of a program's standard error that are kept. */
const mostOutput = 2048;

/** Options of {@link runProgram}. */
export interface ProgramRun {
  /** Absolute path. */
  readonly path: string;
  readonly args: readonly string[];
  /** Its environment, besides {@link inherited}. */
  readonly env?: Readonly<Record<string, string>>;
  /** Standard input. Default: empty. */
  readonly input?: string | Buffer;
  /** Milliseconds after which it is killed with all its child processes. */
  readonly limitMs: number;
  readonly signal: AbortSignal;
}

/** Variables that programs inherit from the daemon's environment. Others may hold secrets. */
const inherited = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

/**
 * Runs a program without a shell. Resolves when it ends with code 0; otherwise rejects with what it wrote to standard error.
 */
export function runProgram({ path, args, env = {}, input, limitMs, signal }: ProgramRun): Promise<void> {
  const environment: Record<string, string> = { ...env };
  for (const name of inherited) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return new Promise((resolve, reject) => {
    // The program gets its own process group, so that its child processes end with it.
    const child = spawn(path, [...args], { detached: true, env: environment, stdio: ['pipe', 'ignore', 'pipe'], cwd: '/' });
    let said = '';
    let isOver = false;
    const kill = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // The process has ended meanwhile.
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
      end(new Error(`${path} was cancelled`));
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
    // Not `close`: a child process that it left behind may keep its streams open.
    child.on('exit', (code, killedBy) => {
      if (code === 0) end(null);
      else end(new Error(`${path} ended with ${killedBy ?? `code ${String(code)}`}${said === '' ? '' : `: ${said.trim()}`}`));
    });
  });
}

/** Replaces control characters, for text in an argument or a header line. */
export function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replaceAll(/[\u0000-\u001f\u007f]+/g, ' ');
}
