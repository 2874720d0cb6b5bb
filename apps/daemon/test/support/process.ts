import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { RpcClient } from './rpc-client.js';

const bin = fileURLToPath(new URL('../../bin/raidkitd.js', import.meta.url));
const dist = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** A daemon in a process of its own, which can be killed. */
export interface DaemonProcess {
  child: ChildProcess;
  client: RpcClient;
  stdout: string;
  stderr: string;
  /** Resolves with the exit code, or the signal that ended it, when all that it has said has come. */
  exited: Promise<number | string>;
}

/** Starts the built daemon (npm run build) and waits until it answers. */
export async function spawnDaemon(
  rpcPath: string,
  args: readonly string[],
  cwd = process.cwd(),
  env = process.env,
): Promise<DaemonProcess> {
  if (!existsSync(dist)) throw new Error('this test runs the built daemon: npm run build first');
  const child = spawn(process.execPath, [bin, ...args], { stdio: ['ignore', 'pipe', 'pipe'], cwd, env });
  const exited = new Promise<number | string>((resolve) =>
    child.on('close', (code, signal) => resolve(code ?? signal ?? 'gone')),
  );
  const started = { child, exited, stdout: '', stderr: '' };
  child.stdout.on('data', (piece: Buffer) => (started.stdout += piece.toString()));
  child.stderr.on('data', (piece: Buffer) => (started.stderr += piece.toString()));
  for (;;) {
    try {
      const client = await RpcClient.connect(rpcPath);
      await client.call(args.includes('--wait-for-rpc') ? 'rpc_get_methods' : 'framework_wait_init', undefined);
      return Object.assign(started, { client });
    } catch (error) {
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(`the daemon ended: ${started.stderr}`, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** What a command printed. */
export interface Output {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Characters of its complaints that are kept. */
const mostOutput = 1 << 20;

/** A command that runs, without blocking this process, which may be the server. */
export interface Running {
  kill: () => void;
  ended: Promise<Output>;
}

/** Starts a command. */
export function launch(command: string, args: readonly string[], input?: string): Running {
  // Debian's tools look for Debian's Python, wherever another one may come first.
  const env = { ...process.env, PATH: `/usr/bin:${process.env.PATH ?? ''}` };
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
  const ended = new Promise<Output>((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()));
    // A client that has lost its server may complain without end: the last of it is enough.
    child.stderr.on('data', (piece: Buffer) => (stderr = (stderr + piece.toString()).slice(-mostOutput)));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    child.stdin.end(input);
  });
  return { kill: () => child.kill('SIGKILL'), ended };
}

/** Runs a command to its end. */
export function run(command: string, args: readonly string[], input?: string): Promise<Output> {
  return launch(command, args, input).ended;
}

/** As {@link run}; throws, with what it printed, unless it succeeded. */
export async function runOk(command: string, args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, input);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${String(code)}:\n${stdout}\n${stderr}`);
  return stdout;
}

/** Whether all of these commands are installed. In CI they must be: there, a missing one is an error. */
export function hasCommands(...commands: string[]): boolean {
  const missing = commands.filter((command) => !existsSync(`/usr/bin/${command}`) && !existsSync(`/usr/sbin/${command}`));
  if (missing.length > 0 && process.env.CI !== undefined) throw new Error(`CI lacks ${missing.join(', ')}`);
  return missing.length === 0;
}
