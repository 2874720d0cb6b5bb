/** Several members that are filled in one pass, and a wrong member that parity locates. */
const together = ['packages/raid6/test/two-at-once.test.ts'];
const located = ['packages/raid6/test/wrong-member.test.ts'];

export const severalTargets = [
  {
    id: 'target-takes-the-other-along',
    file: 'core/src/sync/process.ts',
    line: 'if (this.#targets.length === 1) throw error;',
    becomes: 'throw error;',
    loses: 'one device that fails while it is filled costs the redundancy that another one was about to bring',
    suites: together,
  },
  {
    id: 'joined-in-the-middle',
    file: 'core/src/sync/start-rebuild.ts',
    line: 'return !this.#isClosed && this.#isPartial',
    becomes: 'return this.#isPartial',
    loses: 'a member that comes in the middle of a pass becomes current without what lies before',
    suites: together,
  },
  {
    id: 'blank-with-one-that-lacks-little',
    file: 'core/src/sync/start-rebuild.ts',
    line: '&& this.#isPartial === isPartial &&',
    becomes: '&& (isPartial || true) &&',
    loses: 'a blank member gets only what another one has missed',
    suites: together,
  },
  {
    id: 'filled-by-a-rebuild-of-before',
    file: 'core/src/sync/process.ts',
    line: 'if (this.#hasEnded) return false;',
    becomes: '',
    loses: 'a request that has waited since an earlier rebuild takes a new, empty member for the one that was filled',
    suites: together,
  },
  {
    id: 'left-target-counts-as-filled',
    file: 'core/src/sync/process.ts',
    line: 'this.#setTargets(others);',
    becomes: '',
    loses: 'a target that has left is named, and waited for, until the end of a pass that goes on without it',
    suites: together,
  },
  {
    id: 'located-by-one-parity',
    file: 'core/src/sync/locate-wrong.ts',
    line: 'if (i > 0 && !array.memory.equal(wanted, found, count * array.blockSize)) return false;',
    becomes: '',
    loses: 'data that is wrong makes both parities wrong with it: what a device has changed stays changed',
    suites: located,
  },
  {
    id: 'located-without-a-member',
    file: 'core/src/sync/resync.ts',
    line: '|| derived.length < 2 || numInSync < slots.length) return false;',
    becomes: '|| derived.length < 2) return false;',
    loses: 'a repair of an array without a member ends in errors, where it would say what it cannot decide',
    suites: located,
  },
  {
    id: 'located-in-doubt',
    file: 'core/src/sync/resync.ts',
    line: 'return this.#options.wrong === undefined && !consistency.isInconsistent(at, count) &&',
    becomes: 'return this.#options.wrong === undefined &&',
    loses:
      'a repair asks where one is wrong of what a crash has left otherwise: at best it ends in errors, and parity stays wrong',
    suites: located,
  },
  {
    id: 'repair-not-flushed',
    file: 'core/src/sync/resync.ts',
    line: 'if (repairedBlocks > 0)',
    becomes: 'if (false)',
    loses: 'a power cut brings back what a repair has made good, in regions that count as clean',
    suites: located,
  },
  {
    id: 'explained-but-not-passed-over',
    file: 'core/src/sync/resync.ts',
    line: 'else left.push(...without(notes, located));',
    becomes: 'else left.push(...notes);',
    loses: 'a check names parity beside the member that is wrong',
    suites: located,
  },
];
