// npm run bench:integrity: the same arrays with checksums of their data and without: reads and writes over NBD, and a check
// against reading a member with dd.
import { join } from 'node:path';
import { requireCommands } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { fioNbd } from './lib/fio.js';
import type { FioJob } from './lib/fio.js';
import { readOptions } from './lib/options.js';
import { timeDd, timeProcess } from './lib/processes.js';
import { addMember, addVolume, startRaidkit } from './lib/raidkit.js';
import { report } from './lib/report.js';
import type { Goal } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Contender, Measured } from './lib/rounds.js';

const options = readOptions('integrity', { rounds: 12, seconds: 1.5 });
const { seconds, folder } = options;
requireCommands('fio', 'dd');

const memberMib = 160;
const usedBytes = 128 * MiB;

interface Subject extends Contender {
  readonly measure: (job: Omit<FioJob, 'seconds' | 'sizeBytes'> | 'check') => Promise<Measured>;
}

const raidkit = await startRaidkit({ folder, name: 'raidkit', engine: 'uring', memoryMib: 512 });
const { rpc, pid } = raidkit;
await rpc.call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 0 });

async function make(level: string, count: number, integrity: boolean): Promise<Subject> {
  const name = `${level}-${integrity ? 'with' : 'without'}`;
  const members = Array.from({ length: count }, (_, i) => `${name}-${i}`);
  for (const member of members) await addMember(rpc, member, makeHotFile(folder, `${member}.img`, memberMib * MiB), false);
  await addVolume(rpc, name, level, members, { integrity });
  const uri = raidkit.uri(name);
  // Everything is written once, so that every block has a sum, nothing is known to be zero, and no first write is paid for later.
  await fioNbd(uri, { rw: 'write', blockBytes: MiB, depth: 4, seconds: 1, sizeBytes: usedBytes }, 'MiB/s');
  return {
    name: integrity ? 'with checksums' : 'without',
    pids: [pid],
    measure: (job) =>
      job === 'check'
        ? timeProcess(rpc, name, memberMib * MiB, () => rpc.call('raidkit_start_process', { name, type: 'check' }))
        : fioNbd(uri, { ...job, seconds, sizeBytes: usedBytes }, job.blockBytes > 4096 ? 'MiB/s' : 'IOPS'),
  };
}

const jobs = [
  { id: 'read-4k', title: '4k random read, QD32', goal: 0.93, job: { rw: 'randread', blockBytes: 4096, depth: 32 } },
  { id: 'read-1m', title: '1M sequential read, QD4', goal: 0.85, job: { rw: 'read', blockBytes: MiB, depth: 4 } },
  { id: 'write-4k', title: '4k random write, QD32', goal: 0.85, job: { rw: 'randwrite', blockBytes: 4096, depth: 32 } },
  { id: 'write-1m', title: '1M sequential write, QD4', goal: 0.85, job: { rw: 'write', blockBytes: MiB, depth: 4 } },
] as const;

const cases: Case<Subject>[] = [];
const goals: Goal[] = [];
const dd: Subject = {
  name: 'dd of one member, 1 MiB, O_DIRECT',
  pids: [],
  measure: () => timeDd(join(folder, 'raid1-without-0.img'), '/dev/null', memberMib),
};
for (const { level, count, isRedundant } of [
  { level: 'raid0', count: 2, isRedundant: false },
  { level: 'raid1', count: 2, isRedundant: true },
  { level: 'raid5f', count: 4, isRedundant: true },
  { level: 'raid6', count: 5, isRedundant: true },
]) {
  const contenders = [await make(level, count, false), await make(level, count, true)];
  const against = { contender: 'with checksums', bound: 'at least' } as const;
  for (const { id, title, goal, job } of jobs) {
    const caseId = `${level}-${id}`;
    const unit = job.blockBytes > 4096 ? 'MiB/s' : 'IOPS';
    cases.push({ id: caseId, title: `${level} of ${count}: ${title}`, unit, contenders, measure: (one) => one.measure(job) });
    goals.push({ ...against, caseId, metric: 'value', against: 'without', limit: goal });
  }
  // Without checksums there is nothing to check where each block is there once.
  if (!isRedundant) continue;
  const caseId = `${level}-check`;
  cases.push({
    id: caseId,
    title: `${level} of ${count}: check, bytes of one member`,
    unit: 'MiB/s',
    contenders: [dd, ...contenders],
    measure: (one) => one.measure('check'),
  });
  goals.push({ ...against, caseId, metric: 'value', against: dd.name, limit: 0.8 });
}

const results = await runRounds(
  cases.filter(({ id }) => options.isWanted(id)),
  options.rounds,
);
await raidkit.end();
report('integrity', 'What checksums of data cost', options, results, goals, [
  `Members are files of ${memberMib} MiB in the page cache, one daemon for all; pages of sums are in memory.`,
]);
