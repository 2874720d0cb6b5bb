import type { LevelContext, RaidLevel, RaidModule, RedundantContext } from '@raidkit/core';
import type { JournalRange, LockMode, RangeLocks } from '@raidkit/core/level';

/** A request of any kind, as a tap sees it. */
export interface AnyRequest {
  readonly kind: 'read' | 'write' | 'write zeroes' | 'unmap' | 'reconstruct';
  readonly offsetBlocks: number;
  readonly numBlocks: number;
  readonly addr: number;
  readonly slots: readonly number[];
  readonly addrs: readonly number[];
  readonly unreadable: readonly number[];
  readonly failed: readonly number[];
  readonly stepStatus: number;
  hasMember(slot: number): boolean;
  readPart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void;
  writePart(slot: number, offsetBlocks: number, numBlocks: number, addr: number): void;
  zeroPart(slot: number, offsetBlocks: number, numBlocks: number): void;
  unmapPart(slot: number, offsetBlocks: number, numBlocks: number): void;
  andThen(then: (request: AnyRequest) => void): void;
  lock(locks: RangeLocks, start: number, end: number, mode: LockMode, then: (request: AnyRequest) => void): void;
  hold(then: (request: AnyRequest) => void): void;
  release(): void;
  end(): void;
  fail(status: number): void;
  journal(ranges: readonly JournalRange[]): void;
  trimmed(offsetBlocks: number, numBlocks: number): void;
  requestRepair(slot: number, offsetBlocks: number, numBlocks: number): void;
  writeBack(): void;
}

/** Functions between a level and core. Made for each start of an array. */
export interface Tap {
  /** Replacements for members of the context that the level sees. */
  context?: Partial<RedundantContext>;
  /** Replacements for members of the level that core sees. */
  level?: (level: RaidLevel) => Partial<RaidLevel>;
  /**
   * Replacements for the request's methods that the level calls; `own` has the original ones. Called once for each request
   * object.
   */
  request?: (request: AnyRequest, own: AnyRequest) => Partial<AnyRequest>;
  /** Called before the level is called with a new request. */
  onRequest?: (request: AnyRequest) => void;
}

/** Returns the object with these properties replaced. Its own methods still see the original ones. */
export function withChanged<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get(_, key) {
      if (Object.hasOwn(changes, key)) return Reflect.get(changes, key);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/**
 * Taps that have changed a request object, whose pool outlives arrays. `start` identifies the array start that they belong to.
 */
interface Layers {
  start: object;
  taps: Set<Tap>;
}

const layersOf = new WeakMap<object, Layers>();
/** The start in progress: nested taps belong to one start. */
let starting: object | null = null;

/** Returns the module with a tap between core and each of its levels. */
export function tapped<M extends RaidModule>(module: M, makeTap: (context: RedundantContext) => Tap): M {
  const start = (context: LevelContext): RaidLevel => {
    const isOutermost = starting === null;
    const token = (starting ??= {});
    try {
      // The context has these members for every array; levels without redundancy do not use them.
      const whole = context as RedundantContext;
      const tap = makeTap(whole);
      const level: RaidLevel = module.start(tap.context === undefined ? whole : withChanged(whole, tap.context));
      return withTap(level, tap, token);
    } finally {
      if (isOutermost) starting = null;
    }
  };
  return withChanged<RaidModule>(module, { start }) as M;
}

function withTap(level: RaidLevel, tap: Tap, start: object): RaidLevel {
  const watch = (request: unknown): void => {
    const one = request as AnyRequest;
    let layers = layersOf.get(one);
    if (layers?.start !== start) {
      for (const name of calls) Reflect.deleteProperty(one, name);
      layersOf.set(one, (layers = { start, taps: new Set() }));
    }
    if (tap.request !== undefined && !layers.taps.has(tap)) {
      layers.taps.add(tap);
      Object.assign(one, tap.request(one, ownCalls(one)));
    }
    tap.onRequest?.(one);
  };
  const changes: Partial<RaidLevel> = {
    // No read may bypass the level, so that the tap sees all of them.
    routeRead: () => false,
    submitRw(request) {
      watch(request);
      level.submitRw(request);
    },
  };
  if (level.submitNullPayload !== undefined)
    changes.submitNullPayload = (request) => {
      watch(request);
      level.submitNullPayload?.(request);
    };
  if (level.submitProcessRequest !== undefined)
    changes.submitProcessRequest = (request) => {
      watch(request);
      level.submitProcessRequest?.(request);
    };
  const inner = withChanged(level, changes);
  return tap.level === undefined ? inner : withChanged(inner, tap.level(inner));
}

const calls = [
  'hasMember',
  'readPart',
  'writePart',
  'zeroPart',
  'unmapPart',
  'andThen',
  'lock',
  'hold',
  'release',
  'end',
  'fail',
  'journal',
  'trimmed',
  'requestRepair',
  'writeBack',
] as const;

/** The request's methods without this tap, that is, the original ones or those of the tap below. */
function ownCalls(request: AnyRequest): AnyRequest {
  const own: Partial<Record<(typeof calls)[number], unknown>> = {};
  for (const name of calls) own[name] = (request[name] as (...args: unknown[]) => unknown).bind(request);
  return own as AnyRequest;
}
