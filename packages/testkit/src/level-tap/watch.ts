import { Status, statusName } from '@raidkit/bdev';
import type { RaidModule } from '@raidkit/core';
import { ClauseError } from '../conformance/clauses.js';
import { tapped } from './tap.js';
import type { AnyRequest } from './tap.js';

/** Number of parts that are kept for messages. */
const mostParts = 24;

/** State of a request that is needed to judge its level's next action. */
interface Notes {
  /** Slots without a member when it was submitted. */
  absent: readonly number[];
  /** Buffers that the parts of this step read into. */
  reads: { slot: number; from: number; to: number }[];
  /** Buffers that a timed-out part may still write to. */
  lost: { from: number; to: number }[];
}

/**
 * Watches a level: records its parts, and reports when it does what the guide forbids, even if that has no visible effect in a
 * simulation.
 */
export class LevelWatch {
  readonly #onBroken: (error: ClauseError) => void;
  readonly #parts: string[] = [];

  constructor(onBroken: (error: ClauseError) => void) {
    this.#onBroken = onBroken;
  }

  /** The latest parts, the newest last, such as `write 0+8 → slot 1`. */
  get parts(): readonly string[] {
    return this.#parts;
  }

  /** Returns the module with its levels watched. */
  watched<M extends RaidModule>(module: M): M {
    const notes = new WeakMap<AnyRequest, Notes>();
    return tapped(module, (context) => {
      const { blockSize } = context;
      let isFailing = false;
      const noteOf = (request: AnyRequest): Notes => {
        let note = notes.get(request);
        if (note === undefined) notes.set(request, (note = { absent: [], reads: [], lost: [] }));
        return note;
      };
      return {
        onRequest: (request) => {
          const absent = Array.from({ length: context.numSlots }, (_, slot) => slot).filter((slot) => !request.hasMember(slot));
          notes.set(request, { absent, reads: [], lost: [] });
        },
        request: (request, own) => ({
          readPart: (slot, offset, count, addr) => {
            this.#see(request, noteOf(request), 'read', slot, offset, count);
            const part = { slot, from: addr, to: addr + count * blockSize };
            const note = noteOf(request);
            const lost = note.lost.find(({ from, to }) => from < part.to && part.from < to);
            if (lost !== undefined)
              this.#onBroken(
                new ClauseError(
                  'L12',
                  `blocks ${offset} to ${offset + count - 1} of slot ${slot} are read into a buffer that a device, given up with ETIMEDOUT, may still fill`,
                ),
              );
            note.reads.push(part);
            own.readPart(slot, offset, count, addr);
          },
          writePart: (slot, offset, count, addr) => {
            this.#see(request, noteOf(request), 'write', slot, offset, count);
            own.writePart(slot, offset, count, addr);
          },
          zeroPart: (slot, offset, count) => {
            this.#see(request, noteOf(request), 'zero', slot, offset, count);
            own.zeroPart(slot, offset, count);
          },
          fail: (status) => {
            // Failing also ends the request.
            isFailing = true;
            own.fail(status);
            isFailing = false;
          },
          end: () => {
            const bytes = request.numBlocks * blockSize;
            const buffers = request.kind === 'read' ? [request.addr] : request.kind === 'reconstruct' ? request.addrs : [];
            const isLost = buffers.some((addr) =>
              noteOf(request).lost.some(({ from, to }) => from < addr + bytes && addr < to),
            );
            if (isLost && !isFailing)
              this.#onBroken(
                new ClauseError('L12', 'data is answered in a buffer that a device, given up with ETIMEDOUT, may still fill'),
              );
            own.end();
          },
          andThen: (then) =>
            own.andThen((done) => {
              const note = noteOf(request);
              if (done.stepStatus === Status.TimedOut)
                note.lost.push(...note.reads.filter(({ slot }) => done.unreadable.includes(slot)));
              if (done.stepStatus !== Status.Ok)
                this.#remember(`a step of the ${done.kind} ended with ${statusName(done.stepStatus)}`);
              note.reads.length = 0;
              then(done);
            }),
        }),
      };
    });
  }

  #see(request: AnyRequest, { absent }: Notes, what: string, slot: number, offset: number, count: number): void {
    this.#remember(
      `${what} ${offset}+${count} → slot ${slot} (of a ${request.kind} of ${request.offsetBlocks}+${request.numBlocks})`,
    );
    if (!absent.includes(slot) || request.hasMember(slot)) return;
    this.#onBroken(
      new ClauseError(
        'L09',
        `a ${what} part of ${count} blocks at ${offset} was sent to slot ${slot}, of which hasMember has said since the request came that it has no member`,
      ),
    );
  }

  #remember(text: string): void {
    this.#parts.push(text);
    if (this.#parts.length > mostParts) this.#parts.shift();
  }
}
