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

/** Rotating parity. Accepts any write: whole stripes directly, partial ones by read-modify-write or reconstruct-write. */
class Raid5f implements JournaledLevel {
  readonly #context: RedundantContext;
  readonly #map: StripeMap;
  /** Scratch: slot and member block of the read being submitted. */
  readonly #place: ReadRoute = { slot: 0, offsetBlocks: 0 };
  readonly #isFullStripeOnly: boolean;
  /** Locks on columns (member blocks): exclusive while their parity and data change, shared while they must not change. */
  readonly #columns = new RangeLocks();
  readonly #buffers: StripeBuffers<StripeOp>;
  readonly #reconstruction: Reconstruction;
  readonly #writer: StripeWriter;

  constructor(context: RedundantContext) {
    this.#context = context;
    this.#map = new StripeMap(context.stripSizeBlocks, context.numSlots);
    this.#isFullStripeOnly = context.options.full_stripe_only === true;
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
      // Gathering would make it depend on other requests whether a partial write is refused.
      gathersWrites: !this.#isFullStripeOnly,
    };
  }

  submitRw(request: RwRequest): void {
    if (request.kind === 'read') this.#read(request);
    else if (this.#isFullStripeOnly && request.numBlocks !== this.#map.stripeBlocks) request.fail(Status.Invalid);
    else this.#writer.start(request);
  }

  submitNullPayload(request: NullPayloadRequest): void {
    this.#writer.start(request);
  }

  /** Core has quiesced the range, so no lock is needed. */
  submitProcessRequest(request: ProcessRequest): void {
    this.#reconstruction.run(request, request.slot, request.offsetBlocks, false);
  }

  onJournaled(request: AnyWriteRequest, status: Status): void {
    this.#writer.onJournaled(request, status);
  }

  redundantSlots(stripe: number): readonly number[] {
    return [this.#map.paritySlot(stripe)];
  }

  describe(): LevelDescription {
    return { layout: 'left-asymmetric', ...this.#buffers.describe() };
  }

  stop(): void {
    this.#buffers.close();
  }

  routeRead(offsetBlocks: number, _numBlocks: number, route: ReadRoute): boolean {
    this.#locate(offsetBlocks, route);
    return this.#context.isMemberInSync(route.slot);
  }

  /** Sets `place` to the slot and member block of an array block. */
  #locate(offsetBlocks: number, place: ReadRoute): void {
    const map = this.#map;
    const stripe = map.stripeOf(offsetBlocks);
    const inStripe = offsetBlocks - stripe * map.stripeBlocks;
    const chunk = Math.floor(inStripe / map.strip);
    place.slot = map.dataSlot(stripe, chunk);
    place.offsetBlocks = stripe * map.strip + inStripe - chunk * map.strip;
  }

  /** The read lies within one chunk. */
  #read(request: ReadRequest): void {
    this.#locate(request.offsetBlocks, this.#place);
    const { slot, offsetBlocks: memberOffset } = this.#place;
    request.a = slot;
    request.b = memberOffset;
    if (!request.hasMember(slot) || request.unreadable.includes(slot)) {
      this.#reconstruction.run(request, slot, memberOffset, true);
      return;
    }
    request.andThen(this.#onRead);
    request.readPart(slot, memberOffset, request.numBlocks, request.addr);
  }

  readonly #onRead = (request: ReadRequest): void => {
    if (request.stepStatus === Status.Ok) request.end();
    // The device may still write to the buffer, so nothing else may be read into it.
    else if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
    else this.#reconstruction.run(request, request.a, request.b, true);
  };
}

/** The raid5f level. Its layout is SPDK's, so arrays can be used by both. */
export const raid5f: JournaledModule = {
  level: 'raid5f',
  aliases: ['5f'],
  code: 95,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'parity',
  maxMissing: 1,
  journal: true,
  baseBdevsMin: 3,
  options: {
    full_stripe_only: {
      type: 'boolean',
      default: false,
      description: 'refuse writes that are not whole stripes, as SPDK does',
    },
  },
  memoryBytes: stripeBufferBytes,
  start: (context) => new Raid5f(context),
};
