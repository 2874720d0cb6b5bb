import { IoType } from '@raidkit/bdev';
import { CutMode } from '../disk-faults.js';
import { metadataAreas, sectorsInUse } from '../metadata-areas.js';
import { Random } from '../random.js';
import { checkRedundancy } from '../redundancy.js';
import type { SimDisk } from '../sim-disk.js';
import { sectorBytes } from '../sector.js';
import type { SimRun } from './sim-run.js';
import { Twin } from './twin.js';
import { ViolationError } from './violation.js';

const kinds = [
  'damaged metadata',
  'an old image',
  'changed places',
  'a blank member',
  'a read-only start',
  'unreadable lists',
] as const;

/**
 * The array is at rest with all its members, and the power fails. Afterwards one of them has other contents than before, or
 * none: on a copy of the disks no wrong data may be read, and what redundancy covers must be there nevertheless.
 */
export async function attackOne(run: SimRun): Promise<void> {
  const random = new Random(run.plan.seed, 30 + (run.numProbes % 1000));
  if (!random.chance(0.6)) return;
  const kind = random.pick(kinds);
  const members = run.disks.filter((disk) => run.array()?.slots.some(({ name }) => name === disk.name) === true);
  const [member, other] = random.shuffle(members);
  if (member === undefined || other === undefined) return;
  await Twin.run(run, random.bits(), `${kind} (${member.name})`, async (twin) => {
    for (const disk of twin.disks) disk.powerCut(random.pick([CutMode.KeepAll, CutMode.LoseAll, CutMode.Random]));
    twin.model.powerCut();
    switch (kind) {
      case 'damaged metadata':
        await damaged(run, twin, member, random);
        break;
      case 'an old image':
        await oldImage(run, twin, member);
        break;
      case 'changed places':
        await changedPlaces(run, twin, member, other);
        break;
      case 'a blank member':
        await blank(run, twin, member);
        break;
      case 'a read-only start':
        await readOnly(run, twin, random.chance(0.5) ? member : null);
        break;
      case 'unreadable lists':
        await unreadableLists(run, twin);
    }
  });
}

/** Flips some bits of one member's metadata while it is not in use. */
async function damaged(run: SimRun, twin: Twin, member: SimDisk, random: Random): Promise<void> {
  const disk = twin.diskOf(member);
  for (const [name, [fromKib, endKib]] of random.shuffle(Object.entries(metadataAreas))) {
    const sectors = sectorsInUse(disk, fromKib * 2, endKib * 2);
    if (sectors.length === 0) continue;
    run.coverage.mark(`probe: damaged metadata: ${name}`);
    const sector = random.pick(sectors);
    for (let left = random.pick([1, 1, 30]); left > 0; left--) disk.corrupt(sector, random.int(0, 8 * sectorBytes - 1));
    twin.world.trace(`== ${name} of ${disk.name} is damaged, sector ${sector}`);
    break;
  }
  await startsRight(run, twin);
  if (!run.isRedundant || random.chance(0.5)) return;
  await twin.writeSome(random.int(1, 4), true);
  twin.bury();
  for (const each of twin.disks) each.powerCut(CutMode.Random);
  twin.model.powerCut();
  await startsRight(run, twin);
}

/** Restores an old snapshot of a member. Without redundancy nothing reveals such an image. */
async function oldImage(run: SimRun, twin: Twin, member: SimDisk): Promise<void> {
  const image = run.snapshots.get(member) ?? run.images.get(member);
  if (!run.isRedundant || image === undefined) return;
  run.coverage.mark('probe: an old image');
  // A former member that is still present may complete the old image: together they are the array as it was, and start as such.
  for (const disk of run.disks)
    if (run.array()?.slots.every(({ name }) => name !== disk.name) === true) twin.diskOf(disk).blank(0);
  twin.diskOf(member).media.restore(image);
  twin.world.trace(`== ${member.name} is an old image`);
  await startsRight(run, twin);
  await filled(run, twin, member);
}

/** Swaps two members: each appears under the name and uuid of the other. */
async function changedPlaces(run: SimRun, twin: Twin, member: SimDisk, other: SimDisk): Promise<void> {
  const one = twin.diskOf(member);
  const two = twin.diskOf(other);
  const exchange = (): void => {
    const media = one.media.clone();
    one.media.restore(two.media);
    two.media.restore(media);
  };
  run.coverage.mark('probe: changed places');
  twin.world.trace(`== ${one.name} and ${two.name} change places`);
  exchange();
  if ((await twin.assemble()) === 'online') {
    run.coverage.mark('probe: changed places, and started without them');
    await twin.readAll();
  }
  twin.bury();
  for (const disk of twin.disks) disk.powerCut(CutMode.KeepAll);
  twin.world.trace('== they change back');
  exchange();
  await startsRight(run, twin, true);
}

