export type { ArrayView as RaidArray } from './array/array-view.js';
export type { GatheredWrites } from './io/write-gather.js';
export type { BitmapView } from './bitmap/bitmap-view.js';
export type { ProcessView } from './sync/process-view.js';
export type { BadBlocksView, MemberRole, SlotAbsence, SlotErrors, SlotView as Slot } from './members/slot-view.js';
export type { MemberOptions } from './members/host.js';
export type { ArrayPhase, RaidState } from './lifecycle.js';
export { RaidArrays } from './service/raid-arrays.js';
export type { RaidArraysOptions } from './service/options.js';
export type { CreateArrayOptions } from './service/create-options.js';
export type { ReadOptions } from './service/read-options.js';
export type { IntegrityOptions } from './membership/integrity.js';
export type { ArrayNames, AssemblyOptions, SignatureFinder } from './array/context.js';
export { RaidError, raidErrorCodes } from './errors.js';
export type { RaidErrorCode } from './errors.js';
export type { RaidEvent, RaidEventListener } from './events.js';
export { healthOf } from './array/health.js';
export type { Health } from './array/health.js';
export { RaidModuleRegistry, globalRegistry } from './level/registry.js';
export { checkOptions } from './level/options.js';
export { canLoseAny, canRun, maxMissing, minOperational } from './level/redundancy.js';
export { raidApiVersion, thirdPartyCodes } from './level/module.js';
export type {
  CopiesModule,
  JournaledModule,
  ParityModule,
  PlainModule,
  RaidManifest,
  RaidModule,
  UnjournaledModule,
  OptionSchema,
} from './level/module.js';
export type {
  ArrayShape,
  LevelContext,
  LevelOptions,
  RaidGeometry,
  RedundantContext,
  RedundantGeometry,
} from './level/context.js';
export type {
  CopiesLevel,
  CopySet,
  JournaledLevel,
  LevelDescription,
  ParityLevel,
  PlainLevel,
  RaidLevel,
  RedundantLevel,
} from './level/level.js';
export type {
  AnyWriteRequest,
  ChangingRequest,
  JournalRange,
  LevelRequest,
  LockMode,
  NullPayloadRequest,
  ProcessRequest,
  ReadRequest,
  ReconstructRequest,
  RwRequest,
  UnmapRequest,
  UserRequest,
  WriteRequest,
  WriteZeroesRequest,
} from './level/requests.js';
export { StripeBuffers, stripeBufferBytes } from './level/stripe-buffers.js';
export type { StripeOperation } from './level/stripe-buffers.js';
export type { Mismatch, OwnLimits, ProcessOptions, ProcessRecord, ProcessType, SyncOptions } from './sync/task.js';
export type { StartOptions } from './start/start.js';
export type { Spare } from './membership/spares.js';
export { firstIncarnation, seqStep } from './format/store.js';
export { RegionState } from './bitmap/region-state.js';
export type { RegionLimits } from './bitmap/region-size.js';
export type {
  ArrayRecord,
  BadBlockList,
  BadBlocksHeader,
  BadRange,
  ChecksumPageCodec,
  ChecksumPageMemory,
  ChecksumPages,
  DoubtList,
  ExtensionHeader,
  ExtensionSlot,
  ExtensionStore,
  FoundBadBlocks,
  FoundEntry,
  JournalEntry,
  JournalMark,
  JournalStore,
  MapLife,
  MemberLife,
  ReadResult,
  RegionPage,
  SlotRecord,
  SumsHeader,
  SuperblockStore,
} from './format/store.js';
export { isUuid, newUuid, nullUuid } from '@raidkit/bdev';
export { readPolicies, readPreferences } from './format/read-policy.js';
export type { ReadPolicy, ReadPreference } from './format/read-policy.js';
// For level modules, so that they can depend on core alone.
export { IoFlag, IoType, RangeLock, RangeLocks, Status } from '@raidkit/bdev';
