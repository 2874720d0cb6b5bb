import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, until } from '../../../test/support/rig.js';

const MiB = 1 << 20;
/** First block of a member's data area. */
const dataOffset = 2048;

const firstByte = (data: Uint8Array): number => data[0]!;
const answerOf = (request: Promise<Uint8Array>): Promise<number | string> =>
  request.then(firstByte, (error: unknown) => String(error));

function release(disk: RamDisk): void {
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
}

for (const failing of [0, 2] as const) {
  for (const how of ['write', 'write of zeroes'] as const) {
    it(`raid5f: a ${how} that fails on m${failing} where a rebuild has been leaves no parity that is believed`, async () => {
      const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 4 });
      // Stripe 0: chunk 0 on m0, chunk 1 on m1, parity on m2.
      await volume.write(0, blocks(32, 1));
      await volume.write(32, blocks(32, 0x40));
      await volume.write(volume.numBlocks - 64, blocks(64, 3));
      await volume.flush();
      const array = arrayOf(rig, 'a');
      await rig.arrays.removeBaseBdev('m1');
      await volume.write(16, blocks(1, 1));
      await volume.write(volume.numBlocks - 64, blocks(64, 3));
      // The rebuild stops before its last window.
      disks[1]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks > dataOffset + 2048 ? null : Status.Ok);
      await rig.arrays.addBaseBdev('a', 'm1');
      await until(() => disks[1]!.held.length > 0 && (array.process?.offsetBlocks ?? 0) > 0, 'the first window is filled');
      let failures = 0;
      disks[failing]!.fault = (io) =>
        (io.type === IoType.Write || io.type === IoType.WriteZeroes) && io.offsetBlocks >= dataOffset && failures++ === 0
          ? Status.IoError
          : Status.Ok;
      await expect(how === 'write' ? volume.write(0, blocks(1, 2)) : volume.writeZeroes(0, 1)).rejects.toThrow(/EIO/);
      expect(array.numInSync).toBe(2);
      release(disks[1]!);
      await until(() => array.process === null && array.numInSync === 3, 'the rebuild has ended');
      // The member is lost again before a resync; what it holds was flushed long ago.
      await rig.arrays.removeBaseBdev('m1', { force: true });
      expect([0x40, expect.stringMatching(/EIO/)]).toContainEqual(await answerOf(volume.read(32, 1)));
      expect(await answerOf(volume.read(33, 1))).toBe(0x40);
    });
  }
}

it('a target whose flush fails for the sake of metadata is failed: what it has dropped the next flush does not bring back', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 4 });
  await volume.write(0, blocks(8, 1));
  await rig.arrays.removeBaseBdev('m1');
  await volume.write(0, blocks(8, 2));
  await volume.write(volume.numBlocks - 8, blocks(8, 2));
  const array = arrayOf(rig, 'a');
  const target = disks[1]!;
  target.fault = (io) => (io.type === IoType.Write && io.offsetBlocks > dataOffset + 4096 ? null : Status.Ok);
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => target.held.length > 0 && (array.process?.offsetBlocks ?? 0) > 0, 'the first window is filled');
  // The device loses its cache at the flush behind a header, and says so once.
  let failures = 0;
  const held = target.fault;
  target.fault = (io) => {
    if (io.type !== IoType.Flush || failures++ > 0) return held(io);
    target.bytes.fill(0xee, MiB, MiB + 8 * 512);
    return Status.IoError;
  };
  await array.metadata.update();
  expect(failures).toBe(1);
  expect(array.slots[1]!.isRemoving || array.slots[1]!.descriptor === null).toBe(true);
  release(target);
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'rebuild', error: expect.stringMatching(/left|ENODEV/) as unknown });
  expect(array.numInSync).toBe(1);
  expect(await answerOf(volume.read(0, 1))).toBe(2);
});

it('no rebuild begins on an array that went offline while the device was looked at', async () => {
  const { rig, disks, volume } = await build('raid5f', 3);
  await volume.write(0, blocks(64, 1));
  volume.descriptor.close();
  const array = arrayOf(rig, 'a');
  await rig.arrays.removeBaseBdev('m1');
  disks[1]!.fault = (io) => (io.type === IoType.Read ? null : Status.Ok);
  const added = rig.arrays.addBaseBdev('a', 'm1');
  await until(() => disks[1]!.held.length > 0, 'it is being looked at');
  await rig.registry.unregister(rig.registry.get('m0')!);
  await until(() => array.state === 'offline', 'offline');
  release(disks[1]!);
  await expect(added).rejects.toThrow(/offline/);
  expect(rig.events.some(({ type }) => type === 'processStarted')).toBe(false);
});

for (const when of ['before it has begun', 'at its last flush'] as const) {
  it(`a rebuild does not complete on an array that has gone offline ${when}, and the array comes back`, async () => {
    const { rig, disks, volume } = await build('raid5f', 3);
    await volume.write(0, blocks(64, 1));
    await volume.flush();
    volume.descriptor.close();
    const array = arrayOf(rig, 'a');
    await rig.arrays.removeBaseBdev('m1');
    const target = disks[1]!;
    const hasData = (): boolean => target.log.slice(logged).some((entry) => entry.startsWith(`write ${dataOffset}+`));
    const logged = target.log.length;
    target.fault = (io) => (io.type === IoType.Flush && (when === 'at its last flush' ? hasData() : true) ? null : Status.Ok);
    await rig.arrays.addBaseBdev('a', 'm1');
    await until(() => target.held.length > 0, 'it flushes');
    const gone = rig.registry.unregister(rig.registry.get('m0')!);
    await until(() => array.state === 'offline', 'offline');
    release(target);
    await gone;
    await array.processEnded;
    expect(array.slots[1]!.isInSync).toBe(false);
    const finished = rig.events.filter(({ type }) => type === 'processFinished');
    expect(finished).toEqual(
      when === 'at its last flush' ? [expect.objectContaining({ error: expect.stringMatching(/m0|offline/) as unknown })] : [],
    );
    // The member is back, and so is the array.
    await plugIn(rig.registry, { name: 'm0', uuid: memberUuid(0), bytes: disks[0]!.bytes });
    await rig.registry.waitForExamine();
    await until(() => rig.arrays.get('a')?.state === 'online', 'online again');
    const again = rig.registry.open('a');
    again.close();
  });
}
