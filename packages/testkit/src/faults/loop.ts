import { canRun } from '@raidkit/core';
import type { LevelOptions, RaidModule } from '@raidkit/core';
import { Coverage } from '../coverage.js';
import { acceptedSlots } from '../slots.js';
import type { SimPlan } from '../plan-items.js';
import { Random } from '../random.js';
import { CutMode } from '../disk-faults.js';
import { SimMemory } from '../sim-memory.js';
import { calm, checkLeaks, checkRest, heal, settle } from '../simulation/rest.js';
import { assemble, end, remake, stop } from '../simulation/restart.js';
import { SimRun } from '../simulation/sim-run.js';
import type { RunParts } from '../simulation/sim-run.js';
import { memoryBytes } from '../simulation/simulate.js';
import { comeBack } from '../simulation/trouble.js';
import { recreate } from './recreate.js';
import { scenarios } from './scenarios.js';
import type { Scenario } from './scenario.js';
import { InterruptedError, Script } from './script.js';
import { forgive, repairSilently } from './silent.js';
import { crashKinds, crashSoon, inStarts, loseAnother, pairsFor, sampledStarts } from './pairs.js';
import { Recoverer, recoveryKinds } from './recovery.js';
import type { Recovery } from './recovery.js';
import { Trip, tripKinds } from './trip.js';
import type { Struck, TripKind, TripPlan } from './trip.js';

/** Parameters of scenario runs. */
export interface ScenarioParts extends RunParts {
  /** Whether arrays have checksums, with memory for only a few pages of them. Default false. */
  hasIntegrity?: boolean;
}

/** Options of {@link runFaultLoop}. */
export interface FaultLoopOptions extends ScenarioParts {
  /** Runs scenarios whose names contain this; default: all. */
  scenario?: string;
  /** First faults; default: all. */
  kinds?: readonly TripKind[];
  /** Runs faults only at every n-th operation. Default 1. */
  every?: number;
  /** Seed for the first operation, so that other operations are tried with another seed. Default 0. */
  seed?: number;
  /** Whether each run has two successive faults instead of one. Default false. */
  pairs?: boolean;
  /** With `pairs`: crashes alone, each followed by every start that is not ordinary, and by an outage in an ordinary one. */
  recoveries?: boolean;
  onRun?: (run: FaultRun) => void;
  /** Ends the loop after a run for which this returns true. */
  until?: (run: FaultRun) => boolean;
}

/** A run of a scenario: its fault and result. */
export interface FaultRun extends Omit<Fault, 'coverage'> {
  scenario: string;
  violation: string | null;
  trace: string[];
}

/** Result of {@link runFaultLoop}. */
export interface FaultLoopResult {
  scenarios: number;
  runs: number;
  failures: FaultRun[];
  coverage: Coverage;
}

const dataKib = 1100;
/** Number of additional slots that are tried for a scenario. */
const mostMoreSlots = 4;

/**
 * Runs each scenario with a fault at each device operation, one per run, and after a crash with another crash during recovery;
 * with `pairs`, with a fault and what may follow it, and a crash with what may fail in the next start. Each run is done both
 * with earlier writes flushed and with them in members' caches; a sample is done with only one of the two.
 */
export async function runFaultLoop(options: FaultLoopOptions): Promise<FaultLoopResult> {
  const { every = 1, module, pairs = false, seed = 0, scenario: wanted = '', until } = options;
  const memory = new SimMemory({ bytes: memoryBytes });
  const result: FaultLoopResult = { scenarios: 0, runs: 0, failures: [], coverage: new Coverage() };
  const random = new Random(seed, 20);
  const course = { isOver: false };
  for (const scenario of scenarios) {
    if (!scenario.applies(module, options.levelOptions ?? {}) || !scenario.id.includes(wanted)) continue;
    if (scenario.grows === true && options.hasIntegrity === true && module.redundancy === 'none') continue;
    if (numSlotsOf(module, scenario, options.levelOptions) === null) continue;
    result.scenarios++;
    // One of the two is enough for a sample.
    const both = every === 1 ? [true, false] : [random.chance(0.5)];
    for (const isFlushed of scenario.startsEmpty === true ? [true] : both) {
      const strike = async (fault: Fault): Promise<FaultOutcome> => {
        const outcome = await runOnce(options, scenario, { ...fault, isFlushed, coverage: result.coverage }, memory);
        if (outcome.isPointless) return outcome;
        result.runs++;
        if (outcome.run.violation !== null) result.failures.push(outcome.run);
        options.onRun?.(outcome.run);
        course.isOver ||= until?.(outcome.run) ?? false;
        return outcome;
      };
      await (pairs ? strikeTwice : strikeOnce)(options, scenario, random, strike, () => course.isOver);
      if (course.isOver) return result;
    }
  }
  return result;
}

