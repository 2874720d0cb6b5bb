// npm run attack: what attackers cost a client that minds its own business, with raidkitd, nbdkit and qemu-nbd under the same attack.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { requireCommands, run } from './lib/commands.js';
import { MiB, makeHotFile } from './lib/files.js';
import { cpuSecondsOf, machine } from './lib/machine.js';
import { readOptions } from './lib/options.js';
import { startNbdkit, startQemu } from './lib/peers.js';
import type { NbdServerUnderTest } from './lib/peers.js';
import { addMember, startRaidkit } from './lib/raidkit.js';
import { Command, RawClient, listOptions, noHole, request } from './lib/raw-client.js';

const volumeBytes = 64 * MiB;
const options = readOptions('attack', { rounds: 1, seconds: 8 });
requireCommands('nbdkit', 'qemu-nbd');
const victimProgram = fileURLToPath(new URL('quiet-client.js', import.meta.url));

/** A server, and what the two use of it. */
interface Server {
  name: string;
  pid: number;
  path: string;
  /** Path of its socket for HTTP; null if it has none. */
  httpPath: string | null;
  /** The exports of the victim and of the attackers: the same where a server has one. */
  victimExport: string;
  attackedExport: string;
  end(): Promise<void>;
}

/** Made once, and used by one server after the other. */
const [victimFile = '', attackedFile = ''] = ['victim.img', 'attacked.img'].map((name) =>
  makeHotFile(options.folder, name, volumeBytes + 4 * MiB),
);

/** A socket file that a server leaves must not be mistaken for the next one's. */
const ownFolder = (): string => mkdtempSync(join(options.folder, 'server-'));

const starters: (() => Promise<Server>)[] = [
  async () => {
    const folder = ownFolder();
    const httpPath = join(folder, 'http.sock');
    const own = await startRaidkit({ folder, name: 'own', engine: 'uring', memoryMib: 256, httpPath });
    for (const name of ['victim', 'attacked']) {
      await addMember(own.rpc, `member-of-${name}`, name === 'victim' ? victimFile : attackedFile, false);
      // Without a superblock: the files are used again and again.
      const params = { name, raid_level: 'concat', base_bdevs: [`member-of-${name}`], strip_size_kb: 64, superblock: false };
      await own.rpc.call('bdev_raid_create', params);
    }
    own.rpc.close();
    return {
      name: 'raidkitd',
      pid: own.pid,
      path: own.nbdPath,
      httpPath,
      victimExport: 'victim',
      attackedExport: 'attacked',
      end: () => own.end(),
    };
  },
  async () => {
    const peer = await startNbdkit(attackedFile, { folder: ownFolder() });
    return { ...one(peer), name: 'nbdkit' };
  },
  async () => {
    const peer = await startQemu(attackedFile, { folder: ownFolder() });
    return { ...one(peer), name: 'qemu-nbd' };
  },
];

function one(peer: NbdServerUnderTest): Omit<Server, 'name'> {
  const [pid = 0] = peer.pids;
  return { pid, path: peer.socketPath ?? '', httpPath: null, victimExport: '', attackedExport: '', end: () => peer.end() };
}

