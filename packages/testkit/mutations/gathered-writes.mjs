const file = 'core/src/io/write-gather.ts';
const suites = ['packages/core/test/gathered-writes.test.ts'];

/** Writes that are made as one. */
export const gatheredWrites = [
  {
    id: 'gathered-and-failed',
    file,
    line: 'if (status === Status.Ok) this.#acknowledge(run);',
    becomes: 'if (status === Status.Ok || status !== Status.Ok) this.#acknowledge(run);',
    loses: 'writes that were made as one are acknowledged though that one has failed',
    suites,
  },
  {
    id: 'gathered-with-other-flags',
    file,
    line: 'return run.flags === flags && run.numBlocks + numBlocks <= this.#mostBlocks;',
    becomes: 'return run.numBlocks + numBlocks <= this.#mostBlocks;',
    loses: 'a write that was to be on stable media goes with one that was not, and is only in caches when it is acknowledged',
    suites,
  },
  {
    id: 'gathered-and-overtaken',
    file,
    line: 'if (overlaps && stream !== null) this.#start(stream, run);',
    becomes: '',
    loses: 'a write that waits to be made with others is made over a later one to the same blocks',
    suites,
  },
  {
    id: 'gathered-though-given-up',
    file,
    line: 'if (first === null || !this.#mayGather() || isAnyUnwanted(run)) this.#takeApart(run);',
    becomes: 'if (first === null || !this.#mayGather()) this.#takeApart(run);',
    loses: 'a write that was given up while it waited is begun after whoever asked has been told, over what came after it',
    suites,
  },
  {
    id: 'made-alone-though-given-up',
    file,
    line: 'if (isUnwanted(io)) io.complete(Status.Cancelled);',
    becomes: 'if (false) io.complete(Status.Cancelled);',
    loses: 'as before, where the writes that have waited go one by one',
    suites,
  },
  {
    id: 'gathered-with-nothing-to-lose',
    file,
    line: "if (array.module.redundancy !== 'parity' || array.canLose < 1) return;",
    becomes: "if (array.module.redundancy !== 'parity' || array.canLose < 0) return;",
    loses: 'a part that fails leaves blocks of an absent member in doubt at which the failed write was not',
    suites,
  },
  {
    id: 'gathered-by-what-was-true-before',
    file,
    line: 'if (array.membership !== this.#membership || array.currentGeometry !== this.#geometry) this.#look();',
    becomes: 'if (this.#geometry === null) this.#look();',
    loses: 'as before, where the member has left since',
    suites,
  },
  {
    id: 'gathered-across-stripes',
    file,
    line: 'return (offsetBlocks + numBlocks) % this.#unit === 0 || numBlocks >= this.#mostBlocks;',
    becomes: 'return numBlocks >= 2 * this.#mostBlocks;',
    loses: 'a level that has asked for writes within a stripe is handed one across two',
    suites,
  },
  {
    id: 'gathered-of-refused-parts',
    file: 'raid5f/src/raid5f.ts',
    line: 'gathersWrites: !this.#isFullStripeOnly,',
    becomes: 'gathersWrites: true,',
    loses: 'an array that refuses parts of stripes takes them when there are enough at a time',
    suites,
  },
];
