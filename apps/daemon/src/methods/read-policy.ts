import { readPolicies } from '@raidkit/core';
import type { ReadOptions, ReadPolicy, ReadPreference } from '@raidkit/core';
import { z } from 'zod';
import { RpcError } from '../rpc/errors.js';
import { name } from './schemas.js';

export const readPolicy = z.enum(readPolicies);

/** Names of members of an array. */
export const memberNames = z.array(name).max(255);

/** Members by read preference. */
interface Wanted {
  readonly prefer?: readonly string[] | undefined;
  readonly write_mostly?: readonly string[] | undefined;
  readonly normal?: readonly string[] | undefined;
}

export function hasReadOptions({
  prefer,
  read_policy: policy,
  write_mostly: mostly,
}: Wanted & { read_policy?: unknown }): boolean {
  return policy !== undefined || prefer !== undefined || mostly !== undefined;
}

/** Makes read options. Refuses a member that is named twice, since its preference would be ambiguous. */
export function toReadOptions(policy: ReadPolicy | undefined, { normal, prefer, write_mostly: mostly }: Wanted): ReadOptions {
  const members: Record<string, ReadPreference> = {};
  for (const [field, names, preference] of [
    ['prefer', prefer, 'prefer'],
    ['write_mostly', mostly, 'write-mostly'],
    ['normal', normal, 'normal'],
  ] as const) {
    for (const [index, member] of (names ?? []).entries()) {
      if (Object.hasOwn(members, member))
        throw new RpcError(-22, 'Invalid argument', {
          reason: `${member} is given twice: a member is preferred, write-mostly or normal`,
          field: `${field}.${index}`,
        });
      members[member] = preference;
    }
  }
  return { members, ...(policy === undefined ? {} : { policy }) };
}
