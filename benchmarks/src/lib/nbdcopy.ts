import { run } from './commands.js';
import { MiB } from './files.js';
import type { Measured } from './rounds.js';

const requestBytes = 256 * 1024;

/** Copies as often as it goes in the time, one copy after the other, over one connection; the value is MiB/s. */
export async function copyRepeatedly(from: string, to: string, job: { bytes: number; seconds: number }): Promise<Measured> {
  const startedAt = performance.now();
  let copies = 0;
  do {
    await run('nbdcopy', ['--connections=1', '--requests=64', `--request-size=${requestBytes}`, from, to]);
    copies++;
  } while (performance.now() - startedAt < job.seconds * 1000);
  const taken = (performance.now() - startedAt) / 1000;
  return { value: (copies * job.bytes) / MiB / taken, ops: (copies * job.bytes) / requestBytes };
}
