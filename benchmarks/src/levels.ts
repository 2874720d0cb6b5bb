// npm run bench:levels: every level over four files and over four loop devices, against one member alone; degraded reads; partial
// stripes; and rebuild, resync and check against a copy of the same bytes.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { requireCommands, run } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { fioNbd } from './lib/fio.js';
import type { FioJob } from './lib/fio.js';
import { LoopDevices } from './lib/loops.js';
import { readOptions } from './lib/options.js';
import { timeDd, timeProcess } from './lib/processes.js';
import { addMember, addVolume, startRaidkit } from './lib/raidkit.js';
import { pairedRatios, report } from './lib/report.js';
import type { Goal } from './lib/report.js';
import { quietRounds, runRounds } from './lib/rounds.js';
import type { Case, Contender, Measured } from './lib/rounds.js';
import { median } from './lib/statistics.js';

const options = readOptions('levels', { rounds: 5, seconds: 1.5 });
const { seconds, folder } = options;
requireCommands('fio', 'losetup', 'dd');

/** Size of each member; the superblock and what goes with it take 1 MiB. */
const memberBytes = 160 * MiB;
const usedBytes = 128 * MiB;
const stripKb = 64;

type Kind = 'files' | 'loops';
interface Volume extends Contender {
  readonly uri: string;
}
interface Iostat {
  bdevs: { name: string; num_read_ops: number; num_write_ops: number; bytes_read: number; bytes_written: number }[];
}

const raidkit = await startRaidkit({ folder, name: 'raidkit', engine: 'uring', memoryMib: 512 });
const { rpc, pid } = raidkit;
const loops = LoopDevices.isAllowed ? new LoopDevices() : null;
if (loops === null) console.error('loop devices need root: left out');
const kinds: Kind[] = loops === null ? ['files'] : ['files', 'loops'];

async function members(kind: Kind, volume: string, count: number): Promise<string[]> {
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const name = `${volume}-${i}`;
    const path =
      kind === 'loops' && loops !== null ? await loops.make(memberBytes) : makeHotFile(folder, `${name}.img`, memberBytes);
    await addMember(rpc, name, path, kind === 'loops');
    names.push(name);
  }
  return names;
}

const volumes = new Map<string, Volume>();
const volume = (kind: Kind, name: string): Volume[] => [volumes.get(`${kind}-${name}`)].filter((found) => found !== undefined);

async function make(kind: Kind, label: string, level: string | null, count: number): Promise<void> {
  const name = `${kind}-${label}`.replaceAll(' ', '-');
  const bases = await members(kind, name, count);
  if (level === null) {
    await rpc.call('raidkit_nbd_export', { bdev_name: bases[0], name });
  } else {
    await addVolume(rpc, name, level, bases, { stripSizeKb: stripKb });
  }
  volumes.set(`${kind}-${label}`, { name: label, pids: [pid], uri: raidkit.uri(name) });
}

const levels = [
  { label: 'concat', level: 'concat', count: 4 },
  { label: 'raid0', level: 'raid0', count: 4 },
  { label: 'raid1', level: 'raid1', count: 2 },
  { label: 'raid5f', level: 'raid5f', count: 4 },
  { label: 'raid6', level: 'raid6', count: 5 },
  // Four members' data in a stripe.
  { label: 'raid5f of 5', level: 'raid5f', count: 5 },
  { label: 'raid6 of 6', level: 'raid6', count: 6 },
] as const;
for (const kind of kinds) {
  await make(kind, 'one member', null, 1);
  for (const { label, level, count } of levels) await make(kind, label, level, count);
  await make(kind, 'raid1 degraded', 'raid1', 2);
  await make(kind, 'raid5f degraded', 'raid5f', 4);
  await make(kind, 'raid6 without two', 'raid6', 5);
  for (const name of ['raid1-degraded-1', 'raid5f-degraded-1', 'raid6-without-two-1', 'raid6-without-two-3'])
    await rpc.call('bdev_raid_remove_base_bdev', { name: `${kind}-${name}` });
}
// Everything is written once, so that nothing is known to be zero, and no first write is paid for later.
for (const { uri } of volumes.values()) {
  const job = { rw: 'write', blockBytes: MiB, depth: 4, seconds: 1, sizeBytes: usedBytes } as const;
  await fioNbd(uri, job, 'MiB/s');
}

