// npm run bench:fairness: how long a quiet client of one volume waits while others are greedy, stalled or slow.
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { requireCommands, run } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { readOptions } from './lib/options.js';
import { startNbdkit, startOwn, startQemu } from './lib/peers.js';
import type { NbdServerUnderTest } from './lib/peers.js';
import { Command, RawClient, request } from './lib/raw-client.js';
import { report } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Contender, Measured } from './lib/rounds.js';

const volumeBytes = 128 * MiB;
/** Room for a superblock and what belongs to it. */
const memberBytes = volumeBytes + 64 * MiB;
/** Number of interfering clients; qemu-nbd is configured to accept as many, and the quiet one. */
const numOthers = 8;
const pieceBytes = 64 * 1024;
const settleMs = 200;

const options = readOptions('fairness', { rounds: 8, seconds: 3 });
const { folder, seconds } = options;
requireCommands('nbdkit', 'qemu-nbd');
const [quietProgram, lightProgram] = ['quiet-client.js', 'light-client.js'].map((name) =>
  fileURLToPath(new URL(name, import.meta.url)),
);
if (quietProgram === undefined || lightProgram === undefined) throw new Error('two names give two paths');

const file = (name: string): string => makeHotFile(folder, `${name}.img`, memberBytes);
/** One of the servers; started anew for each measurement, so that nothing of what was in the way before is left in it. */
interface Subject extends Contender {
  start(folder: string): Promise<NbdServerUnderTest>;
}

const peersFile = file('peers');
const subjects: Subject[] = [
  { name: 'nbdkit', pids: [], start: (place) => startNbdkit(peersFile, { folder: place }) },
  { name: 'qemu-nbd', pids: [], start: (place) => startQemu(peersFile, { folder: place }) },
  {
    name: 'raidkit',
    pids: [],
    // A new array each time.
    start: (place) => startOwn(file('own'), { folder: place }, { name: 'raidkit', engine: 'uring' }),
  },
];

const exportOf = ({ name }: NbdServerUnderTest): string => (name === 'raidkit' ? 'volume' : '');

/** The interfering clients; each returns a function that ends them. */
type Others = (server: NbdServerUnderTest) => Promise<() => void>;

/** Another program, so that what it costs is not this one's: as many requests as they may have in flight, for ever. */
const greedy =
  (direction: 'read' | 'write', blockBytes: number): Others =>
  (server) => {
    const job = [server.socketPath ?? '', exportOf(server), direction, blockBytes, 64, seconds * 10, numOthers].map(String);
    const child = spawn(process.execPath, [lightProgram, ...job], { stdio: 'ignore' });
    return Promise.resolve(() => void child.kill('SIGKILL'));
  };

async function connectAll(server: NbdServerUnderTest): Promise<RawClient[]> {
  return Promise.all(
    Array.from({ length: numOthers }, async () => {
      const client = await RawClient.connect(server.socketPath ?? '');
      await client.choose(exportOf(server));
      return client;
    }),
  );
}

const reads = Buffer.concat(Array.from({ length: 256 }, (_, index) => request(Command.Read, index * pieceBytes, pieceBytes)));

/** These clients request 16 MiB each, and read none of it. */
const stalled: Others = async (server) => {
  const clients = await connectAll(server);
  for (const { socket } of clients) {
    socket.pause();
    socket.write(reads);
  }
  return () => {
    for (const { socket } of clients) socket.destroy();
  };
};

/** These clients request 16 MiB each, and read what has arrived every 50 ms. */
const slow: Others = async (server) => {
  const clients = await connectAll(server);
  for (const client of clients) {
    client.isCareless = true;
    client.socket.write(reads);
  }
  const timer = setInterval(() => {
    for (const { socket } of clients) {
      socket.resume();
      // What is there is read in this turn of the event loop, and the rest is left.
      setImmediate(() => socket.pause());
      if (socket.writableLength === 0) socket.write(reads.subarray(0, 28 * 4));
    }
  }, 50);
  return () => {
    clearInterval(timer);
    for (const { socket } of clients) socket.destroy();
  };
};

interface Seen {
  reads: number;
  p50Ms: number | null;
  p99Ms: number | null;
  failure: string | null;
}

/** A quiet client's p99 beside others, in microseconds. */
async function measure(subject: Subject, others: Others | null): Promise<Measured> {
  const server = await subject.start(mkdtempSync(join(folder, 'server-')));
  const end = await others?.(server);
  try {
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    const args = [quietProgram, server.socketPath ?? '', exportOf(server), volumeBytes, seconds].map(String);
    const { failure, p50Ms, p99Ms } = JSON.parse(await run(process.execPath, args)) as Seen;
    if (failure !== null || p50Ms === null || p99Ms === null)
      throw new Error(`${server.name}: the quiet client was not served: ${failure ?? 'no read was answered'}`);
    return { value: p99Ms * 1000, p50Us: p50Ms * 1000, p99Us: p99Ms * 1000 };
  } finally {
    end?.();
    await server.end();
  }
}

const one = (id: string, title: string, others: Others | null): Case<Subject> => ({
  id,
  title,
  unit: 'µs, p99 of the quiet client (less is better)',
  contenders: subjects,
  measure: (subject) => measure(subject, others),
});
const cases = [
  one('alone', 'No other client', null),
  one('greedy-reads', `${numOthers} connections that read 128 KiB at a time, 64 requests each`, greedy('read', 128 * 1024)),
  one('greedy-small-reads', `${numOthers} connections that read 4 KiB at a time, 64 requests each`, greedy('read', 4096)),
  one('greedy-writes', `${numOthers} connections that write 128 KiB at a time, 64 requests each`, greedy('write', 128 * 1024)),
  one('stalled', `${numOthers} connections that ask for 16 MiB and fetch none of it`, stalled),
  one('slow', `${numOthers} connections that fetch what they asked for every 50 ms`, slow),
];
const results = await runRounds(
  cases.filter(({ id }) => options.isWanted(id)),
  options.rounds,
);
report(
  'fairness',
  'A quiet client beside others',
  options,
  results,
  [],
  [
    'The quiet client reads 4 KiB at a time, a millisecond after it had the one before; all clients use one volume, over a file in the page cache, on a Unix socket. The others are programs of the same machine: with two cores, part of what the quiet client waits is theirs with any server.',
  ],
);
