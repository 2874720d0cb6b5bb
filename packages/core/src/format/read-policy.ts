/** How a read chooses among copies with the same preference. The first entry is the default. */
export const readPolicies = ['least-outstanding', 'round-robin'] as const;

/**
 * `least-outstanding`: the member with the fewest blocks being read; if several are equal, the one in the lowest slot.
 * `round-robin`: the member that was read least recently.
 */
export type ReadPolicy = (typeof readPolicies)[number];

/** How reads prefer a member over others. The first entry is the default. */
export const readPreferences = ['normal', 'prefer', 'write-mostly'] as const;

/** `prefer`: the member is read before all `normal` ones. `write-mostly`: it is read only if no other member can answer. */
export type ReadPreference = (typeof readPreferences)[number];

/** The policy of an array that does not set one. */
export const defaultReadPolicy: ReadPolicy = 'least-outstanding';
