// npm run bench:engine: our io_uring engine alone, without NBD, against fio's io_uring engine with everything turned on.
import { fileURLToPath } from 'node:url';
import { requireCommands, run } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { fioArgs, runFio } from './lib/fio.js';
import { LoopDevices } from './lib/loops.js';
import { readOptions } from './lib/options.js';
import { report } from './lib/report.js';
import type { Goal } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Contender, Measured } from './lib/rounds.js';

const sizeBytes = 512 * MiB;
const options = readOptions('engine', { rounds: 7, seconds: 1.5 });
const { seconds, folder } = options;
requireCommands('fio', 'losetup', 'dd');
const driver = fileURLToPath(new URL('engine-driver.js', import.meta.url));

interface Target {
  id: string;
  title: string;
  path: string;
  direct: boolean;
}

const targets: Target[] = [];
if (LoopDevices.isAllowed) {
  targets.push({
    id: 'loop',
    title: 'loop device over memory, O_DIRECT',
    path: await new LoopDevices().make(sizeBytes),
    direct: true,
  });
} else {
  console.error('loop devices need root: left out');
}
targets.push({ id: 'file', title: 'file, O_DIRECT', path: makeHotFile(folder, 'direct.img', sizeBytes), direct: true });
targets.push({ id: 'hot', title: 'file in the page cache', path: makeHotFile(folder, 'hot.img', sizeBytes), direct: false });

interface Engine extends Contender {
  measure(target: Target, depth: number): Promise<Measured>;
}

/** Fixed buffers, registered files, and submission and completion in batches of half the depth. */
async function fio({ path, direct }: Target, depth: number, isTuned: boolean): Promise<Measured> {
  const batch = Math.max(1, Math.min(16, depth / 2));
  const tuned = isTuned
    ? [
        '--fixedbufs=1',
        '--registerfiles=1',
        `--iodepth_batch_submit=${batch}`,
        '--iodepth_batch_complete_min=1',
        `--iodepth_batch_complete_max=${batch}`,
      ]
    : [];
  const job = { rw: 'randread', blockBytes: 4096, depth, seconds, sizeBytes } as const;
  return runFio(
    [...fioArgs(job), '--ioengine=io_uring', `--filename=${path}`, `--direct=${direct ? 1 : 0}`, '--invalidate=0', ...tuned],
    'IOPS',
  );
}

async function own({ path, direct }: Target, depth: number, via: 'engine' | 'bdev'): Promise<Measured> {
  const text = await run(process.execPath, [
    driver,
    path,
    direct ? 'direct' : 'buffered',
    via,
    ...[depth, 4096, seconds].map(String),
  ]);
  const { ops, seconds: taken, cpuUs } = JSON.parse(text) as { ops: number; seconds: number; cpuUs: number };
  return { value: ops / taken, ops, cpuUs };
}

const engines: Engine[] = [
  { name: 'fio, tuned', pids: [], measure: (target, depth) => fio(target, depth, true) },
  { name: 'fio', pids: [], measure: (target, depth) => fio(target, depth, false) },
  { name: 'raidkit engine', pids: [], measure: (target, depth) => own(target, depth, 'engine') },
  { name: 'raidkit bdev', pids: [], measure: (target, depth) => own(target, depth, 'bdev') },
];

const cases = targets
  .flatMap((target) =>
    [1, 32, 128].map((depth): Case<Engine> => ({
      id: `${target.id}-4k-qd${depth}`,
      title: `${target.title}: 4k random read, QD${depth}`,
      unit: 'IOPS',
      contenders: engines,
      measure: (engine) => engine.measure(target, depth),
    })),
  )
  .filter(({ id }) => options.isWanted(id));

const goals = ['loop', 'file', 'hot'].flatMap((target) =>
  [32, 128].flatMap((depth): Goal[] => [
    {
      caseId: `${target}-4k-qd${depth}`,
      metric: 'value',
      contender: 'raidkit engine',
      against: 'fio, tuned',
      bound: 'at least',
      limit: 0.95,
    },
    {
      caseId: `${target}-4k-qd${depth}`,
      metric: 'cpuUs',
      contender: 'raidkit engine',
      against: 'fio, tuned',
      bound: 'at most',
      limit: 1,
    },
  ]),
);
const results = await runRounds(cases, options.rounds);
report('engine', 'The io_uring engine alone', options, results, goals, [
  "raidkit engine: the engine's own calls in a reactor; raidkit bdev: the same device through the bdev layer. CPU is of the whole process for raidkit, of the job's thread for fio. The kernel's loop threads count as other load.",
]);
