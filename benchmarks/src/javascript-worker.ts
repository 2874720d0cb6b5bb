// One measurement of bench:javascript: javascript-worker.js SUBJECT read|write. Prints the nanoseconds of CPU time per request.
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RingEngine, openLinuxBdev, useEngine } from '@raidkit/backend-linux';
import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { RingNbdServer } from '@raidkit/nbd';
import { BufferMemory } from '@raidkit/parity';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { Reactor } from '@raidkit/reactor';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { Ring, loadSys } from '@raidkit/sys';
import { FakeKernel } from './lib/fake-kernel.js';
import type { Place } from './lib/fake-kernel.js';
import { MiB } from './lib/files.js';
import { median } from './lib/statistics.js';

const depth = 32;
const blockBytes = 4096;
const volumeBlocks = 48 * (MiB / blockBytes);
const memberBytes = 64 * MiB;
const warmUp = 400_000;
const segment = 100_000;
const segments = 8;
const memberCounts: Record<string, number> = { file: 1, raid0: 1, raid1: 2, raid5f: 3, raid6: 4 };

const [subject = '', direction = ''] = process.argv.slice(2);
const numMembers = memberCounts[subject];
if (numMembers === undefined || !['read', 'write'].includes(direction))
  throw new Error(`usage: javascript-worker.js ${Object.keys(memberCounts).join('|')} read|write`);

const sys = loadSys();
if (sys === null) throw new Error('there is no foreign function library here');
const memory = new BufferMemory({ bytes: 256 * MiB });
const base = sys.addressOf(memory.u8);
const wordArrays = new Map<number, Place>();
const addressOf = sys.addressOf.bind(sys);
// The kernel is given addresses of arrays, and must find the arrays again.
sys.addressOf = (view) => {
  const addr = addressOf(view);
  if (view instanceof Uint32Array) wordArrays.set(addr, { bytes: null, words: view, offset: 0 });
  return addr;
};
const buffer: Place = { bytes: memory.u8, words: null, offset: 0 };
function resolve(addr: number): Place {
  if (addr >= base && addr < base + memory.u8.length) {
    buffer.offset = addr - base;
    return buffer;
  }
  const place = wordArrays.get(addr);
  if (place === undefined) throw new Error('an operation names memory that is not known');
  return place;
}

const numEntries = 512;
const numCompletions = 4096;
const ringBuffer = new ArrayBuffer(64 + numCompletions * 16);
const entryBuffer = new ArrayBuffer(numEntries * 64);
const places = { sqTail: 0, cqHead: 1, cqTail: 2, cqes: 16 };
const times: number[] = [];
let nextReplies = warmUp;
let before: NodeJS.CpuUsage | null = null;
const kernel = new FakeKernel(
  {
    ...places,
    ring: new Int32Array(ringBuffer),
    entries: new Int32Array(entryBuffer),
    resolve,
    depth,
    blockBytes,
    numBlocks: volumeBlocks,
    isWrite: direction === 'write',
    exportName: 'v',
    onReplies,
  },
  numEntries,
  numCompletions,
);

function onReplies(total: number): void {
  if (total < nextReplies) return;
  nextReplies = total + segment;
  if (before !== null) {
    const { system, user } = process.cpuUsage(before);
    times.push(((user + system) * 1000) / segment);
  }
  before = process.cpuUsage();
  if (times.length < segments) return;
  process.stdout.write(`${median(times)}\n`, () => process.exit());
}

const Call = { enter: 426, register: 427 };
const Register = { probe: 8, files: 13, buffers: 15 };
type Layout = ConstructorParameters<typeof Ring>[0];
const ffi: Layout['ffi'] = {
  syscall(number, _fd, what, least) {
    if (number === Call.enter) return kernel.enter(least ?? 0);
    if (number !== Call.register) return 0;
    if (what === Register.files) return 0;
    return what === Register.probe || what === Register.buffers ? -22 : 1;
  },
  functionOf: () => null,
  syscallAsync: () => undefined,
  addressOf: (view) => sys.addressOf(view),
  viewOf: (addr) => (addr === 1 ? ringBuffer : entryBuffer),
};
const ring = new Ring({
  ...places,
  ffi,
  numbers: { io_uring_enter: Call.enter, io_uring_register: Call.register, munmap: 11, close: 3 } as Layout['numbers'],
  fd: 99,
  flags: 0,
  releasesFiles: true,
  sqEntries: numEntries,
  cqEntries: numCompletions,
  ringAddr: 1,
  ringBytes: ringBuffer.byteLength,
  sqesAddr: 2,
  sqesBytes: entryBuffer.byteLength,
  sqArray: -1,
});
const reactor = new Reactor(ring, sys, 98, memory, {});
reactor.start();
const registry = new BdevRegistry(reactor.runtime);
useEngine(reactor.runtime, new RingEngine(reactor.runtime, ring));
const modules = new RaidModuleRegistry();
for (const module of [raid0, raid1, raid5f, raid6]) modules.register(module);
const arrays = new RaidArrays({ registry, modules, store: spdkSuperblockStore });
const folder = mkdtempSync(join(tmpdir(), 'raidkit-javascript-'));
process.on('exit', () => rmSync(folder, { recursive: true }));

const baseBdevs: string[] = [];
for (let index = 0; index < numMembers; index++) {
  const name = subject === 'file' ? 'v' : `m${index}`;
  const path = join(folder, name);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, memberBytes);
  closeSync(fd);
  await openLinuxBdev(registry, { name, path, directIo: 'never', pollMs: 0 });
  baseBdevs.push(name);
}
if (subject !== 'file') {
  const stripSizeKb = subject === 'raid1' ? {} : { stripSizeKb: 64 };
  await arrays.create({ name: 'v', level: subject, baseBdevs, superblock: true, ...stripSizeKb });
}
// What was never written would be answered without a member.
const descriptor = registry.open('v', { writable: true });
const client = new BlockClient(descriptor);
const contents = new Uint8Array(MiB).fill(7);
const blocks = MiB / descriptor.bdev.blockSize;
for (let at = 0; at < (volumeBlocks * blockBytes) / descriptor.bdev.blockSize; at += blocks) await client.write(at, contents);
descriptor.close();
while ((arrays.get('v')?.process ?? null) !== null) await sleep(5);
const server = new RingNbdServer({ registry, ring });
server.addExport({ name: 'v', bdev: 'v' });
await server.listen({ unix: join(folder, 'socket') });
kernel.isServing = true;