type Strike = (fault: Fault) => Promise<FaultOutcome>;

async function strikeOnce(
  { kinds = tripKinds, every = 1 }: FaultLoopOptions,
  scenario: Scenario,
  random: Random,
  strike: Strike,
  isOver: () => boolean,
): Promise<void> {
  const { operations } = await strike({ at: 0, kind: null, second: null });
  for (const kind of kinds) {
    if (scenario.without?.includes(kind) === true) continue;
    for (let at = random.int(1, every); at <= operations && !isOver(); at += every) {
      const { isPointless, recoveryOperations, run } = await strike({ at, kind, second: null });
      if (isPointless || recoveryOperations === 0 || run.violation !== null || isOver()) continue;
      await strike({ at, kind, second: { at: random.int(1, recoveryOperations), kind: 'torn' } });
    }
  }
}

async function strikeTwice(
  { module, kinds = tripKinds, every = 1, recoveries = false }: FaultLoopOptions,
  scenario: Scenario,
  random: Random,
  strike: Strike,
  isOver: () => boolean,
): Promise<void> {
  const { operations, operationsOf } = await strike({ at: 0, kind: null, second: null });
  for (const { follow, kind, of } of recoveries ? [] : pairsFor(module)) {
    if (!kinds.includes(kind) || scenario.without?.includes(kind) === true || isOver()) continue;
    const most = of === undefined ? operations : operationsOf[of];
    for (let at = random.int(1, every); at <= most && !isOver(); at += every) {
      await strike({ at, kind, second: null, ...(of === undefined ? {} : { of }), follow: follow(random) });
    }
  }
  await strikeStarts({ every, recoveries }, operations, random, strike, isOver);
}

/**
 * Crashes, and injects in the next starts every fault that a start may meet, each once at some operation, or starts in another
 * way; some are followed by another crash. Of a sample, each crash is followed by some of these.
 */
async function strikeStarts(
  { every, recoveries }: { every: number; recoveries: boolean },
  operations: number,
  random: Random,
  strike: Strike,
  isOver: () => boolean,
): Promise<void> {
  for (let at = random.int(1, every); at <= operations && !isOver(); at += every) {
    const crash = { at, kind: random.pick(crashKinds) };
    const { isPointless, run, startOperations } = await strike({ ...crash, second: null });
    if (isPointless || startOperations === 0 || run.violation !== null) continue;
    const starts = random.shuffle([...(recoveries ? (['outage'] as const) : inStarts), ...recoveryKinds]);
    for (const kind of starts.slice(0, every === 1 || recoveries ? starts.length : sampledStarts)) {
      if (isOver()) return;
      const place = random.int(1, startOperations);
      const isCrash = random.chance(0.5);
      if (kind === 'foreign' || kind === 'forced') {
        const second = isCrash ? { at: place, kind: random.pick(crashKinds) } : null;
        await strike({ ...crash, recovery: { kind, draw: random.int(1, 9999) }, second });
      } else {
        await strike({ ...crash, second: { at: place, kind, follow: isCrash ? crashSoon(random) : null } });
      }
    }
  }
}

/** Result of one run. */
export interface FaultOutcome {
  run: FaultRun;
  /** Device operations in the scenario's steps, and after its crash until everything was at rest (0 without a crash). */
  operations: number;
  recoveryOperations: number;
  /** Those recovery operations in which a new process starts the array; 0 if there was none to start. */
  startOperations: number;
  operationsOf: Record<Struck, number>;
  /** The fault struck where it has no meaning, or not at all. */
  isPointless: boolean;
}

/** Faults of one run. */
export interface Fault extends TripPlan {
  /** Fault during recovery from a crash, whose operations are counted separately; null for none. */
  second: TripPlan | null;
  /** How the array is started after a crash; null for an ordinary start. Default null. */
  recovery?: Recovery | null;
  /** Whether earlier writes are on stable media. Default true. */
  isFlushed?: boolean;
  coverage?: Coverage;
}

