import { Status, asking, bug, inRequest, isParity, isRedundant, maxMissing, missingOf, spoil, stripeOf } from './bug.js';
import type { PlantedBug } from './bug.js';

/** Every n-th block is placed like the one before it. */
const every = 4;

/** Maps some member blocks to the ones before them. */
const shifted = (offset: number): number => (offset % every === every - 1 ? offset - 1 : offset);

/** Mistakes in which parts a level sends, where it sends them, and how it handles their failures. */
export const wrongParts: readonly PlantedBug[] = [
  bug({
    id: 'two-blocks-share-a-place',
    title: 'some blocks lie where others do',
    clause: 'L06',
    tap: inRequest((request, own) => {
      const placeOf = (offset: number): number => (request.kind === 'reconstruct' ? offset : shifted(offset));
      return {
        readPart: (slot, offset, count, addr) => own.readPart(slot, placeOf(offset), count, addr),
        writePart: (slot, offset, count, addr) => own.writePart(slot, placeOf(offset), count, addr),
        zeroPart: (slot, offset, count) => own.zeroPart(slot, placeOf(offset), count),
      };
    }),
  }),
  bug({
    id: 'fails-what-others-have-taken',
    title: 'a write is answered with the error of a member that the array can do without',
    clause: 'L02',
    applies: isRedundant,
    tap: () => ({
      onRequest: (request) => {
        // A level that sets no next step leaves the end to core, so one is set here.
        if (request.kind === 'write') request.andThen((done) => done.end());
      },
      request: (_, own) => ({
        andThen: (then) =>
          own.andThen((done) => {
            if (done.kind === 'write' && done.failed.length > 0) done.fail(done.stepStatus);
            else then(done);
          }),
      }),
    }),
  }),
  bug({
    id: 'reads-ignore-has-member',
    title: 'reads take every slot to have a member',
    clause: 'L09',
    applies: isRedundant,
    tap: inRequest((request, own) => ({ hasMember: (slot) => own.hasMember(slot) || request.kind === 'read' })),
  }),
  bug({
    id: 'reads-without-lock',
    title: 'what is worked out for a read is not locked',
    clause: 'L08',
    applies: isParity,
    tap: inRequest((request, own) => ({
      lock: (locks, start, end, mode, then) => {
        if (request.kind === 'read') then(request);
        else own.lock(locks, start, end, mode, then);
      },
    })),
  }),
  bug({
    id: 'reconstructs-from-the-first-slot',
    title: 'what a slot must hold is taken from the first slot that is there, whatever that holds',
    clause: 'L18',
    // If all slots hold the same data, the first one is right.
    applies: (module) => isParity(module) || (module.redundancy === 'copies' && module.canRun !== undefined),
    tap: ({ numSlots }) => ({
      request: (request, own) => ({
        readPart: (slot, offset, count, addr) => {
          const all = Array.from({ length: numSlots }, (_, index) => index);
          const first = all.find((other) => own.hasMember(other)) ?? slot;
          own.readPart(request.kind === 'reconstruct' ? first : slot, offset, count, addr);
        },
      }),
    }),
  }),
  bug({
    id: 'last-parity-never-read',
    title: 'the last slot with parity is taken to have no member where something is worked out',
    clause: 'L02',
    applies: isParity,
    tap: asking((level, context) => ({
      request: (request, own) => ({
        hasMember: (slot) => {
          if (!own.hasMember(slot)) return false;
          if (request.kind !== 'read') return true;
          return level()?.redundantSlots?.(stripeOf(context, request)).at(-1) !== slot;
        },
      }),
    })),
  }),
  bug({
    id: 'wrong-without-data-and-parity',
    title: 'without a slot with data and one with parity, what is worked out is wrong',
    clause: 'L18',
    applies: (module) => isParity(module) && maxMissing(module, 6) > 1,
    tap: asking((level, context) => ({
      request: (request, own) => ({
        end: () => {
          const parity = level()?.redundantSlots?.(stripeOf(context, request)) ?? [];
          const missing = missingOf(request, context.numSlots);
          const isMixed = missing.length > 1 && missing.some((slot) => parity.includes(slot));
          if (request.kind === 'read' && isMixed && request.stepStatus === Status.Ok) spoil(context, request.addr);
          own.end();
        },
      }),
    })),
  }),
];