/** What attackers do until they are told to stop. */
class Attackers {
  readonly clients: RawClient[] = [];
  sentBytes = 0;
  connections = 0;
  isOver = false;
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  /** So many connections to the attacked export, as far as the server takes them; after a while the attack goes on with those. */
  async choose(count: number): Promise<RawClient[]> {
    const coming = Array.from({ length: count }, async () => {
      const client = await this.connect();
      await client?.choose(this.#server.attackedExport);
      return client;
    });
    const late = new Promise<null>((resolve) => {
      setTimeout(resolve, 2000, null);
    });
    const found = await Promise.all(coming.map((client) => Promise.race([client.catch(() => null), late])));
    return found.filter((client) => client !== null);
  }

  async connect(path = this.#server.path): Promise<RawClient | null> {
    try {
      const client = await RawClient.connect(path);
      this.connections++;
      this.clients.push(client);
      return client;
    } catch {
      return null;
    }
  }

  /** So many at a time send `bytes` to the HTTP server, again and again; one that is sent away comes back. */
  async flood(count: number, bytes: Buffer): Promise<void> {
    const { httpPath } = this.#server;
    if (httpPath === null) return;
    const one = async (): Promise<void> => {
      while (!this.isOver) {
        const client = await this.connect(httpPath);
        if (client !== null) {
          client.isCareless = true;
          // Connections are closed at the end of the attack.
          while (!client.socket.destroyed) {
            if (client.socket.writableLength < MiB) this.send(client, bytes);
            await turn(2);
          }
          this.clients.splice(this.clients.indexOf(client), 1);
        } else await turn(20);
      }
    };
    for (let place = 0; place < count; place++) void one();
    await turn();
  }

  send(client: RawClient, bytes: Buffer): void {
    if (client.socket.destroyed) return;
    this.sentBytes += bytes.length;
    client.socket.write(bytes);
  }

  end(): void {
    this.isOver = true;
    for (const { socket } of this.clients) socket.destroy();
  }
}

function turn(ms = 0): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function repeat(attackers: Attackers, everyMs: number, step: () => void): Promise<void> {
  while (!attackers.isOver) {
    step();
    await turn(everyMs);
  }
}

/** Each resolves when it has begun, and goes on by itself. */
const attacks: Record<string, (attackers: Attackers) => Promise<void>> = {
  'no attack': () => Promise.resolve(),

  '200 payloads of 1 MiB that trickle in, a byte in 100 ms': async (attackers) => {
    const clients = await attackers.choose(200);
    for (const client of clients) attackers.send(client, request(Command.Write, 0, MiB));
    void repeat(attackers, 100, () => {
      for (const client of clients) attackers.send(client, Buffer.alloc(1));
    });
  },

  '60 clients that ask for 16 MiB each and fetch none': async (attackers) => {
    const reads = Buffer.concat(Array.from({ length: 250 }, (_, index) => request(Command.Read, index * 65_536, 65_536)));
    for (const client of await attackers.choose(60)) {
      client.socket.pause();
      attackers.send(client, reads);
    }
  },

  '24 clients with 6,120 writes to parts of a block behind write zeroes, over and over': async (attackers) => {
    const clients = await attackers.choose(24);
    const payload = Buffer.alloc(512);
    const writes = Buffer.concat(
      Array.from({ length: 255 }, (_, index) => [request(Command.Write, (index % 7) * 512 + 100, 512), payload]).flat(),
    );
    for (const client of clients) client.isCareless = true;
    void repeat(attackers, 200, () => {
      const [first] = clients;
      if (first !== undefined) attackers.send(first, request(Command.WriteZeroes, 0, 64 * MiB, noHole));
      for (const client of clients) if (client.socket.writableLength < MiB) attackers.send(client, writes);
    });
  },

  '8 clients that have everything zeroed, 50 times each': async (attackers) => {
    for (const client of await attackers.choose(8)) {
      client.isCareless = true;
      attackers.send(
        client,
        Buffer.concat(Array.from({ length: 50 }, () => request(Command.WriteZeroes, 0, volumeBytes, noHole))),
      );
    }
  },

  '300 clients that say nothing': async (attackers) => {
    await Promise.race([Promise.all(Array.from({ length: 300 }, () => attackers.connect())), turn(2000)]);
  },

  'connections that come and go, 32 at a time': (attackers) => {
    for (let place = 0; place < 32; place++)
      void (async () => {
        while (!attackers.isOver) {
          const client = await attackers.connect();
          client?.socket.destroy();
          attackers.clients.length = 0;
          await turn();
        }
      })();
    return Promise.resolve();
  },

  '8 clients that ask for the list 1,000 times, over and over': (attackers) => {
    const lists = listOptions(1000);
    for (let place = 0; place < 8; place++)
      void (async () => {
        while (!attackers.isOver) {
          const client = await attackers.connect();
          if (client !== null) {
            await client.greet().catch(() => undefined);
            client.isCareless = true;
            attackers.send(client, lists);
            await turn(20);
            client.socket.destroy();
          } else await turn(20);
        }
      })();
    return Promise.resolve();
  },

  'HTTP: 32 clients that send headers without end': (attackers) =>
    attackers.flood(32, Buffer.from(`GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ${'a'.repeat(256 * 1024)}`)),

  'HTTP: 32 clients that send thousands of headers': (attackers) =>
    attackers.flood(32, Buffer.from(`GET /metrics HTTP/1.1\r\nHost: localhost\r\n${'a: b\r\n'.repeat(2000)}\r\n`)),

  'HTTP: 32 clients that ask for the metrics, over and over': (attackers) =>
    attackers.flood(32, Buffer.from('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n')),
};

interface Seen {
  reads: number;
  connectedMs: number | null;
  p50Ms: number | null;
  p99Ms: number | null;
  maxMs: number | null;
  isCut: boolean;
  failure: string | null;
}

interface Row extends Seen {
  attack: string;
  server: string;
  connections: number;
  sentMib: number;
  /** Processor seconds in a second. */
  attackerCores: number;
  serverCores: number;
  /** Programs that wanted a processor in the last minute, ours included. */
  load: number;
}

async function measure(server: Server, attack: string): Promise<Row> {
  const attackers = new Attackers(server);
  await attacks[attack]?.(attackers);
  const begun = performance.now();
  const own = process.cpuUsage();
  const before = cpuSecondsOf(server.pid);
  const args = [victimProgram, server.path, server.victimExport, volumeBytes, options.seconds].map(String);
  const seen = JSON.parse(await run(process.execPath, args)) as Seen;
  const passed = (performance.now() - begun) / 1000;
  const { system, user } = process.cpuUsage(own);
  const serverCores = (cpuSecondsOf(server.pid) - before) / passed;
  attackers.end();
  const { connections, sentBytes } = attackers;
  return {
    attack,
    server: server.name,
    connections,
    sentMib: sentBytes / MiB,
    attackerCores: (system + user) / 1e6 / passed,
    serverCores,
    load: loadavg()[0] ?? 0,
    ...seen,
  };
}

const ms = (value: number | null): string => (value === null ? '–' : value < 10 ? value.toFixed(2) : value.toFixed(0));

function victimText({ connectedMs, failure, isCut, maxMs, p50Ms, p99Ms, reads }: Row): string {
  if (connectedMs === null) return `not let in${failure === null ? ` in ${options.seconds} s` : `: ${failure}`}`;
  const cut = isCut ? ', the last one not answered' : '';
  return `${ms(p50Ms)} / **${ms(p99Ms)}** / ${ms(maxMs)} (${reads} reads${cut}${failure === null ? '' : `; ${failure}`})`;
}

const rows: Row[] = [];
for (const attack of Object.keys(attacks).filter((name) => options.isWanted(name))) {
  for (const start of starters) {
    // The server is new, so that no state of the previous attack is left.
    const server = await start();
    if (attack.startsWith('HTTP') && server.httpPath === null) {
      await server.end();
      continue;
    }
    const row = await measure(server, attack);
    rows.push(row);
    console.log(`${attack}: ${server.name}: ${victimText(row)}`);
    await server.end();
  }
}
const { cores, cpu, kernel, node } = machine();
const text = [
  '# Under attack',
  '',
  `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC; ${cores} cores (${cpu}), Linux ${kernel}, Node ${node}. One run of ${options.seconds} s each; server, attackers and victim on the same machine. The victim reads 4 KiB at a time; with raidkitd it uses another export than the attackers, the others have one.`,
  '',
  '| attack | server | victim: p50 / p99 / longest, ms | attackers: connections, MiB sent, cores | server: cores | load of the machine |',
  '|---|---|---|---|---|---|',
  ...rows.map(
    (row) =>
      `| ${row.attack} | ${row.server} | ${victimText(row)} | ${row.connections}, ${row.sentMib.toFixed(1)}, ${row.attackerCores.toFixed(2)} | ${row.serverCores.toFixed(2)} | ${row.load.toFixed(0)} |`,
  ),
].join('\n');
console.log(text);
if (options.resultsName !== null)
  writeFileSync(fileURLToPath(new URL(`../results/${options.resultsName}.md`, import.meta.url)), `${text}\n`);
process.exit(0);