function fio(
  kind: Kind,
  id: string,
  title: string,
  names: readonly string[],
  job: Omit<FioJob, 'seconds' | 'sizeBytes'>,
): Case<Volume> {
  const unit = job.blockBytes > 4096 ? 'MiB/s' : 'IOPS';
  return {
    id: `${kind}-${id}`,
    title: `4 ${kind}: ${title}`,
    unit,
    contenders: names.flatMap((name) => volume(kind, name)),
    measure: ({ uri }) => fioNbd(uri, { ...job, seconds, sizeBytes: usedBytes }, unit),
  };
}

const healthy = ['one member', 'concat', 'raid0', 'raid1', 'raid5f', 'raid6'];
const degraded = ['one member', 'raid1 degraded', 'raid5f degraded', 'raid6 without two'];
const stripeBytes = 3 * stripKb * 1024;
const sequential = ['one member', 'raid5f of 5', 'raid6 of 6'];
/** The last workload writes whole stripes. */
const sequentialKb = [4, 16, 64, 128, 256];
const cases = kinds
  .flatMap((kind) => [
    fio(kind, 'read-4k-qd32', '4k random read, QD32', healthy, { rw: 'randread', blockBytes: 4096, depth: 32 }),
    fio(kind, 'write-4k-qd32', '4k random write, QD32 (raid5f, raid6: partial stripes)', healthy, {
      rw: 'randwrite',
      blockBytes: 4096,
      depth: 32,
    }),
    fio(kind, 'read-1m-qd4', '1M sequential read, QD4', healthy, { rw: 'read', blockBytes: MiB, depth: 4 }),
    fio(kind, 'write-1m-qd4', '1M sequential write, QD4', healthy, { rw: 'write', blockBytes: MiB, depth: 4 }),
    fio(kind, 'write-stripe', 'sequential writes of whole stripes of 192k, QD8', ['one member', 'raid0', 'raid5f', 'raid6'], {
      rw: 'write',
      blockBytes: stripeBytes,
      depth: 8,
    }),
    ...sequentialKb.map((kb) =>
      fio(kind, `write-sequential-${kb}k-qd32`, `${kb}k sequential write, QD32`, sequential, {
        rw: 'write',
        blockBytes: kb * 1024,
        depth: 32,
      }),
    ),
    fio(kind, 'degraded-read-4k-qd32', 'degraded: 4k random read, QD32', degraded, {
      rw: 'randread',
      blockBytes: 4096,
      depth: 32,
    }),
    fio(kind, 'degraded-read-1m-qd4', 'degraded: 1M sequential read, QD4', degraded, {
      rw: 'read',
      blockBytes: MiB,
      depth: 4,
    }),
  ])
  .filter(({ id }) => options.isWanted(id));
const results = await runRounds<Volume>(cases, options.rounds);

/** Reads and writes of members for each write of a client. */
async function memberIosPerWrite(kind: Kind, level: 'raid5f' | 'raid6'): Promise<string> {
  const [array] = volume(kind, level);
  if (array === undefined) return '';
  const count = async (): Promise<{ reads: number; writes: number }> => {
    const { bdevs } = (await rpc.call('bdev_get_iostat')) as Iostat;
    const own = bdevs.filter(({ name }) => new RegExp(`^${kind}-${level}-\\d+$`).test(name));
    return {
      reads: own.reduce((sum, one) => sum + one.num_read_ops, 0),
      writes: own.reduce((sum, one) => sum + one.num_write_ops, 0),
    };
  };
  const before = await count();
  const { ops = 1 } = await fioNbd(
    array.uri,
    { rw: 'randwrite', blockBytes: 4096, depth: 32, seconds: 1, sizeBytes: usedBytes },
    'IOPS',
  );
  const after = await count();
  const least = {
    raid5f: 'read-modify-write needs 2 and 2, reconstruct-write 2 and 2',
    raid6: 'the least is 2 reads and 3 writes',
  };
  return `${level} over ${kind}, 4k random writes: ${((after.reads - before.reads) / ops).toFixed(3)} reads and ${((after.writes - before.writes) / ops).toFixed(3)} writes of members per write (${least[level]}; the rest is the log's).`;
}

