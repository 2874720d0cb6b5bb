import type { BdevIo, IoType } from '../io/io.js';

/** Plain JSON, as RPC answers carry it. */
export type JsonValue = string | number | boolean | null | JsonValue[] | JsonObject;
/** A JSON object. */
export interface JsonObject {
  [key: string]: JsonValue;
}

/**
 * What the author of a device writes. The layer has validated every request that reaches it: supported type, inside the
 * device, not crossing a boundary that the device asked to be split at, not in a quiesced range.
 */
export interface BdevDriver {
  /**
   * What kind of device this is, for programs: the same for all devices of a driver. Those of ours: `aio` (a file or block device of
   * Linux), `malloc`, `null`, `passthru`, `delay`, `error`, `raid` (the volume of an array).
   */
  readonly kind: string;
  /** The same for people: `product_name` in RPC answers, as SPDK names it. */
  readonly productName: string;
  /**
   * Constant for a device's life, except that it may depend on what it stands on. Reset is always accepted. A device without
   * flush must not acknowledge a write before it is on stable media.
   */
  supports(type: IoType): boolean;
  /** The driver honours {@link IoFlag.ForceUnitAccess} itself; otherwise the layer follows the write with a flush. */
  readonly hasForceUnitAccess: boolean;
  /**
   * Starts the I/O. Must lead to `io.complete(status)` exactly once, whatever happens. {@link Status.NoMemory} means "not
   * now": the layer submits it again later.
   */
  submit(io: BdevIo): void;
  /**
   * The device is unregistered, no descriptor is open, and no I/O is in flight except abandoned ones. Resources that an
   * abandoned I/O may still use (a file descriptor!) must outlive it.
   */
  destroy?(): Promise<void> | void;
  /** `driver_specific` of RPC answers. */
  driverSpecific?(): JsonObject;
  /** What the device's blocks are kept on, by names that are the same for the same disk; absent where nothing is known. */
  physicalDevices?(): readonly string[];
  /**
   * What is known to read as zeros: calls `add` with runs of blocks that follow one another from `offsetBlocks` on, until they
   * reach `offsetBlocks + numBlocks` or `add` gives false. Waits for nothing. Absent where nothing is known.
   */
  extents?(offsetBlocks: number, numBlocks: number, add: (numBlocks: number, isZero: boolean) => boolean): void;
  /** The RPC call that would make this device again, for saved configurations; null if none is needed. */
  configCall?(): { method: string; params: JsonObject } | null;
}
