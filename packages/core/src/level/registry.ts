import { RaidError } from '../errors.js';
import { raidApiVersion, thirdPartyCodes } from './module.js';
import type { RaidModule } from './module.js';

/** Codes that SPDK gives to its levels; a third party may stand in for one of them, but only under its name. */
const spdkCodes: ReadonlyMap<number, string> = new Map([
  [0, 'raid0'],
  [1, 'raid1'],
  [95, 'raid5f'],
  [99, 'concat'],
]);

/** The levels that are available. */
export class RaidModuleRegistry {
  readonly #byName = new Map<string, RaidModule>();
  readonly #byCode = new Map<number, RaidModule>();

  /** Refuses, naming the module and the field, what another module has, another API version, or a manifest that lies. */
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

  /** By level id or alias, exact case. */
  byName(name: string): RaidModule | undefined {
    return this.#byName.get(name);
  }

  byCode(code: number): RaidModule | undefined {
    return this.#byCode.get(code);
  }

  list(): RaidModule[] {
    return [...this.#byCode.values()];
  }
}

function refusal(module: RaidModule, message: string): RaidError {
  return new RaidError('ERR_RAID_MODULE', 22, `RAID level ${module.level} cannot be registered: ${message}`);
}

function checkModule(module: RaidModule): void {
  const { level, code, apiVersion, manifest, baseBdevsMin, baseBdevsConstraint } = module;
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
  if (!Number.isInteger(baseBdevsMin) || baseBdevsMin < 1 || baseBdevsMin > 255) {
    throw refusal(module, 'baseBdevsMin must be 1 to 255');
  }
  if (typeof module.start !== 'function') throw refusal(module, 'start must be a function');
  if (!['function', 'undefined'].includes(typeof module.checkOptions)) throw refusal(module, 'checkOptions must be a function');
  checkManifest(module);
  if (manifest.redundant !== (baseBdevsConstraint !== undefined)) {
    throw refusal(module, 'manifest.redundant and baseBdevsConstraint must go together');
  }
  if (baseBdevsConstraint !== undefined) {
    const limit = 'maxRemoved' in baseBdevsConstraint ? baseBdevsConstraint.maxRemoved : baseBdevsConstraint.minOperational;
    if (!Number.isInteger(limit) || limit < 1)
      throw refusal(module, `the number in baseBdevsConstraint must be 1 or more, not ${String(limit)}`);
  }
  if (minOperational(module, baseBdevsMin) < 1) {
    throw refusal(module, 'baseBdevsConstraint leaves no member that is needed');
  }
  if (
    manifest.journal === true &&
    (baseBdevsConstraint === undefined || !('maxRemoved' in baseBdevsConstraint) || baseBdevsConstraint.maxRemoved !== 1)
  ) {
    throw refusal(module, 'manifest.journal is for levels that can do without exactly one member');
  }
}

/** Modules may be written in JavaScript: what is missing must not count as false, nor a typing error as true. */
function checkManifest(module: RaidModule): void {
  const manifest: Partial<Record<keyof RaidModule['manifest'], unknown>> = module.manifest;
  if (manifest.stripSize !== 'required' && manifest.stripSize !== 'none')
    throw refusal(module, 'manifest.stripSize must be required or none');
  for (const field of ['redundant', 'nullPayload', 'resize'] as const) {
    if (typeof manifest[field] !== 'boolean') throw refusal(module, `manifest.${field} must be true or false`);
  }
  if (manifest.journal !== undefined && typeof manifest.journal !== 'boolean')
    throw refusal(module, 'manifest.journal must be true or false');
}

/** Fewest members with which an array of `numSlots` slots can be online. */
export function minOperational(module: RaidModule, numSlots: number): number {
  const constraint = module.baseBdevsConstraint;
  if (constraint === undefined) return numSlots;
  if ('maxRemoved' in constraint) return numSlots - constraint.maxRemoved;
  return Math.min(constraint.minOperational, numSlots);
}

const globalKey = Symbol.for(`raidkit.RaidModuleRegistry.v${raidApiVersion}`);

/**
 * The registry that `import '@raidkit/raid1/register'` registers in. One in the process for each API version, however many
 * copies of this package there are.
 */
export function globalRegistry(): RaidModuleRegistry {
  const holder = globalThis as Record<symbol, RaidModuleRegistry | undefined>;
  return (holder[globalKey] ??= new RaidModuleRegistry());
}
