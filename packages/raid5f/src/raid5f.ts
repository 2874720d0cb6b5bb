import { IoType, RangeLocks, RaidError, Status, raidApiVersion } from '@raidkit/core';
import type { BdevIo, ParityModule, RaidGeometry, RaidIo, RaidLevel, RaidView } from '@raidkit/core';
import { Phase } from './phase.js';
import { Reconstruction } from './reconstruction.js';
import { StripeBuffers } from './stripe-buffers.js';
import { StripeMap } from './stripe-map.js';
import { StripeWriter } from './stripe-writer.js';

/** Rotating parity. Any write is taken: whole stripes as they are, parts of one by read-modify-write or reconstruct-write. */
class Raid5f implements RaidLevel {
  geometry: RaidGeometry;
  readonly #map: StripeMap;
  readonly #isFullStripeOnly: boolean;
  /** Columns (member blocks) at which parity and data are being changed, or, shared, must not be. */
  readonly #columns = new RangeLocks();
  readonly #buffers: StripeBuffers;
  readonly #reconstruction: Reconstruction;
  readonly #writer: StripeWriter;

  constructor(raid: RaidView) {
    this.#map = new StripeMap(raid.stripSizeBlocks, raid.numSlots);
    this.#isFullStripeOnly = raid.options.full_stripe_only === true;
    this.geometry = this.#measure(Array.from({ length: raid.numSlots }, (_, slot) => raid.memberCapacity(slot)));
    this.#buffers = new StripeBuffers(raid);
    this.#reconstruction = new Reconstruction(raid, this.#map, this.#columns, this.#buffers);
    this.#writer = new StripeWriter(raid, this.#map, this.#columns, this.#buffers);
  }

  submitRwRequest(io: RaidIo): void {
    if (io.type === IoType.Read) this.#read(io);
    else if (this.#isFullStripeOnly && io.numBlocks !== this.#map.stripeBlocks) io.complete(Status.Invalid);
    else this.#writer.start(io);
  }

  submitNullPayloadRequest(io: RaidIo): void {
    this.#writer.start(io);
  }

  /** The range is quiesced, so there is nothing to lock out. */
  submitReconstructRequest(io: RaidIo): void {
    this.#reconstruction.run(io, io.slot, io.offsetBlocks, false);
  }

  onPartDone(io: RaidIo, part: BdevIo): void {
    switch (io.phase) {
      case Phase.Direct:
        this.#onDirectDone(io, part);
        break;
      case Phase.Reconstruct:
        this.#reconstruction.onPartDone(io, part);
        break;
      default:
        this.#writer.onPartDone(io, part);
    }
  }

  onJournaled(io: RaidIo, status: Status): void {
    this.#writer.onJournaled(io, status);
  }

  resize(memberCapacities: readonly number[]): RaidGeometry | null {
    const geometry = this.#measure(memberCapacities);
    if (geometry.numBlocks <= this.geometry.numBlocks) return null;
    this.geometry = geometry;
    return geometry;
  }

  redundantSlots(stripe: number): readonly number[] {
    return [this.#map.paritySlot(stripe)];
  }

  stop(): void {
    this.#buffers.close();
  }

  /** A read lies within one chunk. */
  #read(io: RaidIo): void {
    const map = this.#map;
    const stripe = map.stripeOf(io.offsetBlocks);
    const inStripe = io.offsetBlocks - stripe * map.stripeBlocks;
    const chunk = Math.floor(inStripe / map.strip);
    const slot = map.dataSlot(stripe, chunk);
    const memberOffset = stripe * map.strip + inStripe - chunk * map.strip;
    io.a = slot;
    io.b = memberOffset;
    if (!io.hasMember(slot)) {
      this.#reconstruction.run(io, slot, memberOffset, true);
      return;
    }
    io.phase = Phase.Direct;
    io.submitPart(slot, IoType.Read, memberOffset, io.numBlocks, io.addr);
  }

  #onDirectDone(io: RaidIo, part: BdevIo): void {
    io.partsLeft--;
    if (part.status === Status.Ok) {
      io.complete(Status.Ok);
      return;
    }
    io.partStatus = part.status;
    if (part.status === Status.TimedOut) {
      // The device may still fill the buffer: nothing else may be read into it.
      io.complete(part.status);
      return;
    }
    this.#reconstruction.run(io, io.a, io.b, true);
  }

  #measure(capacities: readonly number[]): RaidGeometry {
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
}

function checkOptions(options: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(options)) {
    if (name !== 'full_stripe_only') throw new RaidError('ERR_RAID_INVALID', 22, `level raid5f has no option ${name}`);
    if (typeof value !== 'boolean') throw new RaidError('ERR_RAID_INVALID', 22, 'full_stripe_only must be true or false');
  }
}

/** The raid5f level, with SPDK's layout: arrays interchange. Option `full_stripe_only`: refuse other writes, as SPDK does. */
export const raid5f: ParityModule = {
  level: 'raid5f',
  aliases: ['5f'],
  code: 95,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'parity',
  maxMissing: 1,
  journal: true,
  baseBdevsMin: 3,
  checkOptions,
  start: (raid) => new Raid5f(raid),
};