/** Runs one scenario with one fault. Never rejects. */
export async function runOnce(
  parts: ScenarioParts,
  scenario: Scenario,
  fault: Fault,
  memory = new SimMemory({ bytes: memoryBytes }),
): Promise<FaultOutcome> {
  const { coverage = new Coverage(), ...struck } = fault;
  const { at, kind, recovery = null, second, isFlushed = true } = struck;
  const run = new SimRun(parts, { ...planOf(parts, scenario, at), items: Recoverer.itemsFor(recovery) }, memory);
  const recoverer = recovery === null ? null : new Recoverer(run, recovery);
  run.onGone = (members) => remake(run, members);
  const outcome: FaultOutcome = {
    run: { ...struck, scenario: scenario.id, violation: null, trace: [] },
    operations: 0,
    recoveryOperations: 0,
    startOperations: 0,
    operationsOf: { target: 0, records: 0 },
    isPointless: false,
  };
  const trips: Trip[] = [];
  await run.go(async () => {
    const script = new Script(run);
    script.leavesFlushesOut = !isFlushed;
    await before(run, script, scenario);
    script.leavesFlushesOut = false;
    const trip = new Trip(
      run,
      struck,
      () => script.interrupt(),
      false,
      (disk, io) => recoverer?.note(disk, io),
    );
    script.trip = trip;
    trips.push(trip);
    recoverer?.begin();
    try {
      await scenario.steps(script);
      await script.awaitCrash();
    } catch (error) {
      if (!(error instanceof InterruptedError)) throw error;
    }
    trip.disarm();
    outcome.operations = trip.count;
    outcome.operationsOf = trip.counts;
    outcome.isPointless = trip.isPointless || (kind !== null && !trip.hasFired);
    if (outcome.isPointless) return;
    // There may have been no array when the write was lost, and there is one now.
    if (trip.lost !== null) forgive(run, trip.lost);
    for (const disk of run.disks) if (trip.ending === null) comeBack(run, disk, 'same');
    if (trip.ending === null) {
      await aftermath(run, script, { hasEnded: false }, trip);
      return;
    }
    if (recoverer !== null && (script.exists !== 'yes' || !recoverer.prepare(trip.ending))) {
      outcome.isPointless = true;
      return;
    }
    await end(run, trip.ending);
    for (const disk of run.disks) disk.isPresent = true;
    Object.assign(outcome, await recover(run, script, second, recoverer));
  });
  memory.reset();
  // The steps may already have read what nothing can know to be wrong.
  outcome.isPointless ||= trips.some((trip) => trip.isPointless);
  outcome.run.violation = outcome.isPointless ? null : run.violation;
  outcome.run.trace = run.world.traceTail();
  coverage.add(run.coverage);
  return outcome;
}

async function before(run: SimRun, script: Script, scenario: Scenario): Promise<void> {
  const stack = run.boot();
  await Promise.all(run.disks.map((disk) => stack.plugIn(disk)));
  if (scenario.before !== undefined) {
    await scenario.before(script);
    return;
  }
  await script.create();
  await script.fill();
  await script.flush();
}

/** Recovers in a new process, with the fault `second`. Returns the number of operations that this took. */
async function recover(
  run: SimRun,
  script: Script,
  second: TripPlan | null,
  recoverer: Recoverer | null,
): Promise<Pick<FaultOutcome, 'isPointless' | 'recoveryOperations' | 'startOperations'>> {
  let onEnd: () => void = () => undefined;
  const start = (): Promise<void> => recoverer?.start() ?? assemble(run, -1);
  const course: Course = { hasEnded: false, onHeal: () => undefined, start };
  const ended = new Promise<void>((resolve) => {
    onEnd = () => {
      course.hasEnded = true;
      resolve();
    };
  });
  await recoverer?.before();
  const trip = new Trip(run, second ?? { at: 0, kind: null }, onEnd, true);
  let startOperations = 0;
  course.onHeal = () => (startOperations = trip.count);
  await Promise.race([aftermath(run, script, course), ended]);
  trip.disarm();
  if (trip.ending !== null) {
    await end(run, trip.ending);
    for (const disk of run.disks) disk.isPresent = true;
    // If the last good member fails and only a stale one is visible, no program can know better.
    if (run.isTolerant) calm(run);
    run.hasFaultInStart = run.disks.some((disk) => run.standing.hasFault(disk));
    await aftermath(run, script, { hasEnded: false, ...(recoverer?.mustRepeat === true ? { start } : {}) });
  }
  return { isPointless: trip.isPointless, recoveryOperations: trip.count, startOperations };
}

