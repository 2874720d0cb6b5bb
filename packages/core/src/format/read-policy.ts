/** Which of several copies a read takes, of those that are equally welcome. The first one is the default. */
export const readPolicies = ['least-outstanding', 'round-robin'] as const;

/**
 * `least-outstanding`: the copy of the member on which the fewest blocks are being read; of several the one in the first slot.
 * `round-robin`: the copy of the member that has been read the longest time ago.
 */
export type ReadPolicy = (typeof readPolicies)[number];

/** What reads want of a member. The first one is the default. */
export const readPreferences = ['normal', 'prefer', 'write-mostly'] as const;

/**
 * `prefer`: it is read before all `normal` ones, and `write-mostly` when no other one can answer.
 */
export type ReadPreference = (typeof readPreferences)[number];

/** What an array without a word about it has. */
export const defaultReadPolicy: ReadPolicy = 'least-outstanding';
