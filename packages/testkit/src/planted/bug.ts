import { Status } from '@raidkit/bdev';
import { maxMissing } from '@raidkit/core';
import type { RaidGeometry, RaidLevel, RaidModule, RedundantContext } from '@raidkit/core';
import type { ClauseId } from '../conformance/clauses.js';
import { tapped, withChanged } from '../level-tap/tap.js';
import type { AnyRequest, Tap } from '../level-tap/tap.js';

/** A mistake that can be planted in a level without its sources: between it and core. */
export interface PlantedBug {
  /** `skips-a-member`. */
  readonly id: string;
  /** What such a level does. */
  readonly title: string;
  /** What it breaks. */
  readonly clause: ClauseId;
  /** Whether the level can make this mistake. */
  readonly applies: (module: RaidModule) => boolean;
  /** It is made in levels, and not in what the module says. */
  readonly hasTap: boolean;
  /**
   * The module with the mistake; the one that is given stays as it is. `onMade`: called whenever a level comes to where it is made.
   */
  readonly plant: <M extends RaidModule>(module: M, onMade?: () => void) => M;
}

/** What a bug is made of. */
interface Recipe extends Omit<PlantedBug, 'plant' | 'applies' | 'hasTap'> {
  applies?: (module: RaidModule) => boolean;
  /** In the levels. */
  tap?: (context: RedundantContext, module: RaidModule) => Tap;
  /** In what the module says. */
  module?: (module: RaidModule) => Partial<RaidModule>;
}

export const isRedundant = ({ redundancy }: RaidModule): boolean => redundancy !== 'none';
export const isCopies = ({ redundancy }: RaidModule): boolean => redundancy === 'copies';
export const isParity = ({ redundancy }: RaidModule): boolean => redundancy === 'parity';
export const hasAdded = ({ addedSlot }: RaidModule): boolean => addedSlot === 'copy';
export const hasNull = (module: RaidModule): boolean => module.manifest.nullPayload && isRedundant(module);

/** Makes bugs of recipes. */
export function bug({ applies = () => true, module: changes, tap, ...rest }: Recipe): PlantedBug {
  return {
    ...rest,
    applies,
    hasTap: tap !== undefined,
    plant: <M extends RaidModule>(module: M, onMade: () => void = () => undefined): M => {
      const changed = changes === undefined ? module : (withChanged<RaidModule>(module, changes(module)) as M);
      return tap === undefined ? changed : tapped(changed, (context) => counting(tap(context, module), onMade));
    },
  };
}

/** The tap, which says so when one of its functions is called. */
function counting(tap: Tap, onMade: () => void): Tap {
  const counted = <T extends object>(made: T): T =>
    Object.fromEntries(
      Object.entries(made).map(([name, value]: [string, unknown]) => {
        if (typeof value !== 'function') return [name, value];
        return [
          name,
          (...args: unknown[]): unknown => {
            onMade();
            return (value as (...given: unknown[]) => unknown)(...args);
          },
        ];
      }),
    ) as T;
  const { context, level, request } = tap;
  return {
    ...tap,
    ...(context === undefined ? {} : { context: counted(context) }),
    ...(level === undefined ? {} : { level: (one) => counted(level(one)) }),
    ...(request === undefined ? {} : { request: (one, own) => counted(request(one, own)) }),
  };
}

/** A recipe's request, in one word. */
export const inRequest = (request: NonNullable<Tap['request']>) => (): Tap => ({ request });

/** A recipe's tap that asks the level: `level` gives null until there is one. */
export function asking(make: (level: () => RaidLevel | null, context: RedundantContext) => Omit<Tap, 'level'>) {
  return (context: RedundantContext): Tap => {
    let level: RaidLevel | null = null;
    const keep = (one: RaidLevel): Partial<RaidLevel> => {
      level = one;
      return {};
    };
    return { ...make(() => level, context), level: keep };
  };
}

/** Slots of which the request sees no member. */
export function missingOf(request: AnyRequest, numSlots: number): number[] {
  return Array.from({ length: numSlots }, (_, slot) => slot).filter((slot) => !request.hasMember(slot));
}

/** One byte of what the request has read is wrong. */
export function spoil(context: RedundantContext, addr: number): void {
  const { u8 } = context.memory;
  u8[addr] = (u8[addr] ?? 0) ^ 0x55;
}

/** The level's geometry, changed. */
export function measured(change: (geometry: RaidGeometry, current: RaidGeometry | null) => RaidGeometry) {
  return (): Tap => ({
    level: (level) => ({
      resize: (capacities, current) => change(level.resize(capacities, current), current),
    }),
  });
}

/** The stripe in which a member's block lies. */
export function stripeAt({ geometry }: RedundantContext, memberOffset: number): number {
  return Math.floor(memberOffset / (geometry.stripe?.memberBlocks ?? 1));
}

/** The stripe in which a user's request begins. */
export function stripeOf({ geometry }: RedundantContext, { offsetBlocks }: AnyRequest): number {
  return Math.floor(offsetBlocks / (geometry.stripe?.arrayBlocks ?? 1));
}

/** After a step of these requests in which something went wrong, nothing follows. */
export function neverGoesOn(kinds: readonly AnyRequest['kind'][], isWrong: (request: AnyRequest) => boolean): Tap {
  const stay = (): void => undefined;
  return {
    onRequest: (request) => {
      // A level that says nothing of what comes next leaves the end to core: here it says something.
      if (kinds.includes(request.kind)) request.andThen((done) => done.end());
    },
    request: (_, own) => ({
      andThen: (then) =>
        own.andThen((done) => {
          if (kinds.includes(done.kind) && isWrong(done)) own.hold(stay);
          else then(done);
        }),
    }),
  };
}

export { Status, maxMissing };
