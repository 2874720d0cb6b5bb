import type { RaidLevel } from '@raidkit/core';
import {
  Status,
  asking,
  bug,
  hasAdded,
  hasNull,
  inRequest,
  isCopies,
  isParity,
  isRedundant,
  maxMissing,
  measured,
  missingOf,
  neverGoesOn,
  spoil,
  stripeAt,
} from './bug.js';
import type { PlantedBug } from './bug.js';
import { wrongParts } from './wrong-parts.js';

/** Sends writes and zeros without the parts that are left out. */
const without = (isLeftOut: (slot: number, offset: number, kind: string) => boolean, kinds: readonly string[]) =>
  inRequest((request, own) => ({
    writePart: (slot, offset, count, addr) => {
      if (!kinds.includes(request.kind) || !isLeftOut(slot, offset, request.kind)) own.writePart(slot, offset, count, addr);
    },
    zeroPart: (slot, offset, count) => {
      if (!kinds.includes(request.kind) || !isLeftOut(slot, offset, request.kind)) own.zeroPart(slot, offset, count);
    },
  }));

const changes = ['write', 'write zeroes', 'unmap'];

/** Mistakes that authors of any level make. How many of them a kit finds shows its worth. */
export const plantedBugs: readonly PlantedBug[] = [
  // Writes.
  bug({
    id: 'skips-a-member',
    title: 'a write goes past one slot',
    clause: 'L07',
    applies: isRedundant,
    tap: without((slot, offset) => slot === 1 && offset % 7 === 3, ['write']),
  }),
  bug({
    id: 'no-lock',
    title: 'nothing is locked',
    clause: 'L08',
    applies: isRedundant,
    tap: inRequest((request) => ({ lock: (_locks, _start, _end, _mode, then) => then(request) })),
  }),
  bug({
    id: 'lock-one-block-short',
    title: 'the lock ends one block too early',
    clause: 'L08',
    applies: isRedundant,
    tap: inRequest((_, own) => ({
      lock: (locks, start, end, mode, then) => own.lock(locks, start, Math.max(start + 1, end - 1), mode, then),
    })),
  }),
  bug({
    id: 'locks-are-shared',
    title: 'writers share their locks',
    clause: 'L08',
    applies: isRedundant,
    tap: inRequest((_, own) => ({ lock: (locks, start, end, _mode, then) => own.lock(locks, start, end, 'shared', then) })),
  }),
  bug({
    id: 'failed-write-hangs',
    title: 'a write of which a part failed is never answered',
    clause: 'L10',
    applies: isCopies,
    tap: () => neverGoesOn(['write'], ({ failed }) => failed.length > 0),
  }),
  bug({
    id: 'no-mark-inconsistent',
    title: 'core is not told that members differ',
    clause: 'L15',
    applies: isRedundant,
    tap: () => ({ context: { markInconsistent: () => undefined } }),
  }),
  bug({
    id: 'throws-now-and-then',
    title: 'the fiftieth request meets an exception',
    clause: 'L24',
    tap: () => {
      let count = 0;
      return {
        onRequest: () => {
          if (++count === 50) throw new Error('the level has come to its fiftieth request');
        },
      };
    },
  }),

  // Reads.
  bug({
    id: 'routes-one-block-off',
    title: 'routeRead names the block beside',
    clause: 'L25',
    tap: () => ({
      level: () => ({
        routeRead(offsetBlocks, _, route) {
          route.slot = 0;
          route.offsetBlocks = offsetBlocks > 0 ? offsetBlocks - 1 : 1;
          return true;
        },
      }),
    }),
  }),
  bug({
    id: 'ignores-has-member',
    title: 'every slot is taken to have a member',
    clause: 'L09',
    applies: isRedundant,
    tap: inRequest((_, own) => ({ hasMember: (slot) => own.hasMember(slot) || true })),
  }),
  bug({
    id: 'failed-read-hangs',
    title: 'a read of which a part failed is never answered',
    clause: 'L10',
    tap: () => neverGoesOn(['read'], ({ stepStatus }) => stepStatus !== Status.Ok),
  }),
  bug({
    id: 'gives-up-at-read-errors',
    title: 'a read error is answered, though other members have the data',
    clause: 'L11',
    applies: isRedundant,
    tap: inRequest((request, own) => ({
      andThen: (then) =>
        own.andThen((done) => {
          if (request.kind === 'read' && done.stepStatus !== Status.Ok) done.fail(done.stepStatus);
          else then(done);
        }),
    })),
  }),
  bug({
    id: 'buffer-read-into-again',
    title: 'after a timeout another member is read into the same buffer',
    clause: 'L12',
    applies: isRedundant,
    tap: inRequest((request, own) => ({
      andThen: (then) =>
        own.andThen((done) => {
          if (done.stepStatus === Status.TimedOut) (request as { stepStatus: number }).stepStatus = Status.IoError;
          then(done);
        }),
    })),
  }),
  bug({
    id: 'never-repairs',
    title: 'what was read around is not repaired',
    clause: 'L13',
    applies: isRedundant,
    tap: inRequest(() => ({ requestRepair: () => undefined })),
  }),
  bug({
    id: 'repairs-array-blocks',
    title: 'the repair is asked for at another place',
    clause: 'L13',
    applies: isRedundant,
    tap: inRequest((_, own) => ({ requestRepair: (slot, offset, count) => own.requestRepair(slot, offset + 1000, count) })),
  }),
  bug({
    id: 'no-write-back',
    title: 'of copies that may differ one is read, and the others are left as they are',
    clause: 'L14',
    applies: isCopies,
    tap: inRequest(() => ({ writeBack: () => undefined })),
  }),
  bug({
    id: 'no-is-inconsistent',
    title: 'redundancy is always believed',
    clause: 'L14',
    applies: isRedundant,
    tap: () => ({ context: { isInconsistent: () => false } }),
  }),

  // Declarations.
  bug({
    id: 'may-lose-one-more',
    title: 'it says that one member more may be missing',
    clause: 'L02',
    // If all but one may be missing already, more cannot be declared.
    applies: (module) => isParity(module) || (module.redundancy === 'copies' && module.canRun !== undefined),
    module: (module) => ({
      maxMissing: (numSlots: number, options) => Math.min(numSlots - 1, maxMissing(module, numSlots, options) + 1),
      canRun: () => true,
    }),
  }),
  bug({
    id: 'one-group',
    title: 'all slots are said to hold the same',
    clause: 'L17',
    applies: (module) => isCopies(module) && module.level !== 'raid1',
    tap: ({ numSlots }) => ({
      level: ({ copyGroups }) => groups(copyGroups, [Array.from({ length: numSlots }, (_, slot) => slot)]),
    }),
  }),
  bug({
    id: 'lonely-copies',
    title: 'no slot is said to hold what another holds',
    clause: 'L17',
    applies: isCopies,
    tap: ({ numSlots }) => ({
      level: ({ copyGroups }) =>
        groups(
          copyGroups,
          Array.from({ length: numSlots }, (_, slot) => [slot]),
        ),
    }),
  }),
  bug({
    id: 'one-group-apart',
    title: 'the last group of copies is said to be none',
    clause: 'L17',
    applies: isCopies,
    tap: () => ({
      level: ({ copyGroups = [] }) => {
        const last = copyGroups.at(-1) ?? [];
        return groups(copyGroups, [...copyGroups.slice(0, -1), ...last.map((slot) => [slot])]);
      },
    }),
  }),
  bug({
    id: 'no-groups',
    title: 'there are no groups of copies',
    clause: 'L17',
    applies: isCopies,
    tap: () => ({ level: ({ copyGroups }) => groups(copyGroups, []) }),
  }),
  bug({
    id: 'keeps-the-number-of-slots',
    title: 'the level goes by as many slots as there were at its start',
    clause: 'L27',
    applies: hasAdded,
    tap: ({ numSlots }) => ({ context: { numSlots } }),
  }),
  bug({
    id: 'leaves-added-slots-alone',
    title: 'what is written does not go to slots that have been added',
    clause: 'L27',
    applies: hasAdded,
    tap: ({ numSlots }) => ({
      request: (request, own) => ({
        writePart: (slot, offset, count, addr) => {
          if (slot < numSlots || request.kind !== 'write') own.writePart(slot, offset, count, addr);
        },
      }),
    }),
  }),
  bug({
    id: 'no-redundant-slots',
    title: 'no slot is said to hold parity',
    clause: 'L17',
    applies: isParity,
    tap: () => ({ level: () => ({ redundantSlots: () => [] }) }),
  }),
  bug({
    id: 'forgets-the-last-parity',
    title: 'the last slot with parity is not said to hold it',
    clause: 'L17',
    applies: isParity,
    tap: () => ({ level: (level) => ({ redundantSlots: (stripe) => level.redundantSlots?.(stripe).slice(0, -1) ?? [] }) }),
  }),
  bug({
    id: 'parity-of-the-next-stripe',
    title: 'the slots with parity are those of the next stripe',
    clause: 'L17',
    applies: isParity,
    tap: () => ({ level: (level) => ({ redundantSlots: (stripe) => level.redundantSlots?.(stripe + 1) ?? [] }) }),
  }),
  bug({
    id: 'all-slots-redundant',
    title: 'every slot is said to hold parity',
    clause: 'L17',
    applies: isParity,
    tap: ({ numSlots }) => ({ level: () => ({ redundantSlots: () => Array.from({ length: numSlots }, (_, slot) => slot) }) }),
  }),
  bug({
    id: 'in-sync-without-ground',
    title: 'after each write redundancy is said to be known',
    clause: 'L16',
    applies: isParity,
    tap: (context) => ({
      request: (request, own) => ({
        writePart: (slot, offset, count, addr) => {
          own.writePart(slot, offset, count, addr);
          const { memberBlocks } = context.geometry.stripe ?? { memberBlocks: 1 };
          if (request.kind === 'write') context.markInSync(stripeAt(context, offset) * memberBlocks, memberBlocks, true);
        },
      }),
    }),
  }),

  // Geometry.
  bug({
    id: 'member-blocks-too-big',
    title: 'it uses more of a member than there is',
    clause: 'L04',
    tap: measured((geometry) => ({ ...geometry, memberBlocks: geometry.memberBlocks.map((blocks) => blocks + 4096) })),
  }),
  bug({
    id: 'member-blocks-half',
    title: 'it says that it uses half of each member',
    clause: 'L04',
    applies: isRedundant,
    tap: measured((geometry) => ({
      ...geometry,
      memberBlocks: geometry.memberBlocks.map((blocks) => Math.floor(blocks / 2)),
    })),
  }),
  bug({
    id: 'volume-too-big',
    title: 'the array has one stripe more than its members hold',
    clause: 'L04',
    tap: measured((geometry) => ({
      ...geometry,
      numBlocks: geometry.numBlocks + (geometry.stripe?.arrayBlocks ?? 1),
    })),
  }),
  bug({
    id: 'stripe-wrong',
    title: 'a stripe is said to be twice as long on the members',
    clause: 'L04',
    applies: isRedundant,
    tap: measured((geometry) => {
      const { arrayBlocks, memberBlocks } = geometry.stripe ?? { arrayBlocks: 1, memberBlocks: 1 };
      return { ...geometry, stripe: { arrayBlocks, memberBlocks: memberBlocks * 2 } };
    }),
  }),
  bug({
    id: 'grows-without-its-members',
    title: 'after a growth it uses as much of each member as before',
    clause: 'L05',
    applies: ({ manifest, redundancy }) => manifest.resize && redundancy !== 'none',
    tap: measured((geometry, current) => (current === null ? geometry : { ...geometry, memberBlocks: current.memberBlocks })),
  }),
  bug({
    id: 'grows-to-anything',
    title: 'after a growth the array has a size that no members could hold',
    clause: 'L05',
    applies: ({ manifest }) => manifest.resize,
    tap: measured((geometry, current) =>
      current === null ? geometry : { ...geometry, numBlocks: geometry.numBlocks * 3 + 1 },
    ),
  }),

  // Unmap and write zeroes.
  bug({
    id: 'unmaps-nothing',
    title: 'an unmap is said to have zeroed what it left alone',
    clause: 'L21',
    applies: hasNull,
    tap: without(() => true, ['unmap']),
  }),
  bug({
    id: 'trimmed-too-wide',
    title: 'what lies at either side of an unmap, a stripe or eight blocks, is said to be zeros, too',
    clause: 'L21',
    applies: hasNull,
    tap: (context) => ({
      request: (_, own) => ({
        trimmed: (offset, count) => {
          const more = Math.max(8, context.geometry.stripe?.arrayBlocks ?? 1);
          const from = Math.max(0, offset - more);
          own.trimmed(from, Math.min(offset + count + more, context.geometry.numBlocks) - from);
        },
      }),
    }),
  }),
  bug({
    id: 'zeroes-one-member',
    title: 'zeros are given to one slot only',
    clause: 'L20',
    applies: hasNull,
    tap: without((slot) => slot !== 0, ['write zeroes', 'unmap']),
  }),
  bug({
    id: 'zeroes-one-block-short',
    title: 'zeros end one block too early on the last slot',
    clause: 'L20',
    applies: hasNull,
    tap: ({ numSlots }) => ({
      request: (_, own) => ({
        zeroPart: (slot, offset, count) => {
          if (slot < numSlots - 1 || count > 1) own.zeroPart(slot, offset, slot < numSlots - 1 ? count : count - 1);
        },
      }),
    }),
  }),

  // Reconstruction.
  bug({
    id: 'reconstructs-garbage',
    title: 'what a slot must hold is worked out wrongly',
    clause: 'L18',
    applies: isRedundant,
    tap: (context) => ({
      request: (request, own) => ({
        end: () => {
          if (request.kind === 'reconstruct' && request.offsetBlocks > 0) spoil(context, request.addr);
          own.end();
        },
      }),
    }),
  }),
  bug({
    id: 'rebuilds-parity-as-garbage',
    title: 'of the last parity what it must hold is worked out wrongly',
    clause: 'L18',
    applies: isParity,
    tap: asking((level, context) => ({
      request: (request, own) => ({
        end: () => {
          const parity = level()?.redundantSlots?.(stripeAt(context, request.offsetBlocks)).at(-1) ?? -1;
          const index = request.kind === 'reconstruct' ? request.slots.indexOf(parity) : -1;
          if (index >= 0) spoil(context, request.addrs[index] ?? request.addr);
          own.end();
        },
      }),
    })),
  }),
  bug({
    id: 'last-parity-not-written',
    title: 'the last slot with parity is never written',
    clause: 'L18',
    applies: isParity,
    tap: asking((level, context) =>
      without((slot, offset) => level()?.redundantSlots?.(stripeAt(context, offset)).at(-1) === slot, changes)(),
    ),
  }),
  bug({
    id: 'wrong-with-all-missing',
    title: 'without as many members as may be missing, what is worked out is wrong',
    clause: 'L18',
    applies: isParity,
    tap: (context, module) => ({
      request: (request, own) => ({
        end: () => {
          const most = maxMissing(module, context.numSlots, context.options);
          if (request.kind === 'read' && missingOf(request, context.numSlots).length === most) spoil(context, request.addr);
          own.end();
        },
      }),
    }),
  }),
  bug({
    id: 'never-journals',
    title: 'what absent members will hold is not handed to the journal',
    clause: 'L19',
    applies: (module) => module.redundancy === 'parity' && module.journal,
    tap: asking((level) => ({
      request: (request) => ({ journal: () => level()?.onJournaled?.(request as never, Status.Ok) }),
    })),
  }),

  // Resources.
  bug({
    id: 'leaks-memory',
    title: 'what start takes is never given back',
    clause: 'L22',
    tap: ({ memory }) => {
      memory.allocRegion(4096);
      return {};
    },
  }),
  bug({
    id: 'states-too-little',
    title: 'the module states less memory than start takes',
    clause: 'L26',
    applies: (module) => module.memoryBytes !== undefined,
    module: (module) => ({ memoryBytes: (shape) => Math.max(0, (module.memoryBytes?.(shape) ?? 0) - 1) }),
  }),
  bug({
    id: 'stop-does-nothing',
    title: 'stop is not done',
    clause: 'L22',
    applies: isParity,
    tap: () => ({ level: () => ({ stop: () => undefined }) }),
  }),
  bug({
    id: 'waiters-never-woken',
    title: 'a request that waits for memory is forgotten',
    clause: 'L23',
    applies: isParity,
    tap: inRequest(() => ({ release: () => undefined })),
  }),
  ...wrongParts,
];

function groups(given: RaidLevel['copyGroups'], copyGroups: readonly (readonly number[])[]): Partial<RaidLevel> {
  return given === undefined ? {} : { copyGroups };
}
