// npm run bench:reactors: two volumes that are in use at the same time, on one reactor and on one each.
import { requireCommands } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { fioNbd } from './lib/fio.js';
import { runLight } from './lib/light.js';
import { readOptions } from './lib/options.js';
import { addMember, addVolume, startRaidkit } from './lib/raidkit.js';
import type { Raidkit } from './lib/raidkit.js';
import { report } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Contender, Measured } from './lib/rounds.js';

const volumeBytes = 128 * MiB;
const volumes = ['v0', 'v1'];
const options = readOptions('reactors', { rounds: 8, seconds: 3 });
const { folder, seconds } = options;
requireCommands('fio');

interface Daemon extends Contender {
  raidkit: Raidkit;
}

async function start(reactors: number): Promise<Daemon> {
  const name = `${reactors} reactor${reactors === 1 ? '' : 's'}`;
  const raidkit = await startRaidkit({ folder, name: `raidkit${reactors}`, engine: 'uring', reactors });
  for (const volume of volumes) {
    const member = `${volume}-${reactors}`;
    await addMember(raidkit.rpc, member, makeHotFile(folder, `${member}.img`, volumeBytes + 4 * MiB), false);
    await addVolume(raidkit.rpc, volume, 'concat', [member]);
  }
  return { name, pids: [raidkit.pid], raidkit };
}

/** What clients of each volume reached together. */
async function both(work: (volume: string) => Promise<Measured>): Promise<Measured> {
  const found = await Promise.all(volumes.map(work));
  const most = (of: (one: Measured) => number): number => Math.max(...found.map(of));
  const sum = (of: (one: Measured) => number): number => found.reduce((total, one) => total + of(one), 0);
  return {
    value: sum(({ value }) => value),
    ops: sum(({ ops = 0 }) => ops),
    p50Us: most(({ p50Us = 0 }) => p50Us),
    p99Us: most(({ p99Us = 0 }) => p99Us),
  };
}

const daemons = [await start(1), await start(2)];
const fio = (
  id: string,
  title: string,
  job: { rw: 'randread' | 'randwrite' | 'read'; blockBytes: number; depth: number },
  unit: 'IOPS' | 'MiB/s',
): Case<Daemon> => ({
  id,
  title,
  unit,
  contenders: daemons,
  measure: ({ raidkit }) => both((volume) => fioNbd(raidkit.uri(volume), { ...job, seconds, sizeBytes: volumeBytes }, unit)),
});
const cases: Case<Daemon>[] = [
  fio('fio-4k', 'fio 4k random read, QD32 on each of two volumes', { rw: 'randread', blockBytes: 4096, depth: 32 }, 'IOPS'),
  fio(
    'fio-4k-write',
    'fio 4k random write, QD32 on each of two volumes',
    { rw: 'randwrite', blockBytes: 4096, depth: 32 },
    'IOPS',
  ),
  fio('fio-1m', 'fio 1M sequential read, QD4 on each of two volumes', { rw: 'read', blockBytes: MiB, depth: 4 }, 'MiB/s'),
  {
    id: 'light-4k',
    title: 'light client 4k random read, QD32 on each of two volumes',
    unit: 'IOPS',
    contenders: daemons,
    measure: ({ raidkit }) =>
      runLight({
        socketPath: raidkit.nbdPath,
        exportName: volumes.join(','),
        direction: 'read',
        blockBytes: 4096,
        depth: 32,
        seconds,
        connections: 2,
      }),
  },
];
const results = await runRounds(
  cases.filter(({ id }) => options.isWanted(id)),
  options.rounds,
);
for (const { raidkit } of daemons) {
  raidkit.rpc.close();
  await raidkit.end();
}
report(
  'reactors',
  'Two volumes on one reactor and on two',
  options,
  results,
  [],
  [
    'Each of the two daemons serves two volumes of one member, over files in the page cache; both volumes are in use at the same time.',
  ],
);
