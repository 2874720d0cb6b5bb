import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { spawnDaemon } from '../../../daemon/test/support/process.js';
import type { DaemonProcess, Output } from '../../../daemon/test/support/process.js';
import type { RpcClient } from '../../../daemon/test/support/rpc-client.js';
import { document } from '../../src/documents.js';
import type { Document } from '../../src/documents.js';
import { main } from '../../src/run.js';

const bin = fileURLToPath(new URL('../../bin/raidctl.js', import.meta.url));
const dist = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** A daemon for the tests of a file, in a folder of its own, and raidctl to talk to it. */
export interface Bench {
  folder: string;
  daemon: DaemonProcess;
  /** Path of the control socket. */
  socket: string;
  /** Runs raidctl, without a terminal, in this process: a new one for each call takes long. */
  run(...args: string[]): Promise<Output>;
  /** Runs it, and gives what it printed; throws unless it ended with `code`. */
  ok(args: string, code?: number): Promise<string>;
  /** Runs it with `--json`, and gives the document, which is checked against the schema. */
  json<C extends Document['command']>(command: C, args: string, code?: number): Promise<Extract<Document, { command: C }>>;
}

/**
 * Starts the daemon before the tests of the file that calls this; after each test no array and no device is left. `prepare` may put
 * something into its folder before, and returns further options for it.
 */
export function bench(prepare: (folder: string) => string[] = () => []): Bench {
  const places = { folder: '', socket: '' };
  const before = process.cwd();
  let daemon: DaemonProcess | null = null;
  const tools: Bench = {
    get folder() {
      return places.folder;
    },
    get socket() {
      return places.socket;
    },
    get daemon() {
      if (daemon === null) throw new Error('the daemon runs only in tests');
      return daemon;
    },
    run: (...args) => runHere(['-s', places.socket, ...args]),
    async ok(args, code = 0) {
      const output = await tools.run(...args.split(' '));
      if (output.code === code) return output.stdout;
      throw new Error(`raidctl ${args} ended with ${String(output.code)}:\n${output.stdout}${output.stderr}`);
    },
    async json(command, args, code = 0) {
      const found = document.parse(JSON.parse(await tools.ok(`${args} --json`, code)));
      if (found.command !== command) throw new Error(`raidctl ${args} printed a document of ${found.command}`);
      return found as Extract<Document, { command: typeof command }>;
    },
  };
  beforeAll(async () => {
    places.folder = mkdtempSync(join(tmpdir(), 'raidctl-'));
    places.socket = join(places.folder, 'rpc.sock');
    const args = ['-r', places.socket, '--nbd', `unix:${join(places.folder, 'nbd.sock')}`, '--memory', '128'];
    args.push(...prepare(places.folder));
    daemon = await spawnDaemon(places.socket, args, places.folder);
    process.chdir(places.folder);
  });
  afterEach(async () => {
    if (daemon !== null) await clear(daemon.client);
  });
  afterAll(async () => {
    process.chdir(before);
    daemon?.client.close();
    daemon?.child.kill('SIGTERM');
    await daemon?.exited;
    rmSync(places.folder, { recursive: true, force: true });
  });
  return tools;
}

/** Ends all arrays and closes all devices. */
async function clear(client: RpcClient): Promise<void> {
  const arrays = (await client.call('bdev_raid_get_bdevs', { category: 'all' })) as { name: string }[];
  // The newest first: an array may be a member of a newer one.
  for (const { name } of arrays.reverse()) await client.call('bdev_raid_delete', { name });
  const spares = (await client.call('raidkit_get_spares')) as { bdev_name: string }[];
  for (const { bdev_name: name } of spares) await client.call('raidkit_remove_spare', { bdev_name: name });
  const bdevs = (await client.call('bdev_get_bdevs', {})) as { name: string }[];
  for (const { name } of bdevs) await client.call('bdev_aio_delete', { name });
}

/** Runs raidctl in this process: on a terminal of which `terminal` is the environment, or without one. */
export async function runHere(args: readonly string[], terminal?: NodeJS.ProcessEnv): Promise<Output> {
  const output = { stdout: '', stderr: '' };
  const into = (stream: 'stdout' | 'stderr'): NodeJS.WriteStream =>
    Object.assign(
      new Writable({
        write(piece: Buffer, _encoding, done) {
          output[stream] += piece.toString();
          done();
        },
      }),
      { isTTY: terminal !== undefined },
    ) as unknown as NodeJS.WriteStream;
  const { stdin } = process;
  const argv = [process.execPath, 'raidctl', ...args];
  const code = await main({ argv, stdin, stdout: into('stdout'), stderr: into('stderr'), env: terminal ?? {} });
  return { code, ...output };
}

/** What raidctl sees of the outside: a socket, and a terminal of one kind. */
export function environment(socket: string, extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const { PATH = '' } = process.env;
  return { PATH, RAIDKIT_SOCKET: socket, TERM: 'xterm-256color', LANG: 'C.UTF-8', ...extra };
}

/** Runs a command on a pseudo-terminal. When it asks a question, `answer` is typed. What it printed comes in `stdout`. */
export function onTerminal(command: string, folder: string, env: NodeJS.ProcessEnv, answer = ''): Promise<Output> {
  const asked = { answer, isAsked: false };
  return runProcess('/usr/bin/script', ['-qec', command, '/dev/null'], folder, env, asked);
}

/** The command line of raidctl, for a shell. */
export function shellCommand(args: string): string {
  if (!existsSync(dist)) throw new Error('this test runs the built raidctl: npm run build first');
  return `'${process.execPath}' '${bin}' ${args}`;
}

function runProcess(
  command: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
  asked?: { answer: string; isAsked: boolean },
): Promise<Output> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], cwd, env });
  return new Promise((resolve, reject) => {
    const output: Output = { code: null, stdout: '', stderr: '' };
    child.stdout.on('data', (piece: Buffer) => {
      output.stdout += piece.toString();
      if (asked === undefined || asked.isAsked || !output.stdout.includes('[y/N]')) return;
      asked.isAsked = true;
      child.stdin.write(`${asked.answer}\n`);
    });
    child.stderr.on('data', (piece: Buffer) => (output.stderr += piece.toString()));
    child.stdin.on('error', () => undefined);
    if (asked === undefined) child.stdin.end();
    child.on('error', reject);
    child.on('close', (code) => resolve({ ...output, code }));
  });
}
