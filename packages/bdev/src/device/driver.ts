import type { BdevIo, IoType } from '../io/io.js';

/** A JSON value, as RPC answers carry it. */
export type JsonValue = string | number | boolean | null | JsonValue[] | JsonObject;
/** A JSON object. */
export interface JsonObject {
  [key: string]: JsonValue;
}

/**
 * Implemented by the author of a device. The layer has validated every request that reaches it: the type is supported, the
 * range is inside the device and not quiesced, and no boundary is crossed that the device asked to be split at.
 */
export interface BdevDriver {
  /**
   * Kind of device, for programs; the same for all devices of a driver. raidkit's own are `aio` (a Linux file or block device),
   * `malloc`, `null`, `passthru`, `delay`, `error` and `raid` (the volume of an array).
   */
  readonly kind: string;
  /** Kind of device, for people: `product_name` in RPC answers, as SPDK names it. */
  readonly productName: string;
  /**
   * Whether requests of this type are supported. The answer is constant for the device's lifetime, unless it depends on a
   * device below. Reset is always accepted. A device without flush must not acknowledge a write before it is on stable media.
   */
  supports(type: IoType): boolean;
  /** Whether the driver honours {@link IoFlag.ForceUnitAccess} itself; otherwise the layer follows the write with a flush. */
  readonly hasForceUnitAccess: boolean;
  /**
   * Starts the I/O. The driver must call `io.complete(status)` exactly once, whatever happens. {@link Status.NoMemory} means
   * "not now": the layer submits the request again later.
   */
  submit(io: BdevIo): void;
  /**
   * Called once the device is unregistered, no descriptor is open, and no I/O is in flight except what has timed out. Resources
   * that such an I/O may still use (a file descriptor!) must outlive it.
   */
  destroy?(): Promise<void> | void;
  /** `driver_specific` of RPC answers. */
  driverSpecific?(): JsonObject;
  /** Names of the physical disks below the device, equal for equal disks; absent where nothing is known. */
  physicalDevices?(): readonly string[];
  /**
   * Reports which blocks are known to read as zeros: calls `add` with consecutive runs of blocks from `offsetBlocks` on, until
   * they reach `offsetBlocks + numBlocks` or `add` returns false. Must not wait for anything. Absent where nothing is known.
   */
  extents?(offsetBlocks: number, numBlocks: number, add: (numBlocks: number, isZero: boolean) => boolean): void;
  /** The RPC call that creates this device again, for saved configurations; null if none is needed. */
  configCall?(): { method: string; params: JsonObject } | null;
}
