import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { hasCommands, run, spawnDaemon } from '../../daemon/test/support/process.js';
import type { DaemonProcess } from '../../daemon/test/support/process.js';
import { runHere } from './support/raidctl.js';
import { makeAlike, replayConsole } from './support/transcript.js';

/*
 * docs/guides/first-hour.md is what comes of typing it, in an empty folder, with the built daemon. With RAIDCTL_WRITE_DOCS=1 it is
 * made to be.
 */

const guide = new URL('../../../docs/guides/first-hour.md', import.meta.url);
const isWriting = process.env.RAIDCTL_WRITE_DOCS === '1';
const before = process.cwd();
let folder: string;
let daemon: DaemonProcess | null = null;
let server: Server;
const posted: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'first-hour-'));
  process.chdir(folder);
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      posted.push((JSON.parse(body) as { event: string }).event);
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  await end('SIGKILL');
  process.chdir(before);
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true });
});

async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | string | null> {
  if (daemon === null) return null;
  const { child, client, exited } = daemon;
  daemon = null;
  client.close();
  child.kill(signal);
  return exited;
}

/** What a shell would make of a command without anything special in it. */
function words(line: string): string[] {
  return line.replaceAll('$PWD', folder).replaceAll("'", '').split(' ');
}

/** Types one line: the daemon runs beside, raidctl in this process, and everything else in a shell. */
async function type(line: string): Promise<string> {
  const [command, ...args] = words(line);
  if (command === 'raidkitd') {
    expect(args.pop()).toBe('&');
    daemon = await spawnDaemon(join(folder, 'rpc.sock'), [...args, '--memory', '64'], folder);
    return '';
  }
  if (line === 'kill -9 %1') {
    expect(await end('SIGKILL')).toBe('SIGKILL');
    return '';
  }
  if (command === 'raidctl') {
    const { stderr, stdout } = await runHere(['-s', join(folder, 'rpc.sock'), ...args]);
    return `${stdout}${stderr}`;
  }
  const { stderr, stdout } = await run('sh', ['-c', line]);
  return `${stdout}${stderr}`;
}

const canRun = hasCommands('nbdcopy', 'mke2fs', 'e2fsck', 'debugfs');

it.skipIf(!canRun)('the first hour goes as its guide shows', async () => {
  const common = makeAlike(folder);
  // Columns are as wide as the folder's name.
  const narrow = (row: string): string => row.replaceAll(/ {2,}/g, '  ');
  const alike = (output: string): string => common(output).replaceAll(/^(SINK|program|webhook) .*$/gm, narrow);
  const { port } = server.address() as AddressInfo;
  const text = readFileSync(guide, 'utf8');
  const shown = await replayConsole(text, async (line) =>
    alike((await type(line.replaceAll(':8080', `:${port}`))).replaceAll(`:${port}`, ':8080')),
  );
  if (isWriting) writeFileSync(guide, shown);
  else expect(shown).toBe(text);
  expect(existsSync(join(folder, 'back'))).toBe(true);
  expect(await end('SIGTERM')).toBe(0);
  // Both have been told the same; of the second start perhaps not yet all.
  const told = readFileSync(join(folder, 'told'), 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[0]);
  const tested = told.lastIndexOf('TestMessage') + 1;
  expect(tested).toBeGreaterThan(5);
  expect(posted.slice(0, tested)).toEqual(told.slice(0, tested));
});
