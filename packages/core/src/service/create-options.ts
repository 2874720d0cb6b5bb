import type { RaidContext } from '../array/context.js';
import { summedBytes } from '../checksums/area.js';
import { RaidError } from '../errors.js';
import type { LevelOptions } from '../level/context.js';
import { checkLevelOptions, doesNotTake } from '../level/options.js';
import { canRun, minOperational, whyNot } from '../level/redundancy.js';
import { mostSlots } from '../level/registry.js';
import type { RaidModule } from '../level/module.js';
import { isUuid, nullUuid, Status } from '@raidkit/bdev';
import type { SuperblockStore } from '../format/store.js';
import { checkReads } from './read-options.js';
import type { ReadOptions } from './read-options.js';

/** Size in KiB of the data that one checksum covers. */
const summedKb = summedBytes / 1024;
/** Longest array name in bytes of UTF-8: the superblock has 64 including the terminator. */
const maxNameBytes = 63;

/** Parameters of a new array. */
export interface CreateArrayOptions {
  /** Name of the array and its volume: 1 to 63 bytes of UTF-8 without control characters, unique among arrays and bdevs. */
  name: string;
  /** Id or alias of a registered level. */
  level: string;
  /** Names of the member bdevs in slot order. The array waits for a bdev that does not exist; null leaves the slot empty. */
  baseBdevs: readonly (string | null)[];
  /** Strip size in KiB, a power of two. Required for levels with strips, and absent for others. */
  stripSizeKb?: number;
  /** Uuid of the array. Default: a random one. */
  uuid?: string;
  /** Write superblocks, so that the array is assembled automatically later. Default false, as in SPDK. */
  superblock?: boolean;
  /**
   * Overwrite the superblock of another array, or data of other software, on the devices. Default false: such devices are
   * refused.
   */
  force?: boolean;
  /**
   * Keep checksums of members' blocks, and read from redundancy if one does not match. Default false. They take 0.21 % of each
   * member, and need superblocks and strips of at least 4 KiB.
   */
  integrity?: boolean;
  /** Options of the level, as JSON values. With superblocks they are recorded, and may have at most 3,500 bytes as JSON. */
  options?: Readonly<Record<string, unknown>>;
  /** How reads choose among copies. Default: the default policy and preferences. */
  reads?: ReadOptions;
}

/** A validated array: its level, its options as they will be recorded, and the store; null without superblocks. */
export interface CheckedOptions {
  readonly module: RaidModule;
  readonly levelOptions: LevelOptions;
  readonly store: SuperblockStore | null;
}

/** Validates the parameters. Throws a `RaidError` that says what is wrong. */
export function checkCreateOptions(ctx: RaidContext, options: CreateArrayOptions): CheckedOptions {
  const { arrays, modules, registry } = ctx;
  const { name, level, baseBdevs, stripSizeKb = 0, uuid } = options;
  const refuse = (message: string, errno: Status = Status.Invalid): never => {
    throw new RaidError(errno === Status.Exists ? 'ERR_RAID_EXISTS' : 'ERR_RAID_INVALID', errno, `array ${name}: ${message}`);
  };
  const nameBytes = Buffer.byteLength(name);
  if (nameBytes < 1 || nameBytes > maxNameBytes) refuse(`the name must be 1 to ${maxNameBytes} bytes long`);
  if (/\p{Cc}/u.test(name)) refuse('the name must not contain control characters');
  const module = modules.byName(level);
  if (module === undefined) return refuse(`there is no RAID level ${level}`);
  if (arrays.has(name)) refuse('an array of this name exists', Status.Exists);
  if (registry.get(name) !== undefined) refuse('a bdev of this name exists', Status.Exists);
  // In a saved configuration, an array that has no uuid yet has the null uuid.
  if (uuid !== undefined && uuid !== nullUuid) {
    if (!isUuid(uuid)) refuse(`${uuid} is not a uuid`);
    const isTaken = [...arrays.values()].some((array) => array.uuid === uuid.toLowerCase());
    if (isTaken || registry.get(uuid.toLowerCase()) !== undefined) refuse(`the uuid ${uuid} is in use`, Status.Exists);
  }
  if (module.manifest.stripSize === 'none') {
    if (stripSizeKb !== 0) refuse(`level ${module.level} has no strips: omit strip_size_kb`);
  } else if (!isPowerOfTwo(stripSizeKb)) {
    refuse(`strip_size_kb must be a power of two, not ${stripSizeKb}`);
  }
  if (baseBdevs.length < module.baseBdevsMin || baseBdevs.length > mostSlots) {
    refuse(`level ${module.level} takes ${module.baseBdevsMin} to ${mostSlots} members, not ${baseBdevs.length}`);
  }
  const store = options.superblock === true ? ctx.store : null;
  if (options.superblock === true && store === null) refuse('there is no superblock store');
  if (options.integrity === true) {
    const needs = (what: string): never => refuse(`integrity needs ${what}; omit integrity, or change that`, Status.Invalid);
    if (store === null) needs('superblocks (superblock): checksums depend on what they record');
    if (store?.extension === undefined) needs('a superblock store that keeps records');
    if (stripSizeKb !== 0 && stripSizeKb < summedKb) needs(`strips (strip_size_kb) of ${summedKb} KiB at least`);
  }
  const given = checkLevelOptions(name, module, store, options.options ?? {});
  if (module.acceptsSlots?.(baseBdevs.length, given) === false) refuse(doesNotTake(module, baseBdevs.length, given));
  // A store without an extension records no options, so the array has the defaults.
  const keepsOptions = store === null || store.extension !== undefined;
  const complete = (keepsOptions ? module.completeOptions?.(baseBdevs.length, given) : null) ?? given;
  const levelOptions = complete === given ? given : checkLevelOptions(name, module, store, complete);
  const empty = [...baseBdevs.keys()].filter((slot) => baseBdevs[slot] === null);
  const named = baseBdevs.length - empty.length;
  const needed = minOperational(module, baseBdevs.length, levelOptions);
  if (named < needed) refuse(`${named} of ${baseBdevs.length} members are given, but ${needed} are needed`);
  if (!canRun(module, baseBdevs.length, empty, levelOptions)) refuse(whyNot(module, baseBdevs.length, empty, levelOptions));
  if (named < baseBdevs.length && options.superblock !== true) refuse('only an array with superblocks can have empty slots');
  if (options.reads !== undefined) {
    checkReads(name, module, options.reads);
    const stranger = Object.keys(options.reads.members ?? {}).find((member) => !baseBdevs.includes(member));
    if (stranger !== undefined) refuse(`${stranger} cannot be preferred or write-mostly: it is not a member`);
  }
  if (baseBdevs.includes('')) refuse('the base bdev name cannot be empty');
  return { module, levelOptions, store };
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 2 ** 30 && (value & (value - 1)) === 0;
}
