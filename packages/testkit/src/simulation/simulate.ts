import { IoType } from '@raidkit/bdev';
import { RaidError } from '@raidkit/core';
import type { Coverage } from '../coverage.js';
import { hasWholeSums } from '../plain-places.js';
import { drawPlan, withLargerDisks, withoutIntegrity } from '../plan.js';
import type { PlanItem, SimPlan } from '../plan-items.js';
import { CutMode } from '../disk-faults.js';
import { SimMemory } from '../sim-memory.js';
import { addCopy, addSpare, controlProcess, dismissSpares, grow, setIntegrity, replace, takeSlot } from './operator.js';
import { foreignRun } from './foreign.js';
import { lie } from './lies.js';
import { lieAndCrash } from './found-lies.js';
import { comeToRest, rest } from './come-to-rest.js';
import { calm, checkLeaks, heal, lookAtRest } from './rest.js';
import { remake, restart, stop } from './restart.js';
import { SimRun } from './sim-run.js';
import type { RunParts } from './sim-run.js';
import type { VolumeClient } from '../volume-client.js';
import { addMember, giveFault, hoard, outage, removeMember, vanish } from './trouble.js';
import { ViolationError } from './violation.js';

/** Options of {@link simulate}. */
export interface SimOptions extends RunParts {
  seed: number;
  /** Default: drawn from the seed. */
  plan?: SimPlan;
  /** Memory of the simulated processes, which nothing else may use meanwhile. Default: a new one. */
  memory?: SimMemory;
}

/** Result of a simulation. */
export interface SimResult {
  seed: number;
  level: string;
  /** Which rule was broken and how; null if none was. */
  violation: string | null;
  /** The last steps, for people. */
  trace: string[];
  traceHash: string;
  steps: number;
  virtualMs: number;
  plan: SimPlan;
  coverage: Coverage;
}

/** Size of the simulated processes' memory, in bytes. */
export const memoryBytes = 64 * 1024 * 1024;

/** Runs one simulation. Never rejects; errors are in the result. */
export async function simulate(options: SimOptions): Promise<SimResult> {
  const plan = options.plan ?? drawPlan(options.seed, options.module);
  const memory = options.memory ?? new SimMemory({ bytes: memoryBytes });
  const run = new SimRun(options, plan, memory);
  run.onGone = (members) => remake(run, members);
  await run.go(course);
  memory.reset();
  if (run.otherPlan !== null) return simulate({ ...options, memory, plan: run.otherPlan });
  const { coverage, module, violation, world } = run;
  return {
    seed: plan.seed,
    level: module.level,
    violation,
    trace: world.traceTail(),
    traceHash: world.traceHash,
    steps: world.steps,
    virtualMs: world.now,
    plan,
    coverage,
  };
}

/** Creates an array, and uses it while faults happen; then everything must come to rest and be right. */
async function course(run: SimRun): Promise<void> {
  await create(run);
  if (run.otherPlan !== null) return;
  const startedAt = run.world.now;
  const clients = new Map<number, PlanItem[]>();
  const timeline: PlanItem[] = [];
  for (const item of run.plan.items) {
    if (item.kind !== 'io') timeline.push(item);
    else clients.set(item.client, [...(clients.get(item.client) ?? []), item]);
  }
  const work = [...clients.values()].map((items) =>
    runClient(run, items, startedAt).catch((error: unknown) => run.broken(error)),
  );
  for (const item of timeline) {
    await until(run, startedAt, item);
    await happen(run, item);
    if (run.isRefused) return;
  }
  await heal(run);
  await run.inTime('the clients', Promise.all(work));
  if (!(await comeToRest(run))) return;
  await lookAtRest(run);
  await restart(run, { kind: 'restart', at: 0, how: 'stop', mode: CutMode.KeepAll, downMs: 1, absent: -1 });
  if (run.isRefused) return;
  await run.readAll('after a clean restart');
  dismissSpares(run);
  await stop(run);
  checkLeaks(run);
}

async function create(run: SimRun): Promise<void> {
  const stack = run.boot();
  await Promise.all(run.disks.map((disk) => stack.plugIn(disk)));
  const { plan } = run;
  const isSummed = plan.shape.integrity !== undefined;
  try {
    await stack.arrays.create(run.creation());
  } catch (error) {
    if (!RaidError.is(error)) throw error;
    // Checksums are of whole 4096 bytes, and not each level uses whole ones of its members.
    if (isSummed && error.code === 'ERR_RAID_INVALID') run.otherPlan = withoutIntegrity(plan);
    else if (error.code === 'ERR_RAID_MEMBER' && isSmall(plan)) run.otherPlan = withLargerDisks(plan);
    else throw error;
    return;
  }
  const array = run.array();
  if (isSummed && array !== undefined && !hasWholeSums(array)) run.otherPlan = withoutIntegrity(plan);
  run.takeImages();
}