/** A sequence of steps that ends with its process. */
interface Course {
  hasEnded: boolean;
  /** Starts the array in a new process; default: as always. */
  start?: () => Promise<void>;
  /** Called after the array was started, if possible, and had time for what it does by itself. */
  onHeal?: () => void;
}

/** Milliseconds that an array is left alone after it came up from a crash: a resync begins, and may end. */
const aloneMs = 200;

/**
 * Ends all faults; whatever exists must be right and come to rest. Throws {@link InterruptedError} once the process has ended.
 */
async function aftermath(run: SimRun, script: Script, course: Course, trip: Trip | null = null): Promise<void> {
  const unlessEnded = async <T>(step: Promise<T>): Promise<T> => {
    const value = await step;
    if (course.hasEnded) throw new InterruptedError();
    return value;
  };
  if (script.exists !== 'yes' || (run.stack !== null && run.array() === undefined))
    await unlessEnded(recreate(run, script, course));
  else if (run.stack === null) {
    await unlessEnded(course.start?.() ?? assemble(run, -1));
    if (course.onHeal !== undefined) await unlessEnded(run.world.sleep(aloneMs));
    course.onHeal?.();
  }
  if (run.isRefused) return;
  await unlessEnded(heal(run));
  run.hasFaultInStart = false;
  if (trip?.hasStruckTwice === true && run.volume === null) {
    run.coverage.mark('two errors in a stripe: a person must start it');
    return;
  }
  if (!(await unlessEnded(settle(run)))) return;
  await unlessEnded(run.readAll('at rest'));
  await unlessEnded(run.readAll('at rest, again'));
  if (trip !== null) await unlessEnded(repairSilently(run, trip.lost));
  await checkRest(run);
  if (trip?.mustLoseAnother === true) await loseAnother(run, trip);
  await unlessEnded(end(run, { how: 'stop', mode: CutMode.KeepAll, downMs: 1 }));
  await unlessEnded(assemble(run, -1));
  await unlessEnded(run.readAll('after a clean restart'));
  await stop(run);
  checkLeaks(run);
}

/** Number of slots of the scenario's array; null if no array of the level suits the scenario. */
function numSlotsOf(module: RaidModule, { numSlots, together = [] }: Scenario, options: LevelOptions = {}): number | null {
  const usual = acceptedSlots(module, 2, options);
  const least = acceptedSlots(module, numSlots?.(usual, module, options) ?? usual, options);
  for (let more = 0; more <= mostMoreSlots; more++) {
    const count = acceptedSlots(module, least + more, options);
    if (canRun(module, count, together, options)) return count;
  }
  return null;
}

function planOf(
  { hasIntegrity = false, levelOptions = {}, module, store }: ScenarioParts,
  scenario: Scenario,
  seed: number,
): SimPlan {
  const numSlots = numSlotsOf(module, scenario, levelOptions);
  if (numSlots === null) throw new Error(`no array of level ${module.level} can go through "${scenario.id}"`);
  const numDisks = numSlots + (scenario.numSpares ?? 1);
  const blockSize = 512;
  return {
    seed,
    items: [],
    shape: {
      numSlots,
      numDisks,
      blockSize,
      stripSizeKb: module.manifest.stripSize === 'none' ? 0 : 16,
      memberBlocks: Array.from({ length: numDisks }, () => (store.reservedBytes + dataKib * 1024) / blockSize),
      latencies: Array.from({ length: numDisks }, () => ({ leastMs: 0.05, meanMs: 0.1 })),
      hasWriteCache: true,
      hasForceUnitAccess: true,
      windowSizeKb: 256,
      isOverBudget: false,
      levelOptions,
      ...(hasIntegrity ? { integrity: { cachePages: 2 } } : {}),
      ...scenario.shape,
    },
  };
}
