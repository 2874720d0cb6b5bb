import type { Spoiler } from '@raidkit/testkit';

export const spoilers: readonly Spoiler[];
