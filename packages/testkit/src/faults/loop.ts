import { Coverage } from '../coverage.js';
import type { SimPlan } from '../plan.js';
import { Random } from '../random.js';
import { CutMode } from '../disk-faults.js';
import { SimMemory } from '../sim-memory.js';
import { checkLeaks, checkRest, heal, settle } from '../simulation/rest.js';
import { assemble, end, stop } from '../simulation/restart.js';
import { SimRun } from '../simulation/sim-run.js';
import type { RunParts } from '../simulation/sim-run.js';
import { memoryBytes } from '../simulation/simulate.js';
import { comeBack } from '../simulation/trouble.js';
import { recreate } from './recreate.js';
import { scenarios } from './scenarios.js';
import type { Scenario } from './scenarios.js';
import { InterruptedError, Script } from './script.js';
import { forgive, repairSilently } from './silent.js';
import { Trip, tripKinds } from './trip.js';
import type { TripKind } from './trip.js';

/** What to let go wrong. */
export interface FaultLoopOptions extends RunParts {
  /** Part of the scenarios' names; default: all. */
  scenario?: string;
  /** Default: all. */
  kinds?: readonly TripKind[];
  /** Only every so many-th operation. Default 1. */
  every?: number;
  /** The first operation is drawn from this; with another number others are tried. Default 0. */
  seed?: number;
  onRun?: (run: FaultRun) => void;
}

/** One run of a scenario. */
export interface FaultRun {
  scenario: string;
  /** The operation at which the fault struck, from 1, and the fault; null: none did. */
  at: number;
  kind: TripKind | null;
  /** The operation of the recovery at which the process ended once more; 0: it did not. */
  secondAt: number;
  violation: string | null;
  trace: string[];
}

/** What came of them. */
export interface FaultLoopResult {
  scenarios: number;
  runs: number;
  failures: FaultRun[];
  coverage: Coverage;
}

const dataKib = 1100;

/** A fault at each device operation of each scenario, one at a time, and, after a crash, another crash in its recovery. */
export async function runFaultLoop(options: FaultLoopOptions): Promise<FaultLoopResult> {
  const { module, kinds = tripKinds, every = 1, seed = 0, scenario: wanted = '' } = options;
  const memory = new SimMemory({ bytes: memoryBytes });
  const result: FaultLoopResult = { scenarios: 0, runs: 0, failures: [], coverage: new Coverage() };
  const random = new Random(seed, 20);
  const tell = (run: FaultRun): void => {
    result.runs++;
    if (run.violation !== null) result.failures.push(run);
    options.onRun?.(run);
  };
  for (const scenario of scenarios) {
    if (!scenario.applies(module) || !scenario.id.includes(wanted)) continue;
    result.scenarios++;
    const { coverage } = result;
    const one = (at: number, kind: TripKind | null, secondAt: number): Promise<FaultOutcome> => runOnce(options, scenario, { at, kind, secondAt, coverage }, memory);
    const plain = await one(0, null, 0);
    tell(plain.run);
    for (const kind of kinds) {
      if (scenario.without?.includes(kind) === true) continue;
      for (let at = random.int(1, every); at <= plain.operations; at += every) {
        const first = await one(at, kind, 0);
        if (first.isPointless) continue;
        tell(first.run);
        if (first.recoveryOperations === 0 || first.run.violation !== null) continue;
        const second = await one(at, kind, random.int(1, first.recoveryOperations));
        tell(second.run);
      }
    }
  }
  return result;
}

/** What one run came to. */
export interface FaultOutcome {
  run: FaultRun;
  /** Of the devices, in the scenario's steps, and after its crash until everything was at rest; 0 if there was none. */
  operations: number;
  recoveryOperations: number;
  /** The fault came where it means nothing, or not at all. */
  isPointless: boolean;
}

