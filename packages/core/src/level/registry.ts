import { Status } from '@raidkit/bdev';
import { RaidError } from '../errors.js';
import { raidApiVersion, thirdPartyCodes } from './module.js';
import { faultOfSchema } from './options.js';
import { maxMissing } from './redundancy.js';
import type { RaidModule } from './module.js';

/** Most slots an array can have: the superblock has one byte for their number. */
export const mostSlots = 255;

/** Codes of SPDK's own levels. A third party may implement one of them, but only under SPDK's name. */
const spdkCodes: ReadonlyMap<number, string> = new Map([
  [0, 'raid0'],
  [1, 'raid1'],
  [95, 'raid5f'],
  [99, 'concat'],
]);

/** The levels that arrays can be created with. */
export class RaidModuleRegistry {
  readonly #byName = new Map<string, RaidModule>();
  readonly #byCode = new Map<number, RaidModule>();

  /**
   * Registers a level. Throws, naming module and field, if a name or code is taken, the API version differs, or a declaration
   * is invalid.
   */
  register(module: RaidModule): void {
    checkModule(module);
    if (this.#byCode.get(module.code) === module) return;
    for (const name of [module.level, ...module.aliases]) {
      const other = this.#byName.get(name);
      if (other !== undefined) throw refusal(module, `the name ${name} belongs to level ${other.level} already`);
    }
    const other = this.#byCode.get(module.code);
    if (other !== undefined) throw refusal(module, `the code ${module.code} belongs to level ${other.level} already`);
    for (const name of [module.level, ...module.aliases]) this.#byName.set(name, module);
    this.#byCode.set(module.code, module);
  }

  /** Returns the level with this id or alias; case matters. */
  byName(name: string): RaidModule | undefined {
    return this.#byName.get(name);
  }

  /** Returns the level that this code in a superblock stands for. */
  byCode(code: number): RaidModule | undefined {
    return this.#byCode.get(code);
  }

  /** Returns all levels in the order of registration. */
  list(): RaidModule[] {
    return [...this.#byCode.values()];
  }
}

function refusal(module: RaidModule, message: string): RaidError {
  return new RaidError('ERR_RAID_MODULE', Status.Invalid, `RAID level ${module.level} cannot be registered: ${message}`);
}

function checkModule(module: RaidModule): void {
  const { level, code, apiVersion, baseBdevsMin } = module;
  if (typeof level !== 'string' || !/^[a-z][a-z0-9_-]{0,31}$/.test(level)) {
    throw refusal(module, 'level must be 1 to 32 characters of a-z, 0-9, _ and -, a letter first');
  }
  if (apiVersion !== raidApiVersion) {
    throw refusal(module, `it is for API version ${String(apiVersion)}, and this core has ${raidApiVersion}`);
  }
  const isThirdParty = code >= thirdPartyCodes.first && code <= thirdPartyCodes.last;
  if (!Number.isInteger(code) || (!isThirdParty && spdkCodes.get(code) !== level)) {
    const range = `${thirdPartyCodes.first} to ${thirdPartyCodes.last}`;
    throw refusal(module, `code ${String(code)} is not in the range for third parties, ${range}`);
  }
  if (!Number.isInteger(baseBdevsMin) || baseBdevsMin < 1 || baseBdevsMin > mostSlots) {
    throw refusal(module, `baseBdevsMin must be 1 to ${mostSlots}`);
  }
  if (typeof module.start !== 'function') throw refusal(module, 'start must be a function');
  for (const field of ['checkOptions', 'completeOptions', 'acceptsSlots', 'memoryBytes'] as const)
    if (!['function', 'undefined'].includes(typeof module[field])) throw refusal(module, `${field} must be a function`);
  if (!['boolean', 'undefined'].includes(typeof module.optionsDefineLayout))
    throw refusal(module, 'optionsDefineLayout must be true or false');
  checkAddedSlot(module);
  checkOptionSchemas(module);
  checkManifest(module);
  checkLosses(module);
}

function checkAddedSlot(module: RaidModule): void {
  const { addedSlot }: { addedSlot?: unknown } = module;
  const fitting = { none: 'space', copies: 'copy', parity: undefined }[module.redundancy];
  if (addedSlot !== undefined && addedSlot !== fitting)
    throw refusal(module, 'addedSlot may be copy with redundancy copies, space without redundancy, and absent');
}

function checkOptionSchemas(module: RaidModule): void {
  const { options }: { options?: unknown } = module;
  if (options === undefined) return;
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw refusal(module, 'options must be an object');
  for (const [name, schema] of Object.entries(options)) {
    const fault = faultOfSchema(name, schema);
    if (fault !== null) throw refusal(module, `options.${name}: ${fault}`);
  }
}

/** Modules may be written in JavaScript: a missing field must not count as false, nor a value of another type as true. */
function checkManifest(module: RaidModule): void {
  const manifest: Partial<Record<keyof RaidModule['manifest'], unknown>> = (module as Partial<RaidModule>).manifest ?? {};
  if (manifest.stripSize !== 'required' && manifest.stripSize !== 'none')
    throw refusal(module, 'manifest.stripSize must be required or none');
  for (const field of ['nullPayload', 'resize'] as const) {
    if (typeof manifest[field] !== 'boolean') throw refusal(module, `manifest.${field} must be true or false`);
  }
}

/** Fields that only modules with redundancy may have. A module written in JavaScript can have any of them. */
type AnyLosses = Partial<Record<'redundancy' | 'maxMissing' | 'canRun' | 'journal', unknown>>;

function checkLosses(module: RaidModule): void {
  const { redundancy, maxMissing: most, canRun, journal }: AnyLosses = module;
  const isRedundant = redundancy === 'copies' || redundancy === 'parity';
  if (redundancy !== 'none' && !isRedundant) throw refusal(module, 'redundancy must be none, copies or parity');
  if (redundancy === 'parity' ? typeof journal !== 'boolean' : journal !== undefined)
    throw refusal(module, 'journal must be true or false with redundancy parity, and absent without');
  if (!isRedundant) {
    for (const field of ['maxMissing', 'canRun'] as const)
      if ({ maxMissing: most, canRun }[field] !== undefined) throw refusal(module, `${field} is for levels with redundancy`);
    return;
  }
  if (typeof most !== 'number' && typeof most !== 'function')
    throw refusal(module, 'maxMissing must be a number or a function');
  if (!['function', 'undefined'].includes(typeof canRun)) throw refusal(module, 'canRun must be a function');
  for (let numSlots = module.baseBdevsMin; numSlots <= mostSlots; numSlots++) {
    if (module.acceptsSlots?.(numSlots, {}) === false) continue;
    const limit = maxMissing(module, numSlots);
    const least = numSlots === 1 ? 0 : 1;
    if (!Number.isInteger(limit) || limit < least || limit >= numSlots)
      throw refusal(module, `maxMissing must be ${least} to ${numSlots - 1} for ${numSlots} slots, not ${String(limit)}`);
  }
}

const globalKey = Symbol.for(`raidkit.RaidModuleRegistry.v${raidApiVersion}`);

/**
 * Returns the registry that `import '@raidkit/raid1/register'` registers in. A process has one for each API version, however
 * many copies of this package are loaded.
 */
export function globalRegistry(): RaidModuleRegistry {
  const holder = globalThis as Record<symbol, RaidModuleRegistry | undefined>;
  return (holder[globalKey] ??= new RaidModuleRegistry());
}
