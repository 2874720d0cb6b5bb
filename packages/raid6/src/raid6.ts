import { RangeLocks, Status, StripeBuffers, raidApiVersion, stripeBufferBytes } from '@raidkit/core/level';
import type {
  AnyWriteRequest,
  JournaledLevel,
  JournaledModule,
  LevelDescription,
  NullPayloadRequest,
  ProcessRequest,
  ReadRequest,
  ReadRoute,
  RedundantContext,
  RedundantGeometry,
  RwRequest,
} from '@raidkit/core/level';
import { Reconstruction } from './reconstruction.js';
import { StripeMap } from './stripe-map.js';
import { StripeOp } from './stripe-op.js';
import { StripeWriter } from './stripe-writer.js';

/** Two rotating parities. Accepts any write: whole stripes directly, partial ones by read-modify-write or reconstruct-write. */
class Raid6 implements JournaledLevel {
  readonly #raid: RedundantContext;
  readonly #map: StripeMap;
  /** Scratch: slot and member block of the read being submitted. */
  readonly #place: ReadRoute = { slot: 0, offsetBlocks: 0 };
  /** Locks on columns (member blocks): exclusive while their parities and data change, shared while they must not change. */
  readonly #columns = new RangeLocks();
  readonly #buffers: StripeBuffers<StripeOp>;
  readonly #reconstruction: Reconstruction;
  readonly #writer: StripeWriter;

  constructor(context: RedundantContext) {
    this.#raid = context;
    this.#map = new StripeMap(context.stripSizeBlocks, context.numSlots);
    this.#buffers = new StripeBuffers(context, StripeOp);
    this.#reconstruction = new Reconstruction(context, this.#map, this.#columns, this.#buffers);
    this.#writer = new StripeWriter(context, this.#map, this.#columns, this.#buffers);
  }

  resize(capacities: readonly number[]): RedundantGeometry {
    const { strip, stripeBlocks } = this.#map;
    const stripes = Math.floor(Math.min(...capacities) / strip);
    return {
      numBlocks: stripes * stripeBlocks,
      memberBlocks: capacities.map(() => stripes * strip),
      optimalIoBoundary: strip,
      splitOnBoundary: true,
      writeUnitSize: stripeBlocks,
      splitOnWriteUnit: true,
      stripe: { arrayBlocks: stripeBlocks, memberBlocks: strip },
    };
  }

  submitRw(request: RwRequest): void {
    if (request.kind === 'read') this.#read(request);
    else this.#writer.start(request);
  }

  submitNullPayload(request: NullPayloadRequest): void {
    this.#writer.start(request);
  }

  submitProcessRequest(request: ProcessRequest): void {
    this.#reconstruction.process(request);
  }

  onJournaled(request: AnyWriteRequest, status: Status): void {
    this.#writer.onJournaled(request, status);
  }

  redundantSlots(stripe: number): readonly number[] {
    return [this.#map.pSlot(stripe), this.#map.qSlot(stripe)];
  }

  describe(): LevelDescription {
    return { layout: 'left-asymmetric', ...this.#buffers.describe() };
  }

  stop(): void {
    this.#buffers.close();
  }

  routeRead(offsetBlocks: number, _numBlocks: number, route: ReadRoute): boolean {
    this.#locate(offsetBlocks, route);
    return this.#raid.isMemberInSync(route.slot);
  }

  /** Sets `place` to the slot and member block of an array block. */
  #locate(offsetBlocks: number, place: ReadRoute): void {
    const map = this.#map;
    const stripe = map.stripeOf(offsetBlocks);
    const inStripe = offsetBlocks - stripe * map.stripeBlocks;
    const chunk = Math.floor(inStripe / map.strip);
    place.slot = map.slotOf(stripe, chunk);
    place.offsetBlocks = stripe * map.strip + inStripe - chunk * map.strip;
  }

  /** The read lies within one chunk. */
  #read(request: ReadRequest): void {
    this.#locate(request.offsetBlocks, this.#place);
    const { slot, offsetBlocks: memberOffset } = this.#place;
    if (!request.hasMember(slot) || request.unreadable.includes(slot)) {
      this.#reconstruction.read(request, slot, memberOffset);
      return;
    }
    if (!this.#raid.isReadOnly && this.#raid.isInconsistent(memberOffset, request.numBlocks)) {
      this.#reconstruction.readInDoubt(request, slot, memberOffset);
      return;
    }
    request.a = slot;
    request.b = memberOffset;
    request.andThen(this.#onRead);
    request.readPart(slot, memberOffset, request.numBlocks, request.addr);
  }

  readonly #onRead = (request: ReadRequest): void => {
    if (request.stepStatus === Status.Ok) request.end();
    // The device may still write to the buffer, so nothing else may be read into it.
    else if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
    else this.#reconstruction.read(request, request.a, request.b);
  };
}

/** The raid6 level: P and Q over GF(2^8), rotating as raid5f's parity does. */
export const raid6: JournaledModule = {
  level: 'raid6',
  aliases: ['6'],
  code: 0x1006,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'parity',
  maxMissing: 2,
  journal: true,
  baseBdevsMin: 4,
  memoryBytes: stripeBufferBytes,
  start: (context) => new Raid6(context),
};
