import fc from 'fast-check';
import { expect, it } from 'vitest';
import { encodeSuperblock, parseSuperblock } from '../src/codec.js';
import { fixCrc, isAcceptable, superblocks } from './codec-oracle.js';

const ROUNDS = 200_000;
/** Offsets where a change is likely to matter, and all others. */
const HOT_OFFSETS = [0, 8, 10, 12, 13, 14, 24, 40, 41, 103, 104, 110, 111, 112, 113, 120, 124, 128, 134, 136, 137, 255];
const HOT_ENTRY_OFFSETS = [0, 15, 16, 22, 23, 24, 30, 31, 32, 33, 36, 40, 41];
const HOT_VALUES = [0, 1, 2, 3, 4, 0x1f, 0x20, 0x2f, 0x7f, 0x80, 0xff];

it('never throws and never accepts what may not be believed, whatever the bytes', () => {
  const seeds = fc.sample(superblocks, { numRuns: 60, seed: 42 }).map(encodeSuperblock);
  let state = 0x5eed;
  /** An integer below `limit`. */
  const below = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const of = <T>(values: readonly T[]) => values[below(values.length)]!;

  const changeOne = (bytes: Uint8Array) => {
    const entry = 256 + 64 * below(Math.min(6, (bytes.length - 256) / 64));
    switch (below(6)) {
      case 0:
        bytes[below(bytes.length)] = below(256);
        break;
      case 1:
        bytes[of(HOT_OFFSETS)] = of(HOT_VALUES);
        break;
      case 2:
        bytes[entry + of(HOT_ENTRY_OFFSETS)] = of(HOT_VALUES);
        break;
      case 3:
        bytes[of(HOT_OFFSETS)]! ^= 1 << below(8);
        break;
      case 4: // One entry is copied over another.
        bytes.copyWithin(entry, 256, 256 + of([16, 40, 64]));
        break;
      default:
        bytes.fill(
          of(HOT_VALUES),
          ...(
            [
              [24, 40],
              [40, 104],
              [104, 112],
              [128, 136],
              [entry, entry + 16],
              [entry + 16, entry + 32],
            ] as const
          )[below(6)]!,
        );
    }
  };

  const verdicts = { accepted: 0, none: 0, incomplete: 0, damaged: 0, unsupported: 0, invalid: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const original = of(seeds);
    // Mostly small ones: they are quicker, and the fields are the same.
    let bytes = original.length > 1024 && below(64) > 0 ? seeds.find((seed) => seed.length <= 1024)!.slice() : original.slice();
    if (below(20) === 0) {
      for (let i = 8; i < Math.min(bytes.length, 700); i++) bytes[i] = below(256);
    }
    for (let changes = below(4); changes > 0; changes--) changeOne(bytes);
    if (below(8) > 0) fixCrc(bytes);
    if (below(16) === 0) bytes = bytes.slice(0, below(bytes.length + 1));

    const context = () => `round ${round}: ${Buffer.from(bytes).toString('hex')}`;
    const result = parseSuperblock(bytes);
    if (result.ok !== isAcceptable(bytes)) expect.fail(`${result.ok ? 'accepted' : result.message} in ${context()}`);
    if (result.ok) {
      verdicts.accepted++;
      // A superblock that was read can be written, with the same bytes unless there was a warning.
      const again = encodeSuperblock(result.superblock);
      const isSame = Buffer.compare(again, bytes.subarray(0, result.length)) === 0;
      if (!isSame && result.warnings.length === 0) expect.fail(`silently changed by writing: ${context()}`);
    } else {
      verdicts[result.reason]++;
      if (result.reason === 'incomplete' && !(result.neededBytes! > bytes.length && result.neededBytes! <= 16576)) {
        expect.fail(`asks for ${result.neededBytes} bytes in ${context()}`);
      }
    }
  }
  // Some of the inputs were accepted, and some refused.
  for (const [verdict, count] of Object.entries(verdicts)) expect(count, verdict).toBeGreaterThan(500);
});
