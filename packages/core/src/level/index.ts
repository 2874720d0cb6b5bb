/**
 * `@raidkit/core/level` has all that the author of a RAID level imports. Requirements on levels have clause numbers in
 * `docs/guides/write-a-level.md`.
 *
 * Sizes and offsets are numbers. `…Blocks` counts blocks of `LevelContext.blockSize` bytes, of the array or of a member's data
 * area as each field says; `…Bytes` counts bytes; `slot` is 0 to `numSlots - 1`; `addr` is a byte address in
 * `LevelContext.memory`.
 */
export { raidApiVersion, thirdPartyCodes } from './module.js';
export type {
  CopiesModule,
  JournaledModule,
  Losses,
  ModuleBase,
  OptionSchema,
  ParityBase,
  ParityModule,
  PlainModule,
  RaidManifest,
  RaidModule,
  UnjournaledModule,
} from './module.js';
export type {
  ArrayShape,
  LevelContext,
  LevelOptions,
  RaidGeometry,
  RedundantContext,
  RedundantGeometry,
  StripeShape,
} from './context.js';
export type {
  CopiesLevel,
  CopyPlace,
  CopySet,
  JournaledLevel,
  LevelDescription,
  ParityLevel,
  PlainLevel,
  ReadRoute,
  RedundantLevel,
  WithCopyGroups,
  WithCopySets,
  WithRedundantSlots,
} from './level.js';
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
} from './requests.js';
export { StripeBuffers, stripeBufferBytes } from './stripe-buffers.js';
export type { StripeOperation } from './stripe-buffers.js';
export { RaidModuleRegistry, globalRegistry } from './registry.js';
export { RaidError } from '../errors.js';
export type { RaidErrorCode } from '../errors.js';
export { RangeLocks, Status } from '@raidkit/bdev';
export type { Logger } from '@raidkit/bdev';
export { BufferMemory } from '@raidkit/parity';
