import type { LevelOptions, RaidModule } from '@raidkit/core';
import { canGetCopies, slotsOfTwoGroups } from '../slots.js';
import { moments } from './moments.js';
import type { Scenario } from './scenario.js';
import type { Script } from './script.js';

const always = (): boolean => true;
const redundant = ({ redundancy }: RaidModule): boolean => redundancy !== 'none';
const mirror = ({ redundancy }: RaidModule): boolean => redundancy === 'copies';
const parity = ({ redundancy }: RaidModule): boolean => redundancy === 'parity';
const nullPayload = ({ manifest }: RaidModule): boolean => manifest.nullPayload;
const resizable = ({ manifest }: RaidModule): boolean => manifest.resize;

const twoGroups = (_: number, module: RaidModule, options: LevelOptions): number => slotsOfTwoGroups(module, options);
const hasCopies = (module: RaidModule, options: LevelOptions): boolean =>
  canGetCopies(module, slotsOfTwoGroups(module, options), options);
const hasSpace = ({ addedSlot }: RaidModule): boolean => addedSlot === 'space';

const nothing = (): Promise<void> => Promise.resolve();

async function usedArray(script: Script): Promise<void> {
  await script.create();
  await script.fill();
  await script.flush();
}

/** Makes an array without its second member, which has missed some writes. */
async function degradedArray(script: Script): Promise<void> {
  await usedArray(script);
  await script.remove(1);
  await script.write(0.012, 40);
  await script.flush();
}