/** Bytes that members read and write for each byte of a client's sequential writes. */
async function memberBytesPerByte(kind: Kind, label: string, depth: number): Promise<string> {
  const [array] = volume(kind, label);
  if (array === undefined) return '';
  const prefix = `${kind}-${label}-`.replaceAll(' ', '-');
  const count = async (): Promise<{ read: number; written: number }> => {
    const { bdevs } = (await rpc.call('bdev_get_iostat')) as Iostat;
    const own = bdevs.filter(({ name }) => name.startsWith(prefix));
    return {
      read: own.reduce((sum, one) => sum + one.bytes_read, 0),
      written: own.reduce((sum, one) => sum + one.bytes_written, 0),
    };
  };
  const found: string[] = [];
  for (const kb of sequentialKb) {
    const before = await count();
    const { ops = 1 } = await fioNbd(
      array.uri,
      { rw: 'write', blockBytes: kb * 1024, depth, seconds: 1, sizeBytes: usedBytes },
      'IOPS',
    );
    const after = await count();
    const bytes = ops * kb * 1024;
    found.push(
      `${kb}k ${((after.read - before.read) / bytes).toFixed(2)} + ${((after.written - before.written) / bytes).toFixed(2)}`,
    );
  }
  return `${label} over ${kind}, sequential writes at QD${depth}: bytes that members read and write for each byte: ${found.join(', ')}.`;
}

interface Job extends Contender {
  measure: () => Promise<Measured>;
}

/** A process over the whole array; the value is bytes of a member a second. */
function processOf(name: string, start: () => Promise<unknown>, array: string): Job {
  return {
    name,
    pids: [pid],
    measure: () => timeProcess(rpc, array, usedBytesOfMember, start),
  };
}

const usedBytesOfMember = memberBytes - MiB;

async function processCase(kind: Kind): Promise<Case<Job>> {
  const spare = async (name: string): Promise<string> => {
    const path =
      kind === 'loops' && loops !== null ? await loops.make(memberBytes) : makeHotFile(folder, `${name}.img`, memberBytes);
    return path;
  };
  const from = await spare(`${kind}-dd-from`);
  const to = await spare(`${kind}-dd-to`);
  const rebuild = (level: string, count: number): Promise<Job> => rebuildJob(kind, level, count);
  return {
    id: `${kind}-processes`,
    title: `4 ${kind}: background processes, bytes of one member`,
    unit: 'MiB/s',
    contenders: [
      {
        name: 'dd O_DIRECT 1 MiB',
        pids: [],
        measure: () => timeDd(from, to, Math.floor(usedBytesOfMember / MiB)),
      },
      await rebuild('raid1', 2),
      await rebuild('raid5f', 4),
      await rebuild('raid6', 5),
      ...['raid1', 'raid5f', 'raid6'].map((level) => {
        const array = `direct-${kind}-${level}`;
        return processOf(`${level} check`, () => rpc.call('raidkit_start_process', { name: array, type: 'check' }), array);
      }),
      await resyncJob(kind, 'raid1', 2),
      await resyncJob(kind, 'raid5f', 4),
      await resyncJob(kind, 'raid6', 5),
    ],
    measure: (job) => job.measure(),
  };
}

/** Members past the page cache, as dd's files are; the last one leaves and comes back wiped. */
async function rebuildJob(kind: Kind, level: string, count: number): Promise<Job> {
  const array = `direct-${kind}-${level}`;
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const name = `${array}-${i}`;
    const path =
      kind === 'loops' && loops !== null ? await loops.make(memberBytes) : makeHotFile(folder, `${name}.img`, memberBytes);
    await addMember(rpc, name, path, true);
    names.push(name);
    paths.set(name, path);
  }
  await addVolume(rpc, array, level, names, { stripSizeKb: stripKb });
  await fioNbd(raidkit.uri(array), { rw: 'write', blockBytes: MiB, depth: 4, seconds: 1, sizeBytes: usedBytes }, 'MiB/s');
  const last = names[count - 1] ?? '';
  return {
    name: `${level} rebuild`,
    pids: [pid],
    async measure() {
      await rpc.call('bdev_raid_remove_base_bdev', { name: last });
      await rpc.call('bdev_aio_delete', { name: last });
      const path = paths.get(last) ?? '';
      await run('dd', ['if=/dev/zero', `of=${path}`, 'bs=1M', 'count=1', 'oflag=direct', 'conv=notrunc', 'status=none']);
      await addMember(rpc, last, path, true);
      return processOf('', () => rpc.call('bdev_raid_add_base_bdev', { raid_bdev: array, base_bdev: last }), array).measure();
    },
  };
}
const paths = new Map<string, string>();

