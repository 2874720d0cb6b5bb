export { RaidArray } from './array.js';
export type { MemberOptions } from './array.js';
export type { ArrayPhase, RaidState } from './lifecycle.js';
export { RaidArrays } from './arrays.js';
export type { RaidArraysOptions } from './arrays.js';
export type { CreateArrayOptions } from './create-options.js';
export type { ArrayCensus, AssemblyOptions, SignatureFinder } from './context.js';
export { RaidError, raidErrorCodes } from './errors.js';
export type { RaidErrorCode } from './errors.js';
export type { RaidEvent, RaidEventListener } from './events.js';
export { healthOf } from './health.js';
export type { Health } from './health.js';
export { RaidModuleRegistry, globalRegistry, minOperational } from './module-registry.js';
export { raidApiVersion, thirdPartyCodes } from './module.js';
export type { MemberConstraint, RaidGeometry, RaidLevel, RaidManifest, RaidModule, RaidView } from './module.js';
export type { ProcessOptions, SyncOptions } from './process.js';
export { RaidIo } from './raid-io.js';
export type { Slot, SlotAbsence, SlotErrors } from './slot.js';
export type { StartOptions } from './online.js';
export type { Spare } from './spares.js';
export { firstIncarnation, nullUuid, seqStep } from './store.js';
export { RegionState } from './region-states.js';
export type {
  ArrayRecord,
  BadBlockList,
  BadRange,
  DoubtList,
  ExtensionHeader,
  ExtensionSlot,
  ExtensionStore,
  FoundEntry,
  JournalEntry,
  JournalStore,
  MapLife,
  ReadResult,
  RegionPage,
  SlotRecord,
  SuperblockStore,
} from './store.js';
export { isUuid, newUuid } from './uuid.js';
// What level modules work with, so that they need to depend on core alone.
export { IoFlag, IoType, RangeLock, RangeLocks, Status } from '@raidkit/bdev';
export type { BdevIo } from '@raidkit/bdev';