/** What goes wrong in one run, as {@link FaultRun} says. */
export interface Fault {
  at: number;
  kind: TripKind | null;
  secondAt: number;
  coverage?: Coverage;
}

/** One scenario with one fault. Resolves in every case. */
export async function runOnce(parts: RunParts, scenario: Scenario, fault: Fault, memory = new SimMemory({ bytes: memoryBytes })): Promise<FaultOutcome> {
  const { at, kind, secondAt, coverage = new Coverage() } = fault;
  const run = new SimRun(parts, planOf(parts, scenario, at), memory);
  const outcome: FaultOutcome = {
    run: { scenario: scenario.id, at, kind, secondAt, violation: null, trace: [] },
    operations: 0,
    recoveryOperations: 0,
    isPointless: false,
  };
  await run.go(async () => {
    const script = new Script(run);
    await before(run, script, scenario);
    const trip = new Trip(run, at, kind, () => script.interrupt());
    script.trip = trip;
    try {
      await scenario.steps(script);
    } catch (error) {
      if (!(error instanceof InterruptedError)) throw error;
    }
    trip.disarm();
    outcome.operations = trip.count;
    outcome.isPointless = trip.isPointless || (kind !== null && !trip.hasFired);
    if (outcome.isPointless) return;
    forgive(run, trip);
    for (const disk of run.disks) if (trip.ending === null) comeBack(run, disk, 'same');
    if (trip.ending === null) {
      await aftermath(run, script, { hasEnded: false }, trip);
      return;
    }
    await end(run, trip.ending);
    for (const disk of run.disks) disk.isPresent = true;
    outcome.recoveryOperations = await recover(run, script, secondAt);
  });
  memory.reset();
  outcome.run.violation = run.violation;
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

/** A new process puts things right; at its `secondAt`-th operation the power fails once more. Gives how many it took. */
async function recover(run: SimRun, script: Script, secondAt: number): Promise<number> {
  const course: Course = { hasEnded: false };
  let onEnd: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    onEnd = () => {
      course.hasEnded = true;
      resolve();
    };
  });
  const trip = new Trip(run, secondAt, secondAt === 0 ? null : 'torn', onEnd);
  await Promise.race([aftermath(run, script, course), ended]);
  trip.disarm();
  if (trip.ending !== null) {
    await end(run, trip.ending);
    await aftermath(run, script, { hasEnded: false });
  }
  return trip.count;
}

/** Something that goes on until its process ends. */
interface Course {
  hasEnded: boolean;
}

/** Faults stop; whatever is there must be right, and come to rest. Throws {@link InterruptedError} once its process has ended. */
async function aftermath(run: SimRun, script: Script, course: Course, trip: Trip | null = null): Promise<void> {
  const unlessEnded = async <T>(step: Promise<T>): Promise<T> => {
    const value = await step;
    if (course.hasEnded) throw new InterruptedError();
    return value;
  };
  if (script.exists !== 'yes' || (run.stack !== null && run.array() === undefined)) await unlessEnded(recreate(run, script, course));
  else if (run.stack === null) await unlessEnded(assemble(run, -1));
  if (run.isRefused) return;
  await unlessEnded(heal(run));
  if (!(await unlessEnded(settle(run)))) return;
  await unlessEnded(run.readAll('at rest'));
  await unlessEnded(run.readAll('at rest, again'));
  if (trip !== null) await unlessEnded(repairSilently(run, trip));
  await checkRest(run);
  await unlessEnded(end(run, { how: 'stop', mode: CutMode.KeepAll, downMs: 1 }));
  await unlessEnded(assemble(run, -1));
  await unlessEnded(run.readAll('after a clean restart'));
  await stop(run);
  checkLeaks(run);
}

function planOf({ module, store }: RunParts, scenario: Scenario, seed: number): SimPlan {
  const numSlots = scenario.numSlots ?? Math.max(2, module.baseBdevsMin);
  const numDisks = numSlots + 1;
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
    },
  };
}
