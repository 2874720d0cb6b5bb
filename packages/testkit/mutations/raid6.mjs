/** raid6. */
const suites = ['packages/raid6/test'];

export const raid6 = [
  {
    id: 'raid6-difference-to-parity-in-doubt',
    file: 'raid6/src/stripe-writer.ts',
    line: 'return canModify && isShort && this.#isConsistent(op) ?',
    becomes: 'return canModify && isShort ?',
    loses: 'parity that is wrong after a crash is changed by the difference, and stays wrong',
    equivalent:
      'it stays in doubt as well: only a write that makes parity from data, or a resync, ends that, and until then it is not believed',
  },
  {
    id: 'raid6-one-more-missing-than-it-can-lose',
    file: 'raid6/src/stripe-writer.ts',
    line: '// Members may have been lost during the reads and the journal write: parity replaces at most two.\n    if (this.#countMissing(io) > mostLost) {',
    becomes: 'if (false) {',
    loses: 'a third member leaves while a write waits: its data is skipped, and the write is acknowledged',
    equivalent:
      'core acknowledges no write of an array that lacks members, whatever its level says (core/test/leaving-members.test.ts)',
  },
  {
    id: 'raid6-marked-in-sync-by-the-difference',
    file: 'raid6/src/stripe-writer.ts',
    line: 'const isFromData = op.mode !== ParityMode.ReadModifyWrite && !op.hasLostOther;',
    becomes: 'const isFromData = true;',
    loses: 'parity that was changed by the difference counts as made anew from data: no resync goes there',
  },
  {
    id: 'raid6-refused-write-not-in-doubt',
    file: 'raid6/src/stripe-writer.ts',
    line: 'if (op.mode !== ParityMode.None) this.#raid.markInconsistent(start, op.c1 - op.c0);',
    becomes: '',
    loses: 'data and parities that do not belong together are believed when a member is lost',
  },
  {
    id: 'raid6-failed-members-stay',
    file: 'raid6/src/stripe-writer.ts',
    line: 'io.takeOutFailed();\n    if (io.failed.some(',
    becomes: 'if (io.failed.some(',
    loses: 'a member that missed a write is read afterwards',
  },
  {
    id: 'raid6-torn-recovery-journaled',
    file: 'raid6/src/stripe-writer.ts',
    line: 'op.isTorn = op.mustVerify && !this.#stripe.verify(op);',
    becomes: 'op.isTorn = false;',
    loses: 'what parities in doubt say of a missing member becomes the journal’s word',
  },
  {
    id: 'raid6-verified-without-q',
    file: 'raid6/src/stripe.ts',
    line: 'return memory.isZero(q, bytes);',
    becomes: 'return true;',
    loses: 'after a crash a missing member is worked out from parity that is wrong, instead of an error',
  },
  {
    id: 'raid6-agrees-by-p-alone',
    file: 'raid6/src/stripe.ts',
    line: 'return memory.isZero(p, bytes) && this.verify(op);',
    becomes: 'return memory.isZero(p, bytes);',
    loses: 'a block that was read in doubt cannot be told when its member is lost before the resync',
  },
  {
    id: 'raid6-in-doubt-read-unlocked',
    file: 'raid6/src/reconstruction.ts',
    line: "io.lock(this.#columns, offset, offset + io.numBlocks, 'shared', this.#begin);",
    becomes: 'this.#begin(io);',
    loses: 'a member is worked out from blocks of which a write has reached some',
  },
  {
    id: 'raid6-doubtful-parity-believed',
    file: 'raid6/src/reconstruction.ts',
    line: 'return this.#raid.isInconsistent(io.b + op.c0, op.c1 - op.c0);',
    becomes: 'return false;',
    loses: 'after a crash a missing member is worked out from parity that is wrong, instead of an error',
  },
  {
    id: 'raid6-settles-nothing',
    file: 'raid6/src/raid6.ts',
    line: 'if (!this.#raid.isReadOnly && this.#raid.isInconsistent(memberOffset, request.numBlocks)) {',
    becomes: 'if (false) {',
    loses: 'what was read after a crash reads otherwise when its member is lost before the resync',
  },
  {
    id: 'raid6-contradicts-nothing',
    file: 'raid6/src/settlement.ts',
    line: 'if (canSettle && lostData >= 0 && io.unreadable.length === 1) {',
    becomes: 'if (false) {',
    loses: 'what was read after a crash, beside a chunk that could not be read then, reads otherwise when its member is lost',
  },
  {
    id: 'raid6-gives-nothing-back',
    file: 'raid6/src/reconstruction.ts',
    line: "if (io.kind === 'read' && op.mustVerify && op.isReadInDoubt && io.hasMember(io.a)) this.#giveBack(io, op);",
    becomes: 'if (false) this.#giveBack(io as never, op);',
    loses: 'what both parities gave after a crash reads otherwise when its member can read it again',
  },
  {
    id: 'raid6-amended-with-the-wrong-power',
    file: 'raid6/src/stripe-writer.ts',
    line: 'kernels.xorInto(p, held, bytes);\n      kernels.gfMulInto(q, held, gfPower(chunk), bytes);',
    becomes: 'kernels.xorInto(p, held, bytes);\n      kernels.gfMulInto(q, held, gfPower(0), bytes);',
    loses: 'after a write that a full member refused Q says of others what they do not hold',
  },
  {
    id: 'raid6-older-entry-for-a-member-that-came-back',
    file: 'raid6/src/stripe-writer.ts',
    line: 'if (op.isUnjournaled && !isWritten) continue;',
    becomes: '',
    loses: 'parity in doubt says what the journal has of a member, and a replay writes that',
  },
].map((mutation) => ({ ...mutation, suites }));
