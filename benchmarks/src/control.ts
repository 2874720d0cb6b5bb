// npm run bench:control: how long RPC takes while clients keep the data path as busy as it can be.
import { requireCommands } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { fioNbd } from './lib/fio.js';
import { runLight } from './lib/light.js';
import { readOptions } from './lib/options.js';
import { addMember, addVolume, startRaidkit } from './lib/raidkit.js';
import { report } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Contender, Measured } from './lib/rounds.js';
import { Rpc } from './lib/rpc.js';
import { quantile } from './lib/statistics.js';

const volumeBytes = 256 * MiB;
const options = readOptions('control', { rounds: 5, seconds: 3 });
requireCommands('fio');
const raidkit = await startRaidkit({ folder: options.folder, name: 'raidkit', engine: 'uring' });
await addMember(raidkit.rpc, 'member', makeHotFile(options.folder, 'member.img', volumeBytes + 4 * MiB), false);
await addVolume(raidkit.rpc, 'volume', 'concat', ['member']);
// Connections of their own, as clients have them.
const rpc = await Rpc.connect(`${options.folder}/raidkit.rpc`);

interface Load extends Contender {
  run: (seconds: number) => Promise<unknown>;
}

const uri = raidkit.uri('volume');
const loads: Load[] = [
  { name: 'idle', pids: [raidkit.pid], run: () => Promise.resolve() },
  {
    name: 'fio 4k QD32',
    pids: [raidkit.pid],
    run: (seconds) => fioNbd(uri, { rw: 'randread', blockBytes: 4096, depth: 32, seconds, sizeBytes: volumeBytes }, 'IOPS'),
  },
  {
    name: 'light client 4k, 4 connections of QD64',
    pids: [raidkit.pid],
    run: (seconds) =>
      runLight({
        socketPath: raidkit.nbdPath,
        exportName: 'volume',
        direction: 'read',
        blockBytes: 4096,
        depth: 64,
        seconds,
        connections: 4,
      }),
  },
  {
    name: 'fio 1M QD16 write',
    pids: [raidkit.pid],
    run: (seconds) => fioNbd(uri, { rw: 'write', blockBytes: MiB, depth: 16, seconds, sizeBytes: volumeBytes }, 'MiB/s'),
  },
];

/** One call after the other for as long as the load lasts; less than half a second at its ends is left out. */
async function latencies(method: string, load: Load): Promise<Measured> {
  // One second of the load is left out at its ends.
  const seconds = Math.max(options.seconds, 2);
  const work = load.run(seconds);
  const found: number[] = [];
  const startedAt = performance.now();
  const since = (): number => (performance.now() - startedAt) / 1000;
  while (since() < seconds - 0.3) {
    const before = performance.now();
    await rpc.call(method);
    const taken = (performance.now() - before) * 1000;
    if (since() > 0.7) found.push(taken);
  }
  await work;
  return { value: found.length / (seconds - 1), p50Us: quantile(found, 0.5), p99Us: quantile(found, 0.99) };
}

const cases = ['spdk_get_version', 'bdev_get_bdevs', 'raidkit_get_arrays'].map((method): Case<Load> => ({
  id: method,
  title: `${method}, one call after the other`,
  unit: 'calls/s',
  contenders: loads,
  measure: (load) => latencies(method, load),
}));
const results = await runRounds(
  cases.filter(({ id }) => options.isWanted(id)),
  options.rounds,
);
rpc.close();
raidkit.rpc.close();
await raidkit.end();
report(
  'control',
  'RPC while the data path is busy',
  options,
  results,
  [],
  ['The goal: p99 of at most 20 ms (20,000 µs) under every load.'],
);
