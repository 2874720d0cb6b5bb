// npm run bench:nbd: one volume over NBD, raidkit against nbdkit's file plugin and qemu-nbd, with fio, nbdcopy and our light client.
import { requireCommands } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { fioNbd } from './lib/fio.js';
import type { FioJob } from './lib/fio.js';
import { runLight } from './lib/light.js';
import { copyRepeatedly } from './lib/nbdcopy.js';
import { readOptions } from './lib/options.js';
import { startNbdkit, startOwn, startQemu } from './lib/peers.js';
import type { NbdServerUnderTest } from './lib/peers.js';
import { plot } from './lib/plot.js';
import { report } from './lib/report.js';
import type { Goal } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Measured } from './lib/rounds.js';

const volumeBytes = 512 * MiB;
/** A member holds a superblock besides the data. */
const memberBytes = volumeBytes + 4 * MiB;
const ports = { nbdkit: 10_921, 'qemu-nbd': 10_922, raidkit: 10_923 } as const;

const options = readOptions('nbd', { rounds: 5, seconds: 1.5 });
const { folder, seconds } = options;
requireCommands('fio', 'nbdkit', 'qemu-nbd', 'nbdcopy');

type Group = 'unix' | 'tcp' | 'direct';
type ServerName = 'nbdkit' | 'qemu-nbd' | 'raidkit' | 'raidkit-nospin' | 'raidkit-portable';

/** What is measured, and of whom. The goals of the project are about the cases whose names begin with a star. */
interface Plan {
  id: string;
  title: string;
  group: Group;
  servers: readonly ServerName[];
  unit: 'IOPS' | 'MiB/s';
  measure: (server: NbdServerUnderTest) => Promise<Measured>;
}

const all: readonly ServerName[] = ['nbdkit', 'qemu-nbd', 'raidkit', 'raidkit-nospin', 'raidkit-portable'];
const three: readonly ServerName[] = ['nbdkit', 'qemu-nbd', 'raidkit'];

function fio(
  id: string,
  title: string,
  group: Group,
  servers: readonly ServerName[],
  rw: FioJob['rw'],
  blockBytes: number,
  depth: number,
): Plan {
  const unit = blockBytes > 4096 ? 'MiB/s' : 'IOPS';
  return {
    id,
    title,
    group,
    servers,
    unit,
    measure: ({ uri }) => fioNbd(uri, { rw, blockBytes, depth, seconds, sizeBytes: volumeBytes }, unit),
  };
}

function light(id: string, title: string, direction: 'read' | 'write'): Plan {
  return {
    id,
    title,
    group: 'unix',
    servers: three,
    unit: 'IOPS',
    measure: ({ name, socketPath }) =>
      runLight({
        socketPath: socketPath ?? '',
        exportName: name.startsWith('raidkit') ? 'volume' : '',
        direction,
        blockBytes: 4096,
        depth: 32,
        seconds,
      }),
  };
}

const plans: Plan[] = [
  fio('judged-read-4k-qd32', 'fio 4k random read, QD32', 'unix', all, 'randread', 4096, 32),
  fio('judged-read-4k-qd1', 'fio 4k random read, QD1', 'unix', all, 'randread', 4096, 1),
  light('judged-light-read-4k-qd32', 'light client 4k random read, QD32', 'read'),
  fio('judged-read-128k-qd8', 'fio 128k sequential read, QD8', 'unix', three, 'read', 128 * 1024, 8),
  fio('judged-read-1m-qd4', 'fio 1M sequential read, QD4', 'unix', three, 'read', MiB, 4),
  {
    id: 'judged-nbdcopy',
    title: 'nbdcopy, one connection',
    group: 'unix',
    servers: three,
    unit: 'MiB/s',
    measure: ({ uri }) => copyRepeatedly(uri, 'null:', { bytes: volumeBytes, seconds }),
  },
  fio('judged-tcp-read-4k-qd32', 'TCP loopback: fio 4k random read, QD32', 'tcp', three, 'randread', 4096, 32),
  fio('judged-tcp-read-128k-qd8', 'TCP loopback: fio 128k sequential read, QD8', 'tcp', three, 'read', 128 * 1024, 8),
  fio('write-4k-qd1', 'fio 4k random write, QD1', 'unix', three, 'randwrite', 4096, 1),
  fio('write-4k-qd32', 'fio 4k random write, QD32', 'unix', three, 'randwrite', 4096, 32),
  fio('mixed-4k-qd32', 'fio 4k random, half reads half writes, QD32', 'unix', three, 'randrw', 4096, 32),
  light('light-write-4k-qd32', 'light client 4k random write, QD32', 'write'),
  fio('write-128k-qd8', 'fio 128k sequential write, QD8', 'unix', three, 'write', 128 * 1024, 8),
  fio('write-1m-qd4', 'fio 1M sequential write, QD4', 'unix', three, 'write', MiB, 4),
  fio('tcp-read-4k-qd1', 'TCP loopback: fio 4k random read, QD1', 'tcp', three, 'randread', 4096, 1),
  fio('tcp-write-1m-qd4', 'TCP loopback: fio 1M sequential write, QD4', 'tcp', three, 'write', MiB, 4),
  fio(
    'direct-read-4k-qd1',
    'past the page cache: fio 4k random read, QD1',
    'direct',
    ['qemu-nbd', 'raidkit'],
    'randread',
    4096,
    1,
  ),
  fio(
    'direct-read-4k-qd32',
    'past the page cache: fio 4k random read, QD32',
    'direct',
    ['qemu-nbd', 'raidkit'],
    'randread',
    4096,
    32,
  ),
  fio(
    'direct-write-4k-qd32',
    'past the page cache: fio 4k random write, QD32',
    'direct',
    ['qemu-nbd', 'raidkit'],
    'randwrite',
    4096,
    32,
  ),
  fio(
    'direct-read-1m-qd4',
    'past the page cache: fio 1M sequential read, QD4',
    'direct',
    ['qemu-nbd', 'raidkit'],
    'read',
    MiB,
    4,
  ),
  fio(
    'direct-write-1m-qd4',
    'past the page cache: fio 1M sequential write, QD4',
    'direct',
    ['qemu-nbd', 'raidkit'],
    'write',
    MiB,
    4,
  ),
];

