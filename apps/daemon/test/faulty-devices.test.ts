import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArrayProcess, range } from './support/array-process.js';
import { FaultyDevice, hasFaultyDevices, makeFile, until } from './support/devices.js';
import { hasCommands, run, runOk } from './support/process.js';

/** These tests let real devices fail under load: slot 1 is a block device behind nbdkit. */
const memberBytes = 16 << 20;
const faulty = 1;
const isLong = Number(process.env.RAIDKIT_TORTURE_CYCLES ?? 0) > 10;

let folder: string;
let device: FaultyDevice;
let array: ArrayProcess;
let mount = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  device = new FaultyDevice(join(folder, 'faulty'), memberBytes);
});
afterEach(async () => {
  await array.end();
  await device.stop();
  if (mount !== '') await run('umount', ['-l', mount]);
  mount = '';
  rmSync(folder, { recursive: true, force: true });
});

const shapes = [
  { level: 'raid1', members: 2, stripSizeKb: 0 },
  { level: 'raid5f', members: 3, stripSizeKb: 16 },
];

async function makeArray(shape: (typeof shapes)[number], path: string): Promise<void> {
  const paths = range(shape.members).map((slot) => (slot === faulty ? path : join(folder, `m${slot}.img`)));
  for (const [slot, file] of paths.entries()) if (slot !== faulty) makeFile(file, memberBytes);
  array = new ArrayProcess(folder, paths);
  await array.start();
  await array.open(range(shape.members));
  await array.create(shape, shape.members);
  await array.load();
}

/** The array has noticed that the member is gone, and goes on. */
async function isOut(): Promise<void> {
  await until('the member is out', async () => (await array.state())?.base_bdevs_list.at(faulty)?.is_configured === false);
  await sleep(200);
}

/** The device works again: it is reopened and rebuilt. */
async function returns(members: number, path = device.path): Promise<void> {
  array.paths[faulty] = path;
  await array.call('bdev_aio_delete', { name: `m${faulty}` });
  await array.open([faulty]);
  const isThere = async (): Promise<boolean> =>
    (await array.state())?.base_bdevs_list.at(faulty)?.is_configured === true || (await array.state())?.ext.process !== null;
  if (!(await isThere()))
    await array.call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: `m${faulty}` }).catch(() => undefined);
  await array.whole(members);
}

/** Users saw no error, and everything is there, on all members alike. */
async function isRight(): Promise<void> {
  await array.unload();
  await array.verify();
  await array.agrees();
  await array.stop();
}

describe.skipIf(!hasFaultyDevices() || !hasCommands('nbdsh')).each(shapes)(
  '$level: users see no error while a member',
  (shape) => {
    const { members } = shape;

    it('fails everything, and is put back when it works again', async () => {
      await device.start();
      await makeArray(shape, device.path);
      device.fail(true);
      await isOut();
      device.fail(false);
      await returns(members);
      await isRight();
    });

    it('is pulled out, and comes back', async () => {
      await device.start();
      await makeArray(shape, device.path);
      await device.vanish();
      await isOut();
      await array.call('bdev_aio_delete', { name: `m${faulty}` });
      await device.stop();
      await device.start();
      array.paths[faulty] = device.path;
      await array.open([faulty]);
      await array.whole(members);
      await isRight();
    });

    it('is slow, or does not answer for a while', async () => {
      await device.start();
      await makeArray(shape, device.path);
      device.limit('48M');
      await sleep(500);
      device.limit(null);
      device.hang();
      await sleep(1500);
      device.goOn();
      await sleep(300);
      expect((await array.state())?.num_base_bdevs_operational).toBe(members);
      await isRight();
    });

    // The daemon waits half a minute before it gives a member up.
    if (isLong) {
      it('does not answer at all', async () => {
        await device.start();
        await makeArray(shape, device.path);
        device.hang();
        await until(
          'the member is out',
          async () => (await array.state())?.base_bdevs_list.at(faulty)?.is_configured === false,
          180_000,
        );
        await sleep(500);
        device.goOn();
        await sleep(500);
        await returns(members);
        await isRight();
      }, 300_000);
    }

    it('fails while it is being filled, twice', async () => {
      await device.start();
      await makeArray(shape, device.path);
      await array.call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 4 });
      for (let round = 0; round < 2; round++) {
        device.fail(true);
        await isOut();
        device.fail(false);
        await array.call('bdev_aio_delete', { name: `m${faulty}` });
        await array.open([faulty]);
        await sleep(300);
      }
      await array.call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 0 });
      device.fail(false);
      await array.whole(members);
      await isRight();
    });

    it('fails, and the daemon is killed: the member is not taken for current', async () => {
      await device.start();
      await makeArray(shape, device.path);
      device.fail(true);
      await isOut();
      await array.kill();
      device.fail(false);
      await array.start();
      await array.open([faulty]);
      await array.open(range(members).filter((slot) => slot !== faulty));
      await array.assemble();
      await array.verify();
      const state = await array.state();
      if (state?.base_bdevs_list.at(faulty)?.is_configured !== true && state?.ext.process === null) {
        await array.call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: `m${faulty}` });
      }
      await array.whole(members);
      await array.verify();
      await array.agrees();
    });

    it('is on a file system that is full', async () => {
      mount = join(folder, 'full');
      mkdirSync(mount);
      await runOk('mount', ['-t', 'tmpfs', '-o', 'size=6M', 'tmpfs', mount]);
      const thin = join(mount, 'm1.img');
      makeFile(thin, memberBytes);
      await makeArray(shape, thin);
      await isOut();
      const roomy = join(folder, 'roomy.img');
      makeFile(roomy, memberBytes);
      await returns(members, roomy);
      await isRight();
    });
  },
);
