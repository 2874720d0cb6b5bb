import { IoType, Status } from '@raidkit/bdev';
import { parseSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { memberUuid, newRig, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { VolatileDisk, plugInDisk } from '../../../test/support/volatile-disk.js';

/** The sequence number of the superblock on a member. */
function numberOf({ bytes }: RamDisk): number {
  const found = parseSuperblock(bytes.subarray(0, 4096));
  if (!found.ok) throw new Error('there is no superblock');
  return found.superblock.seqNumber;
}

async function plug({ registry }: Rig, index: number, bytes: Uint8Array): Promise<RamDisk> {
  return (await plugIn(registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk;
}

it('a start without a member numbers its superblocks above those of a start with all that was cut short', async () => {
  const rig = newRig();
  const first = [await plug(rig, 0, new Uint8Array(3 << 20)), await plug(rig, 1, new Uint8Array(3 << 20))];
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  await rig.arrays.stop();
  // The machine stops when m0 alone has the superblock of the next start.
  const cut = newRig();
  const [m0, m1] = first.map(({ bytes }) => new VolatileDisk(cut.registry, bytes.slice())) as [VolatileDisk, VolatileDisk];
  m1.fault = ({ type, offsetBlocks }) => (type === IoType.Write && offsetBlocks === 0 ? null : Status.Ok);
  const plugged = Promise.all([plugInDisk(cut.registry, 0, m0), plugInDisk(cut.registry, 1, m1)]);
  await until(() => m1.held.length > 0 && numberOf(m0) > numberOf(first[0]!), 'm0 has the superblock');
  const [ahead, behind] = [m0.bytes.slice(), m1.bytes.slice()];
  m1.fault = () => Status.Ok;
  for (const io of m1.held.splice(0)) m1.finish(io, Status.Ok);
  await plugged;
  await until(() => cut.arrays.get('a')?.state === 'online', 'the start ends');
  await cut.arrays.stop();
  const alone = newRig();
  const left = await plug(alone, 1, behind);
  await alone.arrays.startDegraded('a');
  const found = await plug(newRig(), 0, ahead);
  expect(numberOf(left)).toBeGreaterThan(numberOf(found));
  await alone.arrays.stop();
});