/** Whether disks have less than 32 MiB each. */
function isSmall({ shape: { blockSize, memberBlocks } }: SimPlan): boolean {
  return memberBlocks.some((blocks) => blocks * blockSize < 32 * 1024 * 1024);
}

async function runClient(run: SimRun, items: readonly PlanItem[], startedAt: number): Promise<void> {
  for (const item of items) {
    if (item.kind !== 'io') continue;
    await until(run, startedAt, item);
    let volume = await run.upForUsers();
    // The process may have ended meanwhile.
    while (volume !== run.volume) volume = await run.upForUsers();
    if (!volume.descriptor.bdev.supports(item.type)) {
      // The volume must support what all members support or the bdev layer emulates.
      if (run.plan.shape.lacking?.some((types) => types.includes(item.type)) === true) continue;
      throw new ViolationError(`G8: the volume does not take I/O of type ${item.type}`);
    }
    const most = item.type === IoType.Unmap ? volume.numBlocks : Math.min(volume.mostBlocks, volume.numBlocks);
    const numBlocks = Math.min(item.numBlocks, most);
    const offset = Math.min(Math.floor(item.zone * volume.numBlocks) + item.delta, volume.numBlocks - numBlocks);
    if (item.inRow === undefined) await run.io(volume, item.type, offset, numBlocks, item.flags);
    else await writeInRow(run, volume, offset, numBlocks, item.inRow, item.flags);
  }
}

/** Sends consecutive writes at once, up to the volume's end. */
async function writeInRow(
  run: SimRun,
  volume: VolumeClient,
  offset: number,
  numBlocks: number,
  inRow: number,
  flags: number,
): Promise<void> {
  const array = run.array();
  const before = { ...array?.gatheredWrites };
  const writes: Promise<void>[] = [];
  for (let at = offset; writes.length < inRow && at + numBlocks <= volume.numBlocks; at += numBlocks)
    writes.push(run.io(volume, IoType.Write, at, numBlocks, flags));
  await Promise.all(writes);
  const { failed = 0, operations = 0 } = array?.gatheredWrites ?? {};
  if (operations > (before.operations ?? 0)) run.mark('writes are gathered');
  if (failed > (before.failed ?? 0)) run.coverage.mark('gathered writes are taken apart');
}

/** Resolves when the item is due and users are not held. */
async function until(run: SimRun, startedAt: number, { at }: PlanItem): Promise<void> {
  for (;;) {
    const waitMs = startedAt + at + run.heldMs - run.world.now;
    if (waitMs <= 0) return;
    await run.world.sleep(waitMs);
  }
}

/** Carries out one item of the plan. */
async function happen(run: SimRun, item: PlanItem): Promise<void> {
  switch (item.kind) {
    case 'fault':
      giveFault(run, item);
      break;
    case 'vanish':
      vanish(run, item);
      break;
    case 'snapshot': {
      const disk = run.disk(item.disk);
      run.takeSnapshot(disk);
      break;
    }
    case 'remove':
      removeMember(run, run.disk(item.disk), item.at);
      break;
    case 'add':
      addMember(run, run.disk(item.disk));
      break;
    case 'restart':
      if (!run.isCalm || item.how === 'stop') await restart(run, item);
      break;
    case 'lie':
      if (run.isCalm) break;
      if (item.crash === undefined) lie(run, item);
      else await lieAndCrash(run, item, item.crash);
      break;
    case 'metadataLie':
      if (!run.isCalm) run.metadataLies.lie(item);
      break;
    case 'spare':
      addSpare(run, run.disk(item.disk));
      break;
    case 'replace':
      replace(run, run.disk(item.disk));
      break;
    case 'copy':
      addCopy(run, run.disk(item.disk));
      break;
    case 'shrink':
      takeSlot(run, run.disk(item.disk));
      break;
    case 'process':
      controlProcess(run, item.action);
      break;
    case 'outage':
      outage(run, item);
      break;
    case 'hoard':
      hoard(run, item);
      break;
    case 'grow':
      grow(run, item.numBlocks);
      break;
    case 'integrity':
      setIntegrity(run, item.isOn);
      break;
    case 'foreign':
      if (!run.isCalm) await foreignRun(run, item);
      break;
    case 'rest':
      await rest(run);
      break;
    case 'calm':
      run.isCalm = true;
      run.mark('calm');
      calm(run);
      break;
    default:
  }
}
