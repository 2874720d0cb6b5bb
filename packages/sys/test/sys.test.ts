import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FallocateMode, FlockOperation, OfdLockType, loadSys, whyNoSys } from '@raidkit/sys';
import type { Sys } from '@raidkit/sys';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

const EBADF = 9;
const EAGAIN = 11;
const ENOTTY = 25;
const EOPNOTSUPP = 95;

let folder: string;
let sys: Sys;
const fds: number[] = [];

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'raidkit-sys-'));
  const loaded = loadSys();
  if (loaded === null) throw new Error(whyNoSys());
  sys = loaded;
});

afterAll(() => {
  for (const fd of fds) fs.closeSync(fd);
  fs.rmSync(folder, { recursive: true });
});

function file(name: string, bytes = 0): number {
  const fd = fs.openSync(join(folder, name), fs.constants.O_RDWR | fs.constants.O_CREAT);
  fs.ftruncateSync(fd, bytes);
  fds.push(fd);
  return fd;
}

describe('sys', () => {
  it('is loaded once', () => {
    expect(loadSys()).toBe(sys);
    expect(whyNoSys()).toBe('');
  });

  it('answers with a negative errno', async () => {
    expect(sys.fallocate(-1, 0, 0, 10)).toBe(-EBADF);
    expect(sys.flock(-1, FlockOperation.SHARED)).toBe(-EBADF);
    expect(sys.blockDeviceSize(file('plain'))).toBe(-ENOTTY);
    expect(sys.logicalBlockSize(-1)).toBe(-EBADF);
    const later = await new Promise((resolve) => sys.fallocateAsync(-1, 0, 0, 10, resolve));
    expect(later).toBe(-EBADF);
    expect(await new Promise((resolve) => sys.discardAsync(file('plain'), 0, 4096, resolve))).toBe(-ENOTTY);
    expect(await new Promise((resolve) => sys.zeroOutAsync(-1, 0, 4096, resolve))).toBe(-EBADF);
  });

  it('tells the size of a file', () => {
    const fd = file('sized', 12_345);
    expect(sys.seekEnd(fd)).toBe(12_345);
    fs.ftruncateSync(fd, 2 ** 33);
    expect(sys.seekEnd(fd)).toBe(2 ** 33);
    expect(sys.seekEnd(-1)).toBe(-EBADF);
  });

  it('gives the address of memory, the same for all views of it', () => {
    const buffer = new ArrayBuffer(8192);
    const addr = sys.addressOf(buffer);
    expect(addr).toBeGreaterThan(0);
    expect(sys.addressOf(new Uint8Array(buffer, 4097))).toBe(addr + 4097);
    expect(sys.addressOf(new DataView(buffer, 5))).toBe(addr + 5);
  });

  it('punches holes and zeroes ranges, here and on another thread', async () => {
    const fd = file('holes');
    const data = Buffer.alloc(1 << 20, 0xaa);
    const { PUNCH_HOLE, KEEP_SIZE, ZERO_RANGE } = FallocateMode;
    fs.writeSync(fd, data);
    fs.fsyncSync(fd);
    const before = fs.fstatSync(fd).blocks;
    expect(sys.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, 256 << 10)).toBe(0);
    expect(await new Promise((done) => sys.fallocateAsync(fd, PUNCH_HOLE | KEEP_SIZE, 512 << 10, 256 << 10, done))).toBe(0);
    expect(before - fs.fstatSync(fd).blocks).toBe(1024);
    data.fill(0, 0, 256 << 10);
    data.fill(0, 512 << 10, 768 << 10);
    const zeroed = sys.fallocate(fd, ZERO_RANGE | KEEP_SIZE, (1 << 20) - 4096, 4096);
    if (zeroed === 0) data.fill(0, (1 << 20) - 4096);
    else expect(zeroed).toBe(-EOPNOTSUPP);
    expect(Buffer.compare(fs.readFileSync(join(folder, 'holes')), data)).toBe(0);
    expect(fs.fstatSync(fd).size).toBe(1 << 20);
    expect(sys.fallocate(fd, 0, 2 ** 32 * 3, 4096)).toBe(0);
    expect(fs.fstatSync(fd).size).toBe(2 ** 32 * 3 + 4096);
  });

  it('locks whole files against other opens of them', () => {
    const first = file('locked');
    const second = file('locked');
    const { EXCLUSIVE, SHARED, NON_BLOCKING, UNLOCK } = FlockOperation;
    expect(sys.flock(first, EXCLUSIVE | NON_BLOCKING)).toBe(0);
    expect(sys.flock(second, EXCLUSIVE | NON_BLOCKING)).toBe(-EAGAIN);
    expect(sys.flock(second, SHARED | NON_BLOCKING)).toBe(-EAGAIN);
    expect(sys.flock(first, UNLOCK)).toBe(0);
    expect(sys.flock(second, SHARED | NON_BLOCKING)).toBe(0);
    expect(sys.flock(first, SHARED | NON_BLOCKING)).toBe(0);
    expect(sys.flock(first, EXCLUSIVE | NON_BLOCKING)).toBe(-EAGAIN);
  });

  it('locks ranges of files', () => {
    const first = file('ranges');
    const second = file('ranges');
    expect(sys.ofdLock(first, OfdLockType.WRITE, 100, 50)).toBe(0);
    expect(sys.ofdLock(second, OfdLockType.READ, 0, 101)).toBe(-EAGAIN);
    expect(sys.ofdLock(second, OfdLockType.READ, 0, 100)).toBe(0);
    expect(sys.ofdLock(second, OfdLockType.WRITE, 150)).toBe(0);
    expect(sys.ofdLock(first, OfdLockType.UNLOCK)).toBe(0);
    expect(sys.ofdLock(second, OfdLockType.WRITE)).toBe(0);
    expect(sys.ofdLock(first, OfdLockType.READ, 2 ** 40, 1)).toBe(-EAGAIN);
  });
});