/** Replaces a member by a blank disk while no process runs. */
async function blank(run: SimRun, twin: Twin, member: SimDisk): Promise<void> {
  const disk = twin.diskOf(member);
  run.coverage.mark('probe: a blank member');
  disk.blank(twin.random.pick([0, 0xdb]));
  twin.world.trace(`== ${disk.name} is blank`);
  if (!run.isRedundant) {
    if ((await twin.assemble()) === 'online') throw new ViolationError('G2: the array starts with a blank member');
    return;
  }
  await startsRight(run, twin);
  if (twin.array?.slots.every(({ name }) => name !== disk.name) === true)
    await twin.stack.arrays.addBaseBdev(twin.array.name, disk.name);
  await filled(run, twin, member);
}

/** Starts the array read-only: nothing may change on any member, and reads must be right. */
async function readOnly(run: SimRun, twin: Twin, lost: SimDisk | null): Promise<void> {
  run.coverage.mark('probe: a read-only start');
  if (lost !== null && run.isRedundant) twin.diskOf(lost).isPresent = false;
  let changes = 0;
  for (const disk of twin.disks) {
    disk.onSubmit = ({ type }) => {
      if (type !== IoType.Read && type !== IoType.Flush) changes++;
      return undefined;
    };
  }
  const end = await twin.assemble({ start: 'readOnly' });
  if (end === 'refused') throw new ViolationError(`G8: the array does not start to be read: ${twin.refusal}`);
  await twin.readAll();
  await twin.world.sleep(40_000);
  await twin.stop();
  if (changes > 0) throw new ViolationError(`G2: an array that is only read was written to ${changes} times`);
  for (const disk of twin.disks) disk.onSubmit = null;
  await startsRight(run, twin, true);
}

/**
 * No member can read its list of bad blocks. If there are none, that must cost nothing; otherwise a forced start must give no
 * wrong data, and what is written then must survive the next start.
 */
async function unreadableLists(run: SimRun, twin: Twin): Promise<void> {
  const { badBlocks } = run.array() ?? {};
  if (!run.isRedundant || badBlocks === undefined) return;
  run.coverage.mark('probe: unreadable lists of bad blocks');
  for (const disk of twin.disks) for (let sector = 512; sector < 768; sector++) disk.latent.add(sector);
  if ((await twin.assemble()) === 'online') {
    await twin.readAll();
    return;
  }
  if (badBlocks.size === 0) throw new ViolationError(`G8: the array does not start: ${twin.refusal}`);
  run.coverage.mark('probe: unreadable lists of bad blocks: started by force');
  if ((await twin.start({ force: true })) === 'refused')
    throw new ViolationError(`G8: the array does not start by force: ${twin.refusal}`);
  await twin.readAll(true);
  await twin.writeSome(twin.random.int(1, 6), true);
  twin.bury();
  for (const disk of twin.disks) disk.powerCut(CutMode.LoseAll);
  twin.model.powerCut();
  for (const disk of twin.disks) disk.latent.clear();
  await startsRight(run, twin, true, true);
}

/** Starts the array, which may only be refused without redundancy; reads must be right. */
async function startsRight(run: SimRun, twin: Twin, mustStart = run.isRedundant, mayFail = false): Promise<void> {
  if ((await twin.assemble()) === 'refused') {
    if (mustStart) throw new ViolationError(`G8: the array does not start: ${twin.refusal}`);
    return;
  }
  await twin.readAll(mayFail);
}

/** If the member is being rebuilt, it must become current, and then the members must be consistent. */
async function filled(run: SimRun, twin: Twin, member: SimDisk): Promise<void> {
  // A former member is added again within seconds.
  await twin.world.sleep(5000);
  const { array } = twin;
  if (array === undefined || array.slots.every(({ name }) => name !== member.name)) return;
  const settled = await twin.settle();
  const problem = checkRedundancy(settled, twin.disks);
  if (problem !== null && !run.hasLied) throw new ViolationError(`G7: ${problem}`);
  await twin.readAll();
}
