import { Status } from '@raidkit/bdev';
import { maxMissing } from '@raidkit/core';
import type { RaidGeometry, RaidLevel, RaidModule, RedundantContext } from '@raidkit/core';
import type { ClauseId } from '../conformance/clauses.js';
import { tapped, withChanged } from '../level-tap/tap.js';
import type { AnyRequest, Tap } from '../level-tap/tap.js';

/** A mistake that can be planted between a level and core, without changing the level's source. */
export interface PlantedBug {
  /** Identifier, such as `skips-a-member`. */
  readonly id: string;
  /** What a level with this bug does wrong. */
  readonly title: string;
  /** The clause that it breaks. */
  readonly clause: ClauseId;
  /** Whether the level can make this mistake. */
  readonly applies: (module: RaidModule) => boolean;
  /** True if the mistake is in a level's behaviour, false if it is in the module's declarations. */
  readonly hasTap: boolean;
  /** Returns the module with the mistake; the given one is unchanged. `onMade` is called whenever a level makes the mistake. */
  readonly plant: <M extends RaidModule>(module: M, onMade?: () => void) => M;
}

/** Definition of a bug. */
interface Recipe extends Omit<PlantedBug, 'plant' | 'applies' | 'hasTap'> {
  applies?: (module: RaidModule) => boolean;
  /** The mistake in a level's behaviour. */
  tap?: (context: RedundantContext, module: RaidModule) => Tap;
  /** The mistake in the module's declarations. */
  module?: (module: RaidModule) => Partial<RaidModule>;
}

export const isRedundant = ({ redundancy }: RaidModule): boolean => redundancy !== 'none';
export const isCopies = ({ redundancy }: RaidModule): boolean => redundancy === 'copies';
export const isParity = ({ redundancy }: RaidModule): boolean => redundancy === 'parity';
export const hasAdded = ({ addedSlot }: RaidModule): boolean => addedSlot === 'copy';
export const hasNull = (module: RaidModule): boolean => module.manifest.nullPayload && isRedundant(module);

/** Makes a bug from its definition. */
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

/** Returns the tap with functions that also call `onMade`. */
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

/** Makes the tap of a bug that only changes requests. */
export const inRequest = (request: NonNullable<Tap['request']>) => (): Tap => ({ request });

/** Makes the tap of a bug that needs the level: `level` returns null until it was started. */
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

/** Slots that have no member for the request. */
export function missingOf(request: AnyRequest, numSlots: number): number[] {
  return Array.from({ length: numSlots }, (_, slot) => slot).filter((slot) => !request.hasMember(slot));
}

/** Corrupts one byte of what the request has read. */
export function spoil(context: RedundantContext, addr: number): void {
  const { u8 } = context.memory;
  u8[addr] = (u8[addr] ?? 0) ^ 0x55;
}

/** Makes a tap that changes the level's geometry. */
export function measured(change: (geometry: RaidGeometry, current: RaidGeometry | null) => RaidGeometry) {
  return (): Tap => ({
    level: (level) => ({
      resize: (capacities, current) => change(level.resize(capacities, current), current),
    }),
  });
}

/** Stripe of a member's block. */
export function stripeAt({ geometry }: RedundantContext, memberOffset: number): number {
  return Math.floor(memberOffset / (geometry.stripe?.memberBlocks ?? 1));
}

/** Stripe in which a user's request begins. */
export function stripeOf({ geometry }: RedundantContext, { offsetBlocks }: AnyRequest): number {
  return Math.floor(offsetBlocks / (geometry.stripe?.arrayBlocks ?? 1));
}

/** Makes a tap such that these requests never continue after a step that went wrong. */
export function neverGoesOn(kinds: readonly AnyRequest['kind'][], isWrong: (request: AnyRequest) => boolean): Tap {
  const stay = (): void => undefined;
  return {
    onRequest: (request) => {
      // A level that sets no next step leaves the end to core, so one is set here.
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