const canLoop = process.getuid?.() === 0 && fs.existsSync('/dev/loop-control');
if (!canLoop && process.env.CI !== undefined) throw new Error('this machine has no loop devices');

describe.runIf(canLoop)('a block device', () => {
  let device: string;
  let fd: number;
  const losetup = (...args: string[]) => execFileSync('losetup', args, { encoding: 'utf8' }).trim();

  beforeAll(() => {
    fs.writeFileSync(join(folder, 'disk'), Buffer.alloc(1 << 20, 0xaa));
    device = losetup('--find', '--show', '--sector-size', '4096', join(folder, 'disk'));
    fd = fs.openSync(device, 'r+');
  });

  afterAll(() => {
    fs.closeSync(fd);
    losetup('--detach', device);
  });

  it('tells its size and limits', () => {
    expect(sys.blockDeviceSize(fd)).toBe(1 << 20);
    expect(sys.logicalBlockSize(fd)).toBe(4096);
    expect(sys.physicalBlockSize(fd)).toBe(4096);
    expect(sys.isBlockDeviceReadOnly(fd)).toBe(0);
    execFileSync('blockdev', ['--setro', device]);
    expect(sys.isBlockDeviceReadOnly(fd)).toBe(1);
    execFileSync('blockdev', ['--setrw', device]);
  });

  it('discards and zeroes ranges', async () => {
    const data = Buffer.alloc(1 << 20, 0xaa);
    expect(await new Promise((done) => sys.zeroOutAsync(fd, 8192, 65_536, done))).toBe(0);
    data.fill(0, 8192, 8192 + 65_536);
    expect(await new Promise((done) => sys.discardAsync(fd, 1 << 19, 1 << 19, done))).toBe(0);
    const read = Buffer.alloc(1 << 20);
    fs.readSync(fd, read, 0, read.length, 0);
    expect(Buffer.compare(read.subarray(0, 1 << 19), data.subarray(0, 1 << 19))).toBe(0);
    expect(await new Promise((done) => sys.zeroOutAsync(fd, 1, 4096, done))).toBe(-22);
    expect(await new Promise((done) => sys.discardAsync(fd, 1 << 20, 4096, done))).toBe(-22);
  });
});

describe('without the FFI library', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.resetModules();
  });

  it('there are no system calls, and a reason', async () => {
    vi.resetModules();
    vi.stubEnv('RAIDKIT_NO_FFI', '1');
    const fresh = await import('@raidkit/sys');
    expect(fresh.loadSys()).toBeNull();
    expect(fresh.whyNoSys()).toContain('RAIDKIT_NO_FFI');
  });

  it('says which library it misses', async () => {
    vi.resetModules();
    vi.doMock('node:module', () => ({
      createRequire: () => (name: string) => {
        throw new Error(`Cannot find module '${name}'\nRequire stack: …`);
      },
    }));
    const fresh = await import('@raidkit/sys');
    expect(fresh.loadSys()).toBeNull();
    expect(fresh.whyNoSys()).toBe("koffi cannot be loaded: Cannot find module 'koffi'");
    vi.doUnmock('node:module');
  });
});
