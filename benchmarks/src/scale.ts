// npm run bench:scale: many volumes, many connections; memory for each; how long a start with many arrays takes; what idling costs.
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { requireCommands } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { runLight } from './lib/light.js';
import { cpuNanosecondsOf, residentBytesOf } from './lib/machine.js';
import { readOptions } from './lib/options.js';
import { startNbdkit } from './lib/peers.js';
import { addMember, addVolume, startRaidkit } from './lib/raidkit.js';
import type { Raidkit } from './lib/raidkit.js';
import { report } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Contender } from './lib/rounds.js';

const options = readOptions('scale', { rounds: 5, seconds: 2 });
const { folder, seconds } = options;
requireCommands('fio', 'nbdkit');
const memberBytes = 36 * MiB;
const notes: string[] = [];

async function volumes(raidkit: Raidkit, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i++) {
    await addMember(raidkit.rpc, `m${i}`, makeHotFile(folder, `m${i}.img`, memberBytes), false);
    await addVolume(raidkit.rpc, `v${i}`, 'concat', [`m${i}`]);
  }
}

/** Sockets that have chosen an export and say nothing more. */
async function idleClients(raidkit: Raidkit, count: number): Promise<Socket[]> {
  const go = Buffer.concat([
    Buffer.from([0, 0, 0, 3]),
    Buffer.from('IHAVEOPT'),
    Buffer.from([0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 2]),
    Buffer.from('v0'),
    Buffer.from([0, 0]),
  ]);
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i++) {
    const socket = connect(raidkit.nbdPath);
    await new Promise((resolve) => socket.once('data', resolve));
    socket.write(go);
    await new Promise((resolve) => socket.once('data', resolve));
    sockets.push(socket);
  }
  return sockets;
}

/** Percent of one core over ten seconds, when V8 and the bitmaps are at rest. */
async function idleCpuPercent(pid: number): Promise<string> {
  await sleep(35_000);
  const before = cpuNanosecondsOf(pid);
  await sleep(10_000);
  return `${(((cpuNanosecondsOf(pid) - before) / 1e10) * 100).toFixed(3)} %`;
}

const raidkit = await startRaidkit({ folder, name: 'raidkit', engine: 'uring' });
const { pid } = raidkit;
const mebibytes = (): number => residentBytesOf(pid) / MiB;
const empty = mebibytes();
await volumes(raidkit, 0, 10);
const withTen = mebibytes();
notes.push(
  `Resident memory of an idle daemon: ${empty.toFixed(0)} MiB without volumes, ${withTen.toFixed(0)} MiB with 10 (goal: less than 150 MB = ${(150e6 / MiB).toFixed(0)} MiB).`,
);
const tenClients = await idleClients(raidkit, 10);
notes.push(
  `CPU of an idle daemon with 10 volumes and 10 connected clients: ${await idleCpuPercent(pid)} of a core over 10 s (goal: less than 0.1 %).`,
);
for (const socket of tenClients) socket.destroy();
await volumes(raidkit, 10, 64);
notes.push(`With 64: ${mebibytes().toFixed(0)} MiB, so ${((mebibytes() - withTen) / 54).toFixed(2)} MiB a volume.`);
const beforeClients = mebibytes();
const clients = await idleClients(raidkit, 200);
await sleep(200);
notes.push(`200 idle connections: ${(((mebibytes() - beforeClients) * 1024) / 200).toFixed(1)} KiB each.`);
notes.push(`CPU with 64 volumes and 200 idle connections: ${await idleCpuPercent(pid)}.`);
for (const socket of clients) socket.destroy();
await sleep(200);

interface Shape extends Contender {
  socketPath: string;
  volumes: number;
  connections: number;
}

const shape = (name: string, volumeCount: number, connections: number): Shape => ({
  name,
  pids: [pid],
  socketPath: raidkit.nbdPath,
  volumes: volumeCount,
  connections,
});
// It serves one file, and has no name for it.
const nbdkit = await startNbdkit(makeHotFile(folder, 'nbdkit.img', memberBytes), { folder });
const cases: Case<Shape>[] = [
  {
    id: 'volumes',
    title: '4k random read, 64 in flight, divided among the connections',
    unit: 'IOPS',
    contenders: [
      shape('1 volume', 1, 1),
      shape('16 volumes, a connection each', 16, 16),
      shape('64 volumes, a connection each', 64, 64),
      shape('1 volume, 64 connections', 1, 64),
      { ...shape('nbdkit, 64 connections', 0, 64), pids: nbdkit.pids, socketPath: nbdkit.socketPath ?? '' },
    ],
    measure: ({ socketPath, volumes: count, connections }) =>
      runLight({
        socketPath,
        exportName: Array.from({ length: count }, (_, i) => `v${i}`).join(','),
        direction: 'read',
        blockBytes: 4096,
        depth: 64 / connections,
        seconds,
        connections,
      }),
  },
  {
    id: 'connections',
    title: '4k random read of one volume, 256 in flight',
    unit: 'IOPS',
    contenders: [1, 8, 64, 250].map((count) => shape(`${count} connections`, 1, count)),
    measure: ({ connections }) =>
      runLight({
        socketPath: raidkit.nbdPath,
        exportName: 'v0',
        direction: 'read',
        blockBytes: 4096,
        depth: Math.max(1, Math.floor(256 / connections)),
        seconds,
        connections,
      }),
  },
];
const results = await runRounds(
  cases.filter(({ id }) => options.isWanted(id)),
  options.rounds,
);
raidkit.rpc.close();
await raidkit.end();
await nbdkit.end();

if (options.isWanted('start')) {
  // A hundred mirrors over sparse files, brought back from their superblocks.
  const arrays = join(folder, 'arrays');
  mkdirSync(arrays);
  const first = await startRaidkit({ folder: arrays, name: 'first', engine: 'uring' });
  const config: { method: string; params: object }[] = [];
  for (let i = 0; i < 100; i++) {
    for (const side of ['a', 'b']) {
      const path = join(arrays, `${side}${i}.img`);
      writeFileSync(path, '');
      truncateSync(path, 32 * MiB);
      const params = { name: `${side}${i}`, filename: path };
      config.push({ method: 'bdev_aio_create', params });
      await first.rpc.call('bdev_aio_create', params);
    }
    await addVolume(first.rpc, `mirror${i}`, 'raid1', [`a${i}`, `b${i}`]);
  }
  first.rpc.close();
  await first.end();
  const configPath = join(arrays, 'config.json');
  writeFileSync(configPath, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }));
  const startedAt = performance.now();
  const second = await startRaidkit({ folder: arrays, name: 'second', engine: 'uring', configPath });
  const online = (await second.rpc.call('bdev_raid_get_bdevs', { category: 'online' })) as object[];
  notes.push(
    `Start with 100 raid1 arrays over 200 files: ${((performance.now() - startedAt) / 1000).toFixed(2)} s until ${online.length} are online; ${(residentBytesOf(second.pid) / MiB).toFixed(0)} MiB resident.`,
  );
  second.rpc.close();
  await second.end();
}
report('scale', 'Many volumes, many connections', options, results, [], notes);
