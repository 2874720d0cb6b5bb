// npm run bench:tls: one volume over NBD in the clear and over TLS 1.3, raidkit against nbdkit's file plugin and qemu-nbd.
import { mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { requireCommands, run } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { fioNbd } from './lib/fio.js';
import { copyRepeatedly } from './lib/nbdcopy.js';
import { readOptions } from './lib/options.js';
import { startNbdkit, startOwn, startQemu } from './lib/peers.js';
import type { NbdServerUnderTest, Place } from './lib/peers.js';
import { report } from './lib/report.js';
import type { Goal } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case } from './lib/rounds.js';

const volumeBytes = 256 * MiB;
/** Room for a superblock and what belongs to it. */
const memberBytes = volumeBytes + 64 * MiB;
const firstPort = 10_910;

const options = readOptions('tls', { rounds: 8, seconds: 2 });
const { folder, seconds } = options;
requireCommands('fio', 'nbdkit', 'qemu-nbd', 'nbdcopy', 'openssl');

const source = makeHotFile(folder, 'source.img', volumeBytes);
const certificates = await makeCertificates();
// Where libnbd looks for them unless the URI says otherwise.
process.env.HOME = folder;

/** A server's certificate, which clients believe, and have one of the same authority. */
async function makeCertificates(): Promise<string> {
  const own = join(folder, '.pki', 'libnbd');
  mkdirSync(own, { recursive: true });
  const path = (name: string): string => join(own, name);
  const make = (name: string, ...more: string[]): Promise<string> =>
    run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'],
      ...['-keyout', path(`${name}-key.pem`), '-out', path(`${name}-cert.pem`), '-subj', `/CN=${name}`, ...more],
    ]);
  await make('ca');
  const signed = ['-CA', path('ca-cert.pem'), '-CAkey', path('ca-key.pem'), '-addext', 'basicConstraints=critical,CA:FALSE'];
  await make('server', ...signed, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1');
  await make('client', ...signed);
  return own;
}

let nextPort = firstPort;

/** All four, each over a file of its own, on ports of the loopback. */
async function startAll(isSecret: boolean): Promise<NbdServerUnderTest[]> {
  const name = isSecret ? 'tls' : 'clear';
  const place = (): Place => ({
    folder: mkdtempSync(join(folder, 'server-')),
    port: nextPort++,
    ...(isSecret ? { certificates } : {}),
  });
  const file = (of: string): string => makeHotFile(folder, `${of}-${name}.img`, memberBytes);
  return [
    await startNbdkit(file('nbdkit'), place()),
    await startQemu(file('qemu'), place()),
    await startOwn(file('uring'), place(), { name: 'raidkit', engine: 'uring' }),
    await startOwn(file('portable'), place(), { name: 'raidkit, portable', engine: 'portable' }),
  ];
}

const job = { bytes: volumeBytes, seconds };
const kinds = [
  { id: 'clear', words: 'in the clear', contenders: await startAll(false) },
  { id: 'tls', words: 'over TLS', contenders: await startAll(true) },
];
const cases: Case<NbdServerUnderTest>[] = kinds.flatMap(({ contenders, id, words }) => [
  {
    id: `read-${id}`,
    title: `nbdcopy from the server, ${words}`,
    unit: 'MiB/s',
    contenders,
    measure: ({ uri }) => copyRepeatedly(uri, 'null:', job),
  },
  {
    id: `write-${id}`,
    title: `nbdcopy to the server, ${words}`,
    unit: 'MiB/s',
    contenders,
    measure: ({ uri }) => copyRepeatedly(source, uri, job),
  },
  {
    id: `read-4k-${id}`,
    title: `fio 4k random read, QD32, ${words}`,
    unit: 'IOPS',
    contenders,
    measure: ({ uri }) => fioNbd(uri, { rw: 'randread', blockBytes: 4096, depth: 32, seconds, sizeBytes: volumeBytes }, 'IOPS'),
  },
]);
const results = await runRounds(
  cases.filter(({ id }) => options.isWanted(id)),
  options.rounds,
);
for (const { contenders } of kinds) for (const server of contenders) await server.end();
const goals = ['read', 'write'].flatMap((direction) =>
  ['nbdkit', 'qemu-nbd'].map((against): Goal => ({
    caseId: `${direction}-tls`,
    metric: 'value',
    contender: 'raidkit',
    against,
    bound: 'at least',
    limit: 0.83,
  })),
);
report('tls', 'One volume over NBD, in the clear and over TLS', options, results, goals, [
  'TCP over the loopback, one connection; files in the page cache; keys of the curve P-256.',
]);
