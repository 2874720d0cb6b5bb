import { setTimeout as sleep } from 'node:timers/promises';
import { run } from './commands.js';
import { MiB } from './files.js';
import type { Rpc } from './rpc.js';
import type { Measured } from './rounds.js';

interface ArrayHealth {
  ext: { health: string; process: object | null; history: object[] };
}

async function healthOf(rpc: Rpc, name: string): Promise<ArrayHealth['ext']> {
  const [array] = (await rpc.call('raidkit_get_arrays', { name })) as ArrayHealth[];
  if (array === undefined) throw new Error(`there is no array ${name}`);
  return array.ext;
}

/** Starts a background process of the array's and waits for its end; the value is `bytes` in MiB a second. */
export async function timeProcess(rpc: Rpc, array: string, bytes: number, start: () => Promise<unknown>): Promise<Measured> {
  const startedAt = performance.now();
  const { history } = await healthOf(rpc, array);
  const before = history.length === 0 ? '' : JSON.stringify(history);
  await start();
  for (;;) {
    const now = await healthOf(rpc, array);
    if (now.process === null && now.history.length > 0 && JSON.stringify(now.history) !== before) break;
    await sleep(2);
  }
  return { value: bytes / MiB / ((performance.now() - startedAt) / 1000), ops: bytes / MiB };
}

/** Copies, or with `to` /dev/null reads, so many MiB past the page cache; the value is MiB a second. */
export async function timeDd(from: string, to: string, mebibytes: number): Promise<Measured> {
  const startedAt = performance.now();
  const intoNothing = to === '/dev/null';
  await run('dd', [
    `if=${from}`,
    `of=${to}`,
    'bs=1M',
    `count=${mebibytes}`,
    'iflag=direct',
    ...(intoNothing ? [] : ['oflag=direct', 'conv=notrunc']),
    'status=none',
  ]);
  return { value: mebibytes / ((performance.now() - startedAt) / 1000) };
}
