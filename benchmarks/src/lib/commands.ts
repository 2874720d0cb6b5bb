import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Debian's package of each program that is measured, or that measures. */
const debianPackages: Readonly<Record<string, string>> = {
  fio: 'fio',
  nbdkit: 'nbdkit',
  'qemu-nbd': 'qemu-utils',
  nbdcopy: 'libnbd-bin',
  losetup: 'mount',
  openssl: 'openssl',
  dd: 'coreutils',
};

/** Throws, naming what to install, unless every program is there. */
export function requireCommands(...names: string[]): void {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const missing = names.filter((name) => !folders.some((folder) => existsSync(join(folder, name))));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((name) => debianPackages[name] ?? name))];
  throw new Error(`this benchmark needs ${missing.join(', ')}: on Debian, apt-get install ${packages.join(' ')}`);
}

/** Runs a program to its end and gives what it wrote to stdout. Throws with what it wrote to stderr unless it succeeded. */
export async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()));
  child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')} ended with ${code ?? 'a signal'}: ${stderr.trim() || stdout.trim()}`);
}

const servers = new Set<ChildProcess>();
process.on('exit', () => {
  for (const server of servers) server.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

/** A program that serves until it is ended. */
export interface Service {
  readonly pid: number;
  end(): Promise<void>;
}

/** Starts a server and waits until `isUp`. It ends with this process at the latest. */
export async function serve(command: string, args: readonly string[], isUp: () => Promise<boolean>): Promise<Service> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  servers.add(child);
  let stderr = '';
  child.stderr.on('data', (piece: Buffer) => (stderr = (stderr + piece.toString()).slice(-4000)));
  const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  child.on('error', (error) => (stderr += error.message));
  const isGone = (): boolean => child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  for (let tries = 0; !(await isUp()); tries++) {
    if (isGone() || tries === 1000) throw new Error(`${command} ${args.join(' ')} did not come up: ${stderr.trim()}`);
    await sleep(20);
  }
  return {
    pid: child.pid ?? 0,
    async end() {
      servers.delete(child);
      if (!isGone()) child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await exited;
      clearTimeout(timer);
    },
  };
}
