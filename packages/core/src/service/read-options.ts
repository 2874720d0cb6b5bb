import { Status } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { RaidError } from '../errors.js';
import { readPolicies, readPreferences } from '../format/read-policy.js';
import type { ReadPolicy, ReadPreference } from '../format/read-policy.js';
import type { RaidModule } from '../level/module.js';
import type { Slot } from '../members/slot.js';

/** How reads choose among copies. An absent field is left unchanged. */
export interface ReadOptions {
  /** How reads choose among copies with the same preference. */
  readonly policy?: ReadPolicy;
  /** Read preferences by name of the member. */
  readonly members?: Readonly<Record<string, ReadPreference>>;
}

/** Throws if a policy or preference is invalid, or the level has no copies. */
export function checkReads(name: string, module: RaidModule, { members = {}, policy }: ReadOptions): void {
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name}: ${message}`);
  };
  if (module.redundancy !== 'copies')
    refuse(`level ${module.level} has each block on one member: there are no copies to choose from`);
  if (policy !== undefined && !readPolicies.includes(policy))
    refuse(`the read policy must be ${readPolicies.join(' or ')}, not ${policy}`);
  for (const [member, wanted] of Object.entries(members))
    if (!readPreferences.includes(wanted)) refuse(`reads of ${member} can be ${readPreferences.join(', ')}, and not ${wanted}`);
}

/**
 * Changes how an online array with copies reads them. Resolves when its members have recorded that; rejects, without changing
 * anything, if it cannot be recorded.
 */
export async function setReads(array: RaidArray, options: ReadOptions): Promise<void> {
  const { name } = array;
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name}: ${message}`);
  };
  checkReads(name, array.module, options);
  if (array.state !== 'online') refuse(`it is ${array.state}: the read policy can be changed only while it is online`);
  if (array.isReadOnly) refuse('it is read-only, and nothing can be recorded on its members');
  if (array.hasSuperblock && !array.hasHeaders)
    refuse(`its members have blocks of ${array.blockSize} bytes, which leaves no room to record it`);
  const wanted = Object.entries(options.members ?? {}).map(([member, preference]): [Slot, ReadPreference] => {
    const slot = array.slots.find((one) => one.name === member && one.descriptor !== null);
    if (slot === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `array ${name} has no member ${member}`);
    return [slot, preference];
  });
  const policyBefore = array.readPolicy;
  const before = wanted.map(([slot]) => slot.readPreference);
  array.setReadPolicy(options.policy ?? policyBefore);
  for (const [slot, preference] of wanted) slot.setReadPreference(preference);
  try {
    await array.lifecycle.whileBusy(array.metadata.update());
  } catch (error) {
    // Restore the former values, unless another request has changed them meanwhile.
    if (array.readPolicy === options.policy) array.setReadPolicy(policyBefore);
    for (const [index, [slot, preference]] of wanted.entries())
      if (slot.readPreference === preference) slot.setReadPreference(before[index] ?? 'normal');
    throw error;
  }
  array.log.info({ ...array.logFields(), policy: array.readPolicy }, 'the read policy has been changed');
}