/** A daemon of its own is killed while it writes; what is measured is the resync at its next start, as the array's history has it. */
async function resyncJob(kind: Kind, level: string, count: number): Promise<Job> {
  const array = `crash-${kind}-${level}`;
  const config: { method: string; params: object }[] = [
    { method: 'bdev_raid_set_options', params: { process_max_bandwidth_mb_sec: 0 } },
  ];
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const name = `${array}-${i}`;
    const path =
      kind === 'loops' && loops !== null ? await loops.make(memberBytes) : makeHotFile(folder, `${name}.img`, memberBytes);
    config.push({ method: 'bdev_aio_create', params: { name, filename: path, direct_io: 'require' } });
    names.push(name);
  }
  const configPath = join(folder, `${array}.json`);
  writeFileSync(configPath, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
  const start = (): ReturnType<typeof startRaidkit> => startRaidkit({ folder, name: array, engine: 'uring', configPath });
  let daemon = await start();
  await addVolume(daemon.rpc, array, level, names, { stripSizeKb: stripKb });
  return {
    name: `${level} resync after a crash`,
    pids: [],
    async measure() {
      await fioNbd(daemon.uri(array), { rw: 'write', blockBytes: MiB, depth: 4, seconds: 1, sizeBytes: usedBytes }, 'MiB/s');
      process.kill(daemon.pid, 'SIGKILL');
      daemon.rpc.close();
      await daemon.end();
      rmSync(join(folder, `${array}.rpc`), { force: true });
      daemon = await start();
      for (;;) {
        const [found] = (await daemon.rpc.call('raidkit_get_arrays', { name: array })) as {
          ext: { block_size: number; history: { type: string; seconds: number; blocks: number }[] };
        }[];
        const record = found?.ext.history.find(({ type }) => type === 'resync');
        if (found !== undefined && record !== undefined)
          return { value: (record.blocks * found.ext.block_size) / MiB / record.seconds };
        await sleep(5);
      }
    },
  };
}

const notes: string[] = [];
for (const kind of kinds) {
  if (options.isWanted(`${kind}-processes`)) {
    await rpc.call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 0 });
    results.push(...(await runRounds<Job>([await processCase(kind)], options.rounds)));
  }
  if (options.isWanted(`${kind}-member-ios`))
    notes.push(await memberIosPerWrite(kind, 'raid5f'), await memberIosPerWrite(kind, 'raid6'));
  if (options.isWanted(`${kind}-member-bytes`))
    for (const label of ['raid5f of 5', 'raid6 of 6'])
      for (const depth of [8, 32]) notes.push(await memberBytesPerByte(kind, label, depth));
}
await raidkit.end();

const goals = kinds.flatMap((kind): Goal[] => [
  ...[
    'raid1 rebuild',
    'raid5f rebuild',
    'raid6 rebuild',
    'raid1 resync after a crash',
    'raid5f resync after a crash',
    'raid6 resync after a crash',
    'raid1 check',
    'raid5f check',
    'raid6 check',
  ].map((contender): Goal => ({
    caseId: `${kind}-processes`,
    metric: 'value',
    contender,
    against: 'dd O_DIRECT 1 MiB',
    bound: 'at least',
    limit: 0.8,
  })),
]);
/** What a level costs over its member, in microseconds of server CPU per I/O. */
const extra = results.flatMap((result) => {
  if (!/-(read|write)-4k-qd32$/.test(result.id)) return [];
  const base = result.contenders.find(({ name }) => name === 'one member');
  if (base === undefined) return [];
  const quiet = quietRounds(result);
  return result.contenders.flatMap(({ name, samples }) => {
    if (name === 'one member' || pairedRatios(result, 'cpuUs', name, 'one member', quiet).length === 0) return [];
    const differences = samples.flatMap(({ round, cpuUs }) => {
      const other = base.samples.find((sample) => sample.round === round)?.cpuUs ?? null;
      return cpuUs === null || other === null ? [] : [cpuUs - other];
    });
    return [`| ${result.title} | ${name} | ${median(differences).toFixed(2)} |`];
  });
});
notes.push(['| | | µs more server CPU per I/O than one member |', '|---|---|---|', ...extra].join('\n'));
report('levels', 'Levels', options, results, goals, [
  `Members of ${memberBytes / MiB} MiB: files in the page cache, or loop devices over memory past it. raid1 has two members, raid6 five, the others four where nothing else is said; strips of ${stripKb} KiB. Everything through the daemon over NBD. For the processes all members are past the page cache, as dd's files are.`,
  ...notes,
]);
// This also ends the daemons of the crashes.
process.exit();
