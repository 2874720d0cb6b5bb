const suites = ['packages/core/test/slots-come-and-go.test.ts'];

/** Slots that come and go while an array is up. */
export const slots = [
  {
    id: 'slot-goes-while-requests-name-it',
    file: 'core/src/membership/slots.ts',
    line: 'if (isAtRest && array.slots.every(({ partsInFlight }) => partsInFlight === 0)) {',
    becomes: 'if (true) {',
    loses: 'what fails on one member is held against another one, which is failed for it, and the one that failed is read',
    levels: ['raid1'],
    suites,
  },
  {
    id: 'slots-keep-their-old-numbers',
    file: 'core/src/array/array.ts',
    line: 'for (const [index, slot] of this.slots.entries()) slot.renumber(index);',
    becomes: '',
    loses: 'members behind a slot that has gone are written as those before them, and the last one not at all',
    levels: ['raid1'],
    suites,
  },
  {
    id: 'slot-goes-before-marked-ones',
    file: 'core/src/membership/slots.ts',
    line: 'if (marked !== undefined)',
    becomes: 'if (marked !== undefined && marked.index < 0)',
    loses: 'a crash in the round leaves a list of bad blocks with other numbers than the superblock: bad blocks read as good',
    levels: ['raid1'],
    suites,
  },
  {
    id: 'slot-of-the-last-copy-goes',
    file: 'core/src/membership/slots.ts',
    line: 'if (slot.isConfigured && !array.canDoWithout(slot))',
    becomes: 'if (false)',
    loses: 'the one copy of what the others have missed is taken out',
    levels: ['raid1'],
    suites,
  },
  {
    id: 'former-member-keeps-its-superblock',
    file: 'core/src/membership/slots.ts',
    line: 'if (bdev !== null) await clearFormer(ctx, array, bdev, uuid);',
    becomes: '',
    loses: 'a device that was given away says for ever that it is a member, and starts an old state where it is alone',
    levels: ['raid1'],
    suites,
  },
  {
    id: 'space-is-there-before-it-is-recorded',
    file: 'core/src/membership/append.ts',
    line: 'await array.metadata.update();',
    becomes: 'void array.metadata.update().catch(() => undefined);',
    loses: 'what users write behind the old end is gone at the next start, if a crash comes before the round',
    levels: ['concat'],
    suites,
  },
];
