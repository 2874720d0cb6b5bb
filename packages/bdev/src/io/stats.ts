import { ioTypeCount } from './io.js';
import type { IoType } from './io.js';
import { Status } from './status.js';

/** Buckets of a {@link LatencyHistogram}: four a power of two, from 1 µs to over an hour. */
export const histogramBuckets = 128;

/**
 * The parts of a completed request that statistics use. They are passed as an object because V8 allocates a fractional number
 * that is passed to a function it does not inline.
 */
interface EndedIo {
  readonly type: IoType;
  readonly status: Status;
  readonly submittedAt: number;
}

/** Bounds of the four buckets within an octave: 2 to the power of 1/4, 2/4 and 3/4. */
const quarters = [2 ** 0.25, 2 ** 0.5, 2 ** 0.75] as const;

/** Latencies in logarithmic buckets, four per doubling, so a quantile is off by 19 % at most. Fixed size, no allocation. */
export class LatencyHistogram {
  readonly counts = new Float64Array(histogramBuckets);

  /** Counts a request that was submitted at `submittedAt` and ended at `now`, both in milliseconds. */
  record({ submittedAt }: Pick<EndedIo, 'submittedAt'>, now: number): void {
    const us = (now - submittedAt) * 1000;
    let bucket = 0;
    if (us >= 2 ** 31) {
      bucket = Math.min(Math.floor(Math.log2(us) * 4) + 1, histogramBuckets - 1);
    } else if (us >= 1) {
      // The same bucket computed without a logarithm, because this runs for every I/O.
      const octave = 31 - Math.clz32(us);
      const mantissa = us / (1 << octave);
      const quarter = mantissa < quarters[1] ? (mantissa < quarters[0] ? 0 : 1) : mantissa < quarters[2] ? 2 : 3;
      bucket = octave * 4 + quarter + 1;
    }
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
  }

  /** Upper edge of a bucket, in microseconds. */
  static upperUs(bucket: number): number {
    return 2 ** (bucket / 4);
  }

  /** The latency in microseconds that the fraction `q` (0…1) of the recorded ones did not exceed; 0 if none were. */
  quantileUs(q: number): number {
    let total = 0;
    for (const count of this.counts) total += count;
    if (total === 0) return 0;
    let seen = 0;
    for (let bucket = 0; bucket < histogramBuckets; bucket++) {
      seen += this.counts[bucket] ?? 0;
      if (seen >= q * total) return LatencyHistogram.upperUs(bucket);
    }
    return LatencyHistogram.upperUs(histogramBuckets - 1);
  }
}

/** Statistics of a device since it was registered or reset, indexed by `IoType`. */
export class BdevStats {
  readonly ops = new Float64Array(ioTypeCount);
  readonly bytes = new Float64Array(ioTypeCount);
  readonly errors = new Float64Array(ioTypeCount);
  /** Sum of latencies, milliseconds. */
  readonly latencyMs = new Float64Array(ioTypeCount);
  readonly histograms = Array.from({ length: ioTypeCount }, () => new LatencyHistogram());
  /** I/O in flight now. */
  inFlight = 0;
  /** Milliseconds during which at least one I/O was in flight. */
  busyMs = 0;
  /** Integral of I/O in flight over time, in milliseconds. */
  weightedMs = 0;
  timeouts = 0;
  retries = 0;
  #since = 0;

  started(now: number): void {
    this.#advance(now);
    this.inFlight++;
  }

  finished(io: EndedIo, lengthBytes: number, now: number): void {
    const { type } = io;
    this.#advance(now);
    this.inFlight--;
    if (io.status !== Status.Ok) {
      this.errors[type] = (this.errors[type] ?? 0) + 1;
      return;
    }
    this.ops[type] = (this.ops[type] ?? 0) + 1;
    this.bytes[type] = (this.bytes[type] ?? 0) + lengthBytes;
    this.latencyMs[type] = (this.latencyMs[type] ?? 0) + (now - io.submittedAt);
    this.histograms[type]?.record(io, now);
  }

  reset(): void {
    for (const table of [this.ops, this.bytes, this.errors, this.latencyMs]) table.fill(0);
    for (const histogram of this.histograms) histogram.counts.fill(0);
    this.busyMs = 0;
    this.weightedMs = 0;
    this.timeouts = 0;
    this.retries = 0;
  }

  #advance(now: number): void {
    // All requests that begin or end in one turn do so at one time.
    if (now === this.#since) return;
    if (this.inFlight > 0) {
      const elapsed = now - this.#since;
      this.busyMs += elapsed;
      this.weightedMs += elapsed * this.inFlight;
    }
    this.#since = now;
  }
}