function goal(caseId: string, metric: Goal['metric'], against: ServerName, bound: Goal['bound'], limit: number): Goal {
  return { caseId: `judged-${caseId}`, metric, contender: 'raidkit', against, bound, limit };
}

const goals: Goal[] = [
  goal('read-4k-qd32', 'value', 'nbdkit', 'at least', 1.5),
  goal('read-4k-qd32', 'value', 'qemu-nbd', 'at least', 1.4),
  goal('read-4k-qd32', 'cpuUs', 'nbdkit', 'at most', 0.6),
  goal('read-4k-qd32', 'cpuUs', 'qemu-nbd', 'at most', 0.65),
  goal('read-4k-qd1', 'value', 'nbdkit', 'at least', 1.4),
  goal('read-4k-qd1', 'value', 'qemu-nbd', 'at least', 1.6),
  goal('read-4k-qd1', 'p50Us', 'nbdkit', 'at most', 0.75),
  goal('read-4k-qd1', 'cpuUs', 'nbdkit', 'at most', 1.1),
  goal('light-read-4k-qd32', 'value', 'nbdkit', 'at least', 1.8),
  goal('light-read-4k-qd32', 'value', 'qemu-nbd', 'at least', 3),
  goal('light-read-4k-qd32', 'cpuUs', 'nbdkit', 'at most', 0.5),
  goal('light-read-4k-qd32', 'cpuUs', 'qemu-nbd', 'at most', 0.33),
  goal('read-128k-qd8', 'value', 'nbdkit', 'at least', 1.2),
  goal('read-128k-qd8', 'cpuUs', 'nbdkit', 'at most', 0.6),
  goal('read-128k-qd8', 'value', 'qemu-nbd', 'at least', 2),
  goal('read-1m-qd4', 'value', 'nbdkit', 'at least', 1),
  goal('read-1m-qd4', 'cpuUs', 'nbdkit', 'at most', 0.75),
  goal('read-1m-qd4', 'value', 'qemu-nbd', 'at least', 2),
  goal('nbdcopy', 'value', 'nbdkit', 'at least', 1),
  goal('nbdcopy', 'cpuUs', 'nbdkit', 'at most', 1),
  goal('nbdcopy', 'value', 'qemu-nbd', 'at least', 1.2),
  goal('tcp-read-4k-qd32', 'value', 'nbdkit', 'at least', 1.3),
  goal('tcp-read-128k-qd8', 'value', 'nbdkit', 'at least', 1),
];

const wanted = plans.filter(({ id }) => options.isWanted(id));
if (wanted.length === 0) throw new Error(`--only leaves nothing; there are: ${plans.map(({ id }) => id).join(', ')}`);
const running = new Map<string, NbdServerUnderTest>();

/** Each server has a file of its own: ours lock theirs. */
async function start(group: Group, name: ServerName): Promise<NbdServerUnderTest> {
  const file = makeHotFile(folder, `${group}-${name}.img`, name.startsWith('raidkit') ? memberBytes : volumeBytes);
  const isTcp = group === 'tcp';
  const direct = group === 'direct';
  if (name === 'nbdkit') return startNbdkit(file, isTcp ? { folder, port: ports.nbdkit } : { folder });
  if (name === 'qemu-nbd') return startQemu(file, isTcp ? { folder, port: ports['qemu-nbd'] } : { folder }, direct);
  const engine = name === 'raidkit-portable' ? 'portable' : 'uring';
  const spin = name === 'raidkit-nospin' ? { spinMicroseconds: 0 } : {};
  const place = isTcp ? { folder, port: ports.raidkit } : { folder };
  const own = await startOwn(file, place, { name: `${name}-${group}`, engine, direct, ...spin });
  return { ...own, name };
}

for (const { group, servers } of wanted) {
  for (const name of servers) {
    const key = `${group} ${name}`;
    if (!running.has(key)) running.set(key, await start(group, name));
  }
}

const cases = wanted.map(({ id, title, unit, group, servers, measure }): Case<NbdServerUnderTest> => ({
  id,
  title,
  unit,
  contenders: servers.flatMap((name) => running.get(`${group} ${name}`) ?? []),
  measure,
}));
// Warms up compilers and caches.
for (const { contenders } of cases) {
  for (const { uri } of contenders)
    await fioNbd(uri, { rw: 'randread', blockBytes: 4096, depth: 32, seconds: 0.5, sizeBytes: volumeBytes }, 'IOPS');
}
const results = await runRounds(cases, options.rounds);
for (const server of running.values()) await server.end();
report('nbd', 'One volume over NBD', options, results, goals, [
  `The volume is ${volumeBytes / MiB} MiB, hot in the page cache (but for the cases past it). raidkit: a raid0 of one member with a superblock, through the whole daemon; raidkit-nospin: the same with --spin 0; raidkit-portable: the same on Node's thread pool. nbdkit: its file plugin. qemu-nbd: --aio=io_uring. CPU is the server's, user and system, all threads.`,
]);
if (options.resultsName !== null) plot(results, options.resultsName);