export const scenarios: readonly Scenario[] = [
  { id: 'create', applies: always, before: nothing, startsEmpty: true, steps: (s) => s.create() },
  {
    id: 'create, and write at once',
    applies: always,
    before: nothing,
    startsEmpty: true,
    async steps(s) {
      await s.create();
      await s.write(0.2, 16);
      await s.flush();
    },
  },
  { id: 'first write', applies: always, before: (s) => s.create(), startsEmpty: true, steps: (s) => s.write(0.3, 7) },
  {
    id: 'first writes of two regions at once',
    applies: always,
    before: (s) => s.create(),
    startsEmpty: true,
    steps: (s) =>
      s.together(
        () => s.write(0.3, 7),
        () => s.write(0.99, 9),
        () => s.write(0.301, 7),
      ),
  },
  { id: 'writes', applies: always, steps: (s) => s.fill() },
  {
    id: 'writes with forced unit access',
    applies: always,
    async steps(s) {
      await s.fua(0.01, 20);
      await s.fua(0.0102, 70);
    },
  },
  {
    id: 'overlapping writes at once',
    applies: always,
    async steps(s) {
      await s.together(
        () => s.write(0.01, 40),
        () => s.write(0.0101, 40),
        () => s.write(0.0102, 3),
        () => s.read(0.01, 40),
      );
      await s.flush();
    },
  },
  {
    id: 'writes that are gathered',
    applies: parity,
    steps: (s) =>
      s.together(
        () => s.inRow(0.01, 4, 12),
        () => s.fua(0.011, 9),
        () => s.inRow(0.5, 3, 4),
      ),
  },
  {
    id: 'flush',
    applies: always,
    async steps(s) {
      await s.write(0.5, 12);
      await s.flush();
      await s.write(0.5, 12);
      await s.flush();
    },
  },
  {
    id: 'reads',
    applies: always,
    steps: (s) =>
      s.together(
        () => s.read(0, 128),
        () => s.read(0.0101, 20),
        () => s.read(0.9, 100),
      ),
  },
  {
    id: 'write zeroes',
    applies: nullPayload,
    async steps(s) {
      await s.zero(0.01, 60);
      await s.write(0.0101, 9);
      await s.flush();
    },
  },
  {
    id: 'unmap',
    applies: nullPayload,
    async steps(s) {
      await s.unmap(0.0, 128);
      await s.write(0.0101, 9);
      await s.flush();
    },
  },
  {
    id: 'regions become clean, and are written again',
    applies: redundant,
    async steps(s) {
      await s.cool();
      await s.write(0.01, 9);
      await s.write(0.9, 9);
    },
  },
  {
    id: 'regions are unmapped, idle, and written again',
    applies: (module) => redundant(module) && nullPayload(module),
    // A lost write's old contents are read until the region counts as unwritten.
    without: ['lost'],
    async steps(s) {
      await s.unmap(0, Infinity);
      await s.cool();
      await s.read(0.01, 100);
      await s.write(0.0101, 9);
      await s.flush();
    },
  },
  {
    id: 'regions are unmapped and written at once',
    applies: (module) => redundant(module) && nullPayload(module),
    // A lost write's old contents are read until the region counts as unwritten.
    without: ['lost'],
    async steps(s) {
      await s.together(
        () => s.unmap(0, Infinity),
        () => s.write(0.0101, 9),
        () => s.read(0.01, 100),
      );
      await s.read(0.01, 100);
      await s.cool();
      await s.read(0.01, 100);
    },
  },
  {
    id: 'regions are unmapped, and a member is rebuilt onto a new disk',
    applies: (module) => redundant(module) && nullPayload(module),
    // A rebuild would use the old contents of a lost write.
    without: ['lost'],
    async steps(s) {
      await s.unmap(0, Infinity);
      await s.cool();
      await s.remove(1);
      await s.add(s.run.disks.length - 1);
      await s.together(
        () => s.rebuilt(s.run.disks.length - 1),
        () => s.write(0.3, 9),
      );
      await s.read(0.3, 60);
    },
  },
  { id: 'stop and start', applies: always, steps: (s) => s.restart() },
  {
    id: 'stop in the middle of writes',
    applies: always,
    steps: (s) =>
      s.together(
        () => s.fill(),
        () => s.restart(),
      ),
  },
  { id: 'delete', applies: always, steps: (s) => s.delete(false) },
  { id: 'delete with its superblocks', applies: always, without: ['lost'], steps: (s) => s.delete(true) },
  {
    id: 'delete with its superblocks, and create anew',
    applies: always,
    // A disk that was gone comes back as a member of the previous array.
    without: ['gone', 'lost'],
    async steps(s) {
      await s.delete(true);
      await s.create();
    },
  },
  {
    id: 'grow',
    applies: resizable,
    grows: true,
    async steps(s) {
      await s.grow(512);
      await s.write(0.98, 30);
    },
  },
  {
    id: 'grow under load',
    applies: resizable,
    grows: true,
    steps: (s) =>
      s.together(
        () => s.fill(),
        () => s.grow(512),
        () => s.read(0, 128),
      ),
  },
  {
    id: 'grow with checksums',
    applies: (module) => redundant(module) && resizable(module),
    shape: { integrity: { cachePages: 2 } },
    async before(s) {
      await usedArray(s);
      await s.cool();
    },
    async steps(s) {
      await s.together(
        () => s.grow(512),
        () => s.write(0.0101, 9),
        () => s.read(0.9, 64),
      );
      await s.write(0.98, 30);
      await s.cool();
      await s.read(0.9, 64);
    },
  },
  {
    id: 'stop while an array with checksums grows',
    applies: (module) => redundant(module) && resizable(module),
    shape: { integrity: { cachePages: 2 } },
    steps: (s) =>
      s.together(
        () => s.grow(512),
        () => s.restart(),
      ),
  },
  {
    id: 'checksums are turned on',
    applies: resizable,
    shape: { integrity: { cachePages: 2, isLater: true } },
    async before(s) {
      await usedArray(s);
      await s.cool();
    },
    async steps(s) {
      await s.together(
        () => s.turnChecksumsOn(64),
        () => s.write(0.0101, 9),
        () => s.read(0.9, 64),
      );
      await s.write(0.98, 30);
      await s.cool();
      await s.read(0.9, 64);
    },
  },
  {
    id: 'checksums are turned off',
    applies: resizable,
    shape: { integrity: { cachePages: 2 } },
    async before(s) {
      await usedArray(s);
      await s.cool();
    },
    async steps(s) {
      await s.together(
        () => s.turnChecksumsOff(),
        () => s.write(0.0101, 9),
      );
      await s.write(0.02, 30);
      await s.cool();
      // Nothing verifies any more what a device may just have lost.
      await s.read(0.5, 64);
    },
  },
  {
    id: 'remove a member, and write',
    applies: redundant,
    async steps(s) {
      await s.remove(0);
      await s.fill();
      await s.flush();
    },
  },
  // A lost write cannot be detected once the member with the right data is removed.
  {
    id: 'remove a member under load',
    applies: redundant,
    without: ['lost'],
    steps: (s) =>
      s.together(
        () => s.fill(),
        () => s.remove(1),
        () => s.read(0, 100),
      ),
  },
  { id: 'degraded writes', applies: redundant, before: degradedArray, steps: (s) => s.fill() },
  {
    id: 'degraded reads',
    applies: redundant,
    before: degradedArray,
    steps: (s) =>
      s.together(
        () => s.read(0, 128),
        () => s.read(0.0101, 20),
        () => s.read(0.9, 100),
      ),
  },
  {
    id: 'degraded stop and start',
    applies: redundant,
    // A failed write leaves parity in doubt, and only the user can force a start.
    without: ['eio'],
    before: degradedArray,
    async steps(s) {
      await s.write(0.5, 8);
      await s.restart();
      await s.write(0.5, 8);
    },
  },
  {
    id: 'rebuild',
    applies: redundant,
    before: degradedArray,
    async steps(s) {
      await s.add(1);
      await s.rebuilt(1);
    },
  },
  {
    id: 'rebuild onto a new disk',
    applies: redundant,
    before: degradedArray,
    async steps(s) {
      await s.add(s.run.disks.length - 1);
      await s.rebuilt(s.run.disks.length - 1);
    },
  },
  {
    id: 'rebuild under load',
    applies: redundant,
    before: degradedArray,
    async steps(s) {
      await s.add(1);
      await s.together(
        () => s.fill(),
        () => s.read(0.01, 100),
        () => s.rebuilt(1),
      );
    },
  },
  {
    id: 'the target of a rebuild is removed',
    applies: redundant,
    before: degradedArray,
    async steps(s) {
      await s.add(1);
      await s.reached(0);
      await s.remove(1);
      await s.write(0.0101, 8);
    },
  },
  {
    id: 'stop in the middle of a rebuild, and start',
    applies: redundant,
    before: degradedArray,
    async steps(s) {
      await s.add(1);
      await s.restart();
      await s.idle();
    },
  },
  {
    id: 'delete in the middle of a rebuild',
    applies: redundant,
    // A lost write cannot be detected where nothing else has the data.
    without: ['lost'],
    before: degradedArray,
    async steps(s) {
      await s.add(1);
      await s.delete(false);
    },
  },
  {
    id: 'grow in the middle of a rebuild',
    applies: (module) => redundant(module) && resizable(module),
    before: degradedArray,
    async steps(s) {
      await s.add(1);
      await s.grow(512);
      await s.idle();
    },
  },
  {
    id: 'a copy is added',
    applies: hasCopies,
    numSlots: twoGroups,
    async steps(s) {
      const added = s.run.disks.length - 1;
      await s.addSlot(added);
      await s.rebuilt(added);
      await s.write(0.0101, 8);
    },
  },
  {
    id: 'a copy is added under load, and one goes',
    applies: hasCopies,
    numSlots: twoGroups,
    // A lost write cannot be detected once the member with the right data is removed.
    without: ['lost'],
    async steps(s) {
      const added = s.run.disks.length - 1;
      await s.addSlot(added);
      await s.together(
        () => s.fill(),
        () => s.read(0.01, 100),
        () => s.rebuilt(added),
      );
      await s.together(
        () => s.fill(),
        () => s.removeSlot(0),
        () => s.read(0.01, 100),
      );
      await s.flush();
    },
  },
  {
    id: 'a slot goes while another is empty',
    applies: hasCopies,
    numSlots: (least, module, options) => Math.max(4, twoGroups(least, module, options)),
    without: ['lost'],
    async before(s) {
      await usedArray(s);
      const added = s.run.disks.length - 1;
      await s.addSlot(added);
      await s.rebuilt(added);
      await s.remove(1);
      await s.write(0.012, 40);
      await s.flush();
    },
    async steps(s) {
      await s.together(
        () => s.write(0.3, 9),
        () => s.removeSlot(0),
      );
      await s.add(1);
      await s.rebuilt(1);
    },
  },
  {
    id: 'a mirror of one gets a copy',
    applies: (module, options) => hasCopies(module, options) && module.baseBdevsMin === 1,
    async before(s) {
      await usedArray(s);
      await s.removeSlot(0);
    },
    async steps(s) {
      await s.addSlot(0);
      await s.together(
        () => s.rebuilt(0),
        () => s.fill(),
      );
    },
  },
  {
    id: 'space is appended',
    applies: hasSpace,
    grows: true,
    async steps(s) {
      await s.together(
        () => s.fill(),
        () => s.addSlot(s.run.disks.length - 1),
      );
      await s.write(0.98, 30);
      await s.flush();
    },
  },
  {
    id: 'a member is replaced while it serves',
    applies: redundant,
    // The old contents of a lost write are copied and their disk is removed: it cannot be told any more which disk was wrong.
    without: ['lost'],
    async steps(s) {
      await s.replace(0, s.run.disks.length - 1);
      await s.together(
        () => s.fill(),
        () => s.rebuilt(s.run.disks.length - 1),
      );
    },
  },
  {
    id: 'a member is pulled out and put back',
    applies: redundant,
    async steps(s) {
      await s.pull(1);
      await s.write(0.0101, 8);
      await s.plug(1);
      await s.rebuilt(1);
    },
  },
  {
    id: 'a member is pulled out under load and put back',
    applies: redundant,
    async steps(s) {
      await s.together(
        () => s.fill(),
        () => s.pull(0),
      );
      await s.plug(0);
      await s.rebuilt(0);
    },
  },
  {
    id: 'a device without which nothing goes is pulled out and put back',
    applies: (module) => module.redundancy === 'none',
    async steps(s) {
      await s.pull(1);
      await s.plug(1);
      await s.until('the array is up', () => s.run.volume !== null);
      await s.write(0.5, 20);
    },
  },
  {
    id: 'start without one, which comes later',
    applies: redundant,
    async steps(s) {
      await s.restart([0]);
      await s.write(0.0101, 8);
      await s.plug(0);
      await s.rebuilt(0);
    },
  },
  {
    id: 'check',
    applies: redundant,
    steps: (s) => s.start('check'),
  },
  {
    id: 'repair under load',
    applies: redundant,
    steps: (s) =>
      s.together(
        () => s.start('repair'),
        () => s.fill(),
      ),
  },
  {
    id: 'stop in the middle of a check',
    applies: redundant,
    steps: (s) =>
      s.together(
        () => s.start('check'),
        () => s.restart(),
      ),
  },
  {
    id: 'two of three members leave and come back',
    numSlots: () => 3,
    together: [0, 2],
    applies: mirror,
    // The wrong data of the only member is copied to the others, and then has the majority.
    without: ['lost'],
    async steps(s) {
      await s.remove(0);
      await s.write(0.01, 8);
      await s.remove(2);
      await s.write(0.01, 8);
      await s.add(0);
      await s.rebuilt(0);
      await s.add(2);
      await s.rebuilt(2);
    },
  },
  {
    id: 'a member leaves, and another while the first is rebuilt',
    numSlots: () => 3,
    together: [0, 1],
    applies: mirror,
    async steps(s) {
      await s.remove(0);
      await s.write(0.01, 8);
      await s.add(0);
      await s.remove(1);
      await s.write(0.01, 8);
      await s.idle();
    },
  },
  {
    id: 'two members are filled in one pass',
    together: [0, 2],
    applies: redundant,
    // A lost write cannot be detected where no redundancy is left.
    without: ['lost'],
    async before(s) {
      await usedArray(s);
      await s.remove(0);
      await s.write(0.012, 40);
      await s.remove(2);
      await s.write(0.013, 40);
      await s.flush();
    },
    async steps(s) {
      await s.together(
        () => s.add(0),
        () => s.add(2),
        () => s.write(0.0101, 9),
      );
      await s.together(
        () => s.write(0.9, 30),
        () => s.read(0.01, 60),
        () => s.complete(),
      );
    },
  },
  {
    id: 'two spares take the places of two members that fail together',
    together: [0, 2],
    numSpares: 2,
    applies: redundant,
    without: ['lost'],
    // Small windows, so that users write on both sides of the process.
    shape: { windowSizeKb: 64 },
    async steps(s) {
      const { length } = s.run.disks;
      await s.spare(length - 1);
      await s.spare(length - 2);
      await s.together(
        () => s.fail(0),
        () => s.fail(2),
        () => s.write(0.0101, 9),
      );
      await s.together(
        () => s.write(0.5, 30),
        () => s.complete(),
      );
      await s.write(0.9, 30);
    },
  },
  ...moments,
];
