import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ArrayProcess, range } from './support/array-process.js';
import { makeFile, until } from './support/devices.js';
import { createWithData, interruptions, members } from './support/interruptions.js';
import { hasCommands, runOk } from './support/process.js';

/**
 * The daemon is killed at exactly its n-th write, or flush, of a call that changes superblocks: for each n, as often as it
 * takes until the call gets through; in a short run for some of them. Afterwards the call has been done, or it has not.
 */
const isLong = Number(process.env.RAIDKIT_TORTURE_CYCLES ?? 0) > 10;
const stride = isLong ? 1 : 5;
/** No call needs so many writes. */
const most = 60;

const made: ArrayProcess[] = [];
afterEach(async () => {
  for (const array of made.splice(0)) {
    await array.end();
    rmSync(array.folder, { recursive: true, force: true });
  }
});

function makeArray(): ArrayProcess {
  const folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  const paths = range(members + 1).map((slot) => join(folder, `m${slot}.img`));
  for (const path of paths) makeFile(path, 4 << 20);
  const array = new ArrayProcess(folder, paths, { oneThread: true });
  made.push(array);
  return array;
}

/** Kills the daemon at the n-th such system call of `call`. False if it got through. */
async function isKilledAt(array: ArrayProcess, syscall: string, n: number, call: () => Promise<unknown>): Promise<boolean> {
  const { child, exited } = array.daemon;
  const tracer = spawn(
    'strace',
    [
      '-f',
      '-p',
      String(child.pid),
      '-o',
      '/dev/null',
      '-e',
      `trace=${syscall}`,
      '-e',
      `inject=${syscall}:signal=KILL:when=${n}`,
    ],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  const gone = new Promise((resolve) => tracer.on('exit', resolve));
  let said = '';
  tracer.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
  try {
    await until('strace has attached', () => said.includes('attached'));
    const outcome = await Promise.race([
      call().then(
        () => 'answered' as const,
        () => 'refused' as const,
      ),
      exited.then(() => 'killed' as const),
    ]);
    if (outcome === 'refused') await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, 1000))]);
    return child.exitCode !== null || child.signalCode !== null;
  } finally {
    tracer.kill('SIGTERM');
    await gone;
  }
}

describe.skipIf(!hasCommands('strace', 'nbdsh'))('killed at any write of a call, it has been done or it has not', () => {
  for (const { name, before, call, after } of interruptions) {
    it(
      name,
      async () => {
        let kills = 0;
        for (const syscall of ['pwrite64', 'fdatasync']) {
          for (let n = 1 + (name.length % stride); n < most; n += stride) {
            const array = makeArray();
            await array.start();
            await array.open(range(members));
            await before(array);
            const isKilled = await isKilledAt(array, syscall, n, () => call(array));
            if (isKilled) {
              kills++;
              await array.ended();
            } else {
              await array.stop();
            }
            await array.start();
            await array.open(range(members));
            if (isKilled) await after(array);
            await array.end();
            if (!isKilled) break;
          }
        }
        expect(kills).toBeGreaterThan(0);
      },
      isLong ? 600_000 : 120_000,
    );
  }
});

it.skipIf(!hasCommands('nbdsh'))('the one who checks notices a sector that is not as it was', async () => {
  const array = makeArray();
  await array.start();
  await array.open(range(members));
  await createWithData(array);
  await array.verify();
  await runOk('nbdsh', [
    '-c',
    `h.connect_uri(${JSON.stringify(array.uri)})\nh.pwrite(h.pread(512, 512), 0) if h.pread(512, 512) != bytes(512) else h.pwrite(b'x' * 512, 0)`,
  ]);
  await expect(array.verify()).rejects.toThrow('sector');
});
