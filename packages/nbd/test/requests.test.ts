import { IoFlag, IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { afterEach, describe, expect, it } from 'vitest';
import { cmd, flag, requestBytes } from './client.js';
import type { Style, TestClient } from './client.js';
import { MiB, assertNoLeak, expectBytes, newRig, pattern, seeded, until } from './kit.js';
import type { Rig, RigOptions } from './kit.js';
import { connectWire } from './wire.js';
import type { Wire } from './wire.js';

const rigs: Rig[] = [];
const styles: Style[] = ['simple', 'structured', 'extended'];
const errno = { perm: 1, io: 5, inval: 22, noSpace: 28, overflow: 75, notSup: 95, shutdown: 108 };

function rigWith(options?: RigOptions): Rig {
  const rig = newRig(options);
  rigs.push(rig);
  return rig;
}

async function open(rig: Rig, style: Style = 'structured', name = 'disk'): Promise<Wire & { client: TestClient }> {
  const wire = connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
  await wire.client.open(name, style);
  return wire;
}

function failing(type: IoType, firstBlock: number, status: Status): (io: BdevIo) => Status {
  return (io) => {
    const hits = io.type === type && io.offsetBlocks <= firstBlock && firstBlock < io.offsetBlocks + io.numBlocks;
    return hits ? status : Status.Ok;
  };
}

afterEach(async () => {
  for (const rig of rigs.splice(0)) {
    await rig.server.close();
    assertNoLeak(rig);
  }
});

describe.each(styles)('%s replies', (style) => {
  it('carry out every command', async () => {
    const rig = rigWith();
    const { client } = await open(rig, style);
    const data = pattern(10_000, 1);
    expect((await client.pwrite(4096, data)).errno).toBe(0);
    expectBytes((await client.pread(4096, 10_000)).data, data);
    expectBytes(rig.driver.bytes.subarray(4096, 14_096), data);
    expect((await client.request(cmd.writeZeroes, 4096, 1024)).errno).toBe(0);
    expectBytes((await client.pread(4096, 2048)).data, Buffer.concat([Buffer.alloc(1024), data.subarray(1024, 2048)]));
    expect((await client.request(cmd.trim, 8192, 512)).errno).toBe(0);
    expect((await client.request(cmd.cache, 0, 4096)).errno).toBe(0);
    expect((await client.request(cmd.flush, 0, 0)).errno).toBe(0);
    expect(rig.driver.calls.at(-1)!.type).toBe(IoType.Flush);
    if (style !== 'simple')
      expect((await client.request(cmd.blockStatus, 100, 5000)).extents).toEqual([{ lengthBytes: 5000, flags: 0 }]);
  });

  it('name what is wrong with a request, and go on', async () => {
    const rig = rigWith();
    const { client } = await open(rig, style);
    const size = client.sizeBytes;
    const answer = async (command: number, offset: number, length: number, flags = 0): Promise<number> => {
      const payload = command === cmd.write ? pattern(length, 1) : undefined;
      return (await client.request(command, offset, length, flags, payload)).errno;
    };
    // The ranges are invalid: the last block and one byte more, a range far out, and one that overflows 64 bits.
    for (const offset of [size - 511, size, size + 4096, 2 ** 53, 2 ** 62]) {
      expect(await answer(cmd.read, offset, 512)).toBe(errno.inval);
      expect(await answer(cmd.write, offset, 512)).toBe(errno.noSpace);
      expect(await answer(cmd.writeZeroes, offset, 512)).toBe(errno.noSpace);
      expect(await answer(cmd.trim, offset, 512)).toBe(errno.inval);
      expect(await answer(cmd.cache, offset, 512)).toBe(errno.inval);
      if (style !== 'simple') expect(await answer(cmd.blockStatus, offset, 512)).toBe(errno.inval);
    }
    for (const command of [cmd.read, cmd.write, cmd.writeZeroes, cmd.trim, cmd.cache])
      expect(await answer(command, 0, 0)).toBe(errno.inval);
    expect(await answer(cmd.flush, 0, 512)).toBe(errno.inval);
    expect(await answer(cmd.flush, 512, 0)).toBe(errno.inval);
    for (const command of [8, 9, 100, 0xffff]) expect(await answer(command, 0, 512)).toBe(errno.inval);
    const ofRead = style === 'simple' ? flag.df : 0;
    for (const [command, flags] of [
      [cmd.read, flag.noHole],
      [cmd.read, 0x8000],
      [cmd.read, ofRead],
      [cmd.write, flag.df],
      [cmd.write, flag.noHole],
      [cmd.trim, flag.noHole],
      [cmd.cache, flag.df],
      [cmd.flush, flag.fastZero],
      [cmd.writeZeroes, flag.reqOne],
      [cmd.writeZeroes, 0x40],
    ] as const) {
      if (flags !== 0) expect(await answer(command, 0, command === cmd.flush ? 0 : 512, flags)).toBe(errno.inval);
    }
    expect(await answer(cmd.read, 0, 64 * MiB + 1)).toBe(errno.inval);
    expect(rig.driver.calls).toEqual([]);
    expect(await answer(cmd.write, 0, 512)).toBe(0);
    expect((await client.pread(0, 512)).data).toEqual(pattern(512, 1));
  });

  it('pass on what the device says', async () => {
    const rig = rigWith();
    const { client } = await open(rig, style);
    const expected: [Status, number][] = [
      [Status.NotPermitted, errno.perm],
      [Status.IoError, errno.io],
      [Status.Gone, errno.shutdown],
      [Status.NoDevice, errno.shutdown],
      [Status.Busy, errno.io],
      [Status.Invalid, errno.inval],
      [Status.NoSpace, errno.noSpace],
      [27, errno.noSpace],
      [122, errno.noSpace],
      [75, errno.overflow],
      [Status.NotSupported, errno.notSup],
      [Status.TimedOut, errno.io],
      [84, errno.io],
    ];
    const ofFlush = new Map<Status, number>([
      // The flush has lost data, which ENOSPC does not mean for a write.
      [Status.NoSpace, errno.io],
      // The device has no cache to flush.
      [Status.Invalid, 0],
      [Status.NotSupported, 0],
    ]);
    for (const [status, wanted] of expected) {
      rig.driver.fault = () => status;
      expect((await client.pread(0, 512)).errno).toBe(wanted);
      expect((await client.pwrite(0, pattern(512, 1))).errno).toBe(wanted);
      expect((await client.pwrite(3, pattern(512, 1))).errno).toBe(wanted);
      expect((await client.request(cmd.flush, 0, 0)).errno).toBe(ofFlush.get(status) ?? wanted);
      expect((await client.request(cmd.trim, 0, 512)).errno).toBe(wanted);
      expect((await client.request(cmd.writeZeroes, 7, 2000)).errno).toBe(wanted);
    }
    rig.driver.fault = () => Status.Ok;
    expect((await client.pwrite(3, pattern(512, 1))).errno).toBe(0);
  });

  it('send the error of a large read whose first piece is the last to end', async () => {
    const rig = rigWith({ device: { numBlocks: 140_000 }, server: { maxBytesPerConnection: 8 * MiB } });
    const { client } = await open(rig, style);
    rig.driver.isHolding = true;
    const read = client.pread(0, 12 * MiB);
    await until(() => rig.driver.held.length > 1, 'pieces are read');
    await new Promise((resolve) => setTimeout(resolve, 10));
    const pieces = rig.driver.held.splice(0);
    for (const piece of pieces.slice(1)) piece.complete(Status.Ok);
    rig.driver.isHolding = false;
    pieces[0]!.complete(Status.IoError);
    expect((await read).errno).toBe(errno.io);
  });

  it('read and write 64 MiB at a time, at any offset', async () => {
    const rig = rigWith({ device: { numBlocks: 140_000 } });
    rig.driver.chance = seeded(5);
    const { client } = await open(rig, style);
    const data = pattern(64 * MiB, 3);
    expect((await client.pwrite(1001, data)).errno).toBe(0);
    expectBytes(rig.driver.bytes.subarray(1001, 1001 + data.length), data);
    expect(rig.driver.bytes.subarray(0, 1001).every((byte) => byte === 0)).toBe(true);
    expect(rig.driver.bytes.subarray(1001 + data.length).every((byte) => byte === 0)).toBe(true);
    const reply = await client.pread(1003, 63 * MiB + 77);
    expect(reply.errno).toBe(0);
    expectBytes(reply.data, data.subarray(2, 2 + 63 * MiB + 77));
  });

  it('say that a large write failed, and take in all of it', async () => {
    const rig = rigWith({ device: { numBlocks: 40_000 } });
    const { client } = await open(rig, style);
    rig.driver.fault = failing(IoType.Write, 3000, Status.IoError);
    expect((await client.pwrite(0, pattern(16 * MiB, 1))).errno).toBe(errno.io);
    expect((await client.pread(0, 512)).errno).toBe(0);
  });

  it('say that a large read failed at its start', async () => {
    const rig = rigWith({ device: { numBlocks: 40_000 } });
    const { client } = await open(rig, style);
    rig.driver.fault = failing(IoType.Read, 0, Status.IoError);
    const reply = await client.pread(0, 16 * MiB);
    expect(reply.errno).toBe(errno.io);
    if (style !== 'simple') expect(reply.errorOffset).toBe(0);
    expect((await client.pread(512, 512)).errno).toBe(0);
  });

  it('out of order: a quick request overtakes a slow one', async () => {
    const rig = rigWith();
    const { client } = await open(rig, style);
    rig.driver.isHolding = true;
    const order: string[] = [];
    const slow = client.pread(0, 512).then(() => order.push('slow'));
    await until(() => rig.driver.held.length === 1, 'the read is with the device');
    await client.request(cmd.cache, 0, 512).then(() => order.push('quick'));
    rig.driver.letGo();
    await slow;
    expect(order).toEqual(['quick', 'slow']);
  });
});

describe('a read that fails midway', () => {
  it('as a simple reply closes the connection, and nothing wrong has been said', async () => {
    const rig = rigWith({ device: { numBlocks: 40_000 } });
    const wire = await open(rig, 'simple');
    rig.driver.fault = failing(IoType.Read, 20_000, Status.IoError);
    await expect(wire.client.pread(0, 16 * MiB)).rejects.toThrow('ended');
    expect(wire.isAborted).toBe(true);
  });

  it('in chunks is an error with the offset, beside the data that could be read', async () => {
    const rig = rigWith({ device: { numBlocks: 40_000 } });
    const { client } = await open(rig);
    pattern(16 * MiB, 9).copy(rig.driver.bytes);
    rig.driver.fault = failing(IoType.Read, 20_000, Status.IoError);
    const reply = await client.pread(0, 16 * MiB);
    expect(reply.errno).toBe(errno.io);
    expect(reply.errorOffset).toBe(9 * MiB);
    expect(reply.chunks.filter(({ type }) => type === 1)).toHaveLength(15);
    expectBytes(reply.data.subarray(0, 9 * MiB), rig.driver.bytes.subarray(0, 9 * MiB));
    expectBytes(reply.data.subarray(10 * MiB), rig.driver.bytes.subarray(10 * MiB, 16 * MiB));
    expect((await client.pread(0, 512)).errno).toBe(0);
  });

  it('unfragmented is filled up with zeros and followed by an error', async () => {
    const rig = rigWith({ device: { numBlocks: 40_000 } });
    const { client } = await open(rig);
    pattern(16 * MiB, 9).copy(rig.driver.bytes);
    rig.driver.fault = failing(IoType.Read, 20_000, Status.IoError);
    const reply = await client.pread(0, 16 * MiB, flag.df);
    expect(reply.errno).toBe(errno.io);
    expect(reply.errorOffset).toBe(9 * MiB);
    expect(reply.chunks.map(({ type }) => type)).toEqual([1, 0x8002]);
    expect(reply.data.subarray(9 * MiB, 10 * MiB).every((byte) => byte === 0)).toBe(true);
  });

  it('small is an error with the offset', async () => {
    const rig = rigWith();
    const { client } = await open(rig);
    rig.driver.fault = failing(IoType.Read, 3, Status.IoError);
    const reply = await client.pread(1100, 1000);
    expect([reply.errno, reply.errorOffset, reply.chunks.length]).toEqual([errno.io, 1100, 1]);
  });
});

describe('flags', () => {
  it('FUA is accepted with everything, and makes writes, zeroes and trims stable before the reply', async () => {
    const rig = rigWith();
    const { client } = await open(rig);
    for (const [command, length] of [
      [cmd.write, 512],
      [cmd.write, 700],
      [cmd.writeZeroes, 1024],
      [cmd.writeZeroes, 100],
      [cmd.trim, 1024],
      [cmd.flush, 0],
    ] as const) {
      const payload = command === cmd.write ? pattern(length, 1) : undefined;
      expect((await client.request(command, 0, length, flag.fua, payload)).errno).toBe(0);
      expect(rig.driver.calls.at(-1)!.type).toBe(IoType.Flush);
    }
    rig.driver.hasForceUnitAccess = true;
    await client.pwrite(0, pattern(512, 1), flag.fua);
    expect(rig.driver.calls.at(-1)).toMatchObject({ type: IoType.Write, flags: IoFlag.ForceUnitAccess });
    for (const command of [cmd.read, cmd.cache, cmd.blockStatus])
      expect((await client.request(command, 0, 512, flag.fua)).errno).toBe(0);
  });

  it('NO_HOLE reaches the device', async () => {
    const rig = rigWith();
    const { client } = await open(rig);
    await client.request(cmd.writeZeroes, 0, 1024, flag.noHole);
    await client.request(cmd.writeZeroes, 0, 1024);
    expect(rig.driver.calls.map(({ flags }) => flags)).toEqual([IoFlag.NoUnmap, 0]);
  });

  it('FAST_ZERO succeeds where the device zeroes by itself, and else fails without a change', async () => {
    const rig = rigWith();
    const { client } = await open(rig);
    rig.driver.bytes.fill(7);
    expect((await client.request(cmd.writeZeroes, 100, 1024, flag.fastZero)).errno).toBe(0);
    expect((await client.request(cmd.writeZeroes, 5000, 100, flag.fastZero)).errno).toBe(errno.notSup);
    rig.driver.unsupported = [IoType.WriteZeroes];
    expect((await client.request(cmd.writeZeroes, 8192, 1024, flag.fastZero)).errno).toBe(errno.notSup);
    expect(rig.driver.bytes.subarray(5000, 10_000).every((byte) => byte === 7)).toBe(true);
    expect((await client.request(cmd.writeZeroes, 8192, 1024)).errno).toBe(0);
    expect(rig.driver.bytes.subarray(8192, 9216).every((byte) => byte === 0)).toBe(true);
  });

  it('DF gives one chunk of data, however long, and EOVERFLOW above the limit', async () => {
    const rig = rigWith({ device: { numBlocks: 140_000 } });
    pattern(64 * MiB, 4).copy(rig.driver.bytes);
    const { client } = await open(rig);
    for (const length of [1, 65_536, 64 * MiB - 5]) {
      const reply = await client.pread(5, length, flag.df);
      expect(reply.chunks.filter(({ type }) => type === 1)).toHaveLength(1);
      expectBytes(reply.data, rig.driver.bytes.subarray(5, 5 + length));
    }
    expect((await client.pread(0, 64 * MiB + 1, flag.df)).errno).toBe(errno.overflow);
  });
});

describe('what a device lacks', () => {
  it('without flush there is nothing to flush', async () => {
    const rig = rigWith();
    rig.driver.unsupported = [IoType.Flush];
    const { client } = await open(rig);
    expect((await client.request(cmd.flush, 0, 0)).errno).toBe(0);
    expect((await client.request(cmd.trim, 0, 512, flag.fua)).errno).toBe(0);
    expect((await client.pwrite(0, pattern(512, 1), flag.fua)).errno).toBe(0);
  });

  it('without unmap, trim is not a command', async () => {
    const rig = rigWith();
    rig.driver.unsupported = [IoType.Unmap];
    const { client } = await open(rig);
    expect((await client.request(cmd.trim, 0, 512)).errno).toBe(errno.inval);
  });
});

describe('a read-only export', () => {
  it('refuses writes with EPERM, takes in their payload, and reads', async () => {
    const rig = rigWith({ export: { readOnly: true } });
    rig.driver.bytes.fill(3);
    const { client } = await open(rig);
    expect((await client.pwrite(0, pattern(100_000, 1))).errno).toBe(errno.perm);
    expect((await client.request(cmd.trim, 0, 512)).errno).toBe(errno.perm);
    expect((await client.request(cmd.writeZeroes, 0, 512)).errno).toBe(errno.perm);
    expect((await client.request(cmd.flush, 0, 0)).errno).toBe(0);
    expectBytes((await client.pread(0, 512)).data, Buffer.alloc(512, 3));
    expect(rig.driver.bytes.every((byte) => byte === 3)).toBe(true);
  });
});

describe('block status', () => {
  it('comes from the allocation map, cut to the request', async () => {
    const asked: [number, number][] = [];
    const rig = rigWith({
      export: {
        allocation: (offset, lengthBytes, add) => {
          asked.push([offset, lengthBytes]);
          for (let i = 0; add(1000, i % 2 === 0 ? 0 : 3); i++) expect(i).toBeLessThan(1_000_000);
        },
      },
    });
    for (const style of ['structured', 'extended'] as const) {
      const { client } = await open(rig, style);
      expect((await client.request(cmd.blockStatus, 500, 2500)).extents).toEqual([
        { lengthBytes: 1000, flags: 0 },
        { lengthBytes: 1000, flags: 3 },
        { lengthBytes: 500, flags: 0 },
      ]);
      expect((await client.request(cmd.blockStatus, 500, 2500, flag.reqOne)).extents).toEqual([
        { lengthBytes: 1000, flags: 0 },
      ]);
      expect((await client.request(cmd.blockStatus, 0, 1_000_000)).extents).toHaveLength(style === 'extended' ? 256 : 512);
    }
    expect(asked[0]).toEqual([500, 2500]);
  });

  it('is "allocated" where the map is silent', async () => {
    const rig = rigWith({ export: { allocation: () => undefined } });
    const { client } = await open(rig);
    expect((await client.request(cmd.blockStatus, 0, 4096)).extents).toEqual([{ lengthBytes: 4096, flags: 0 }]);
  });

  it('needs the context', async () => {
    const rig = rigWith();
    const wire = connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
    await wire.client.open('disk', 'structured', []);
    expect((await wire.client.request(cmd.blockStatus, 0, 4096)).errno).toBe(errno.inval);
  });
});

describe('extended headers', () => {
  it('carry lengths above 32 bits', async () => {
    const rig = rigWith();
    Object.defineProperty(rig.bdev, 'numBlocks', { value: 2 ** 40 });
    rig.driver.fault = () => Status.Ok;
    const { client } = await open(rig, 'extended');
    const extents = (await client.request(cmd.blockStatus, 0, 2 ** 40)).extents;
    expect(extents).toEqual([{ lengthBytes: 2 ** 40, flags: 0 }]);
    expect((await client.request(cmd.trim, 2 ** 35, 2 ** 33)).errno).toBe(0);
    const total = rig.driver.calls.reduce((sum, { numBlocks }) => sum + numBlocks, 0);
    expect(total).toBe(2 ** 33 / 512);
    expect(rig.driver.calls[0]!.offsetBlocks).toBe(2 ** 35 / 512);
  });

  it('repeat the offset exactly, however absurd', async () => {
    const wire = await open(rigWith(), 'extended');
    wire.client.expectReply(5n, cmd.read, 0, 512).catch(() => undefined);
    const absurd = requestBytes('extended', cmd.read, 0, 5n, 0, 512);
    absurd.writeBigUInt64BE(0xfffffffffffffffbn, 16);
    wire.output.length = 0;
    wire.push(absurd);
    await until(() => wire.output.length > 0, 'there is a reply');
    expect(wire.output[0]!.readBigUInt64BE(16)).toBe(0xfffffffffffffffbn);
    expect(wire.output[0]!.readUInt32BE(32)).toBe(errno.inval);
  });

  it('take in a payload that a command has no use for', async () => {
    const rig = rigWith();
    const { client } = await open(rig, 'extended');
    for (const command of [cmd.read, cmd.trim, cmd.blockStatus, 99]) {
      expect((await client.request(command, 0, 70_000, flag.payloadLen, Buffer.alloc(70_000))).errno).toBe(errno.inval);
    }
    expect((await client.pread(0, 512)).errno).toBe(0);
  });

  it('take the data of a write that does not announce a payload, as current qemu sends it', async () => {
    const rig = rigWith();
    const { client, ...wire } = await open(rig, 'extended');
    const data = pattern(4096, 3);
    for (const flags of [0, flag.fua, flag.payloadLen]) {
      const offset = 8192 * (1 + flags);
      const reply = client.expectReply(BigInt(flags), cmd.write, offset, data.length);
      client.send(Buffer.concat([requestBytes('extended', cmd.write, flags, BigInt(flags), offset, data.length), data]));
      expect((await reply).errno).toBe(0);
      expect(Buffer.from((await client.pread(offset, data.length)).data).equals(data)).toBe(true);
    }
    expect(wire.isAborted).toBe(false);
  });

  it('take in the data of a refused write that does not announce it', async () => {
    const { client } = await open(rigWith(), 'extended');
    const beyond = 2 ** 50;
    const reply = client.expectReply(5n, cmd.write, beyond, 70_000);
    client.send(Buffer.concat([requestBytes('extended', cmd.write, 0, 5n, beyond, 70_000), Buffer.alloc(70_000, 7)]));
    expect((await reply).errno).toBe(errno.noSpace);
    expect((await client.pread(0, 512)).errno).toBe(0);
  });

  it.each([0, flag.payloadLen])('drop a client that writes terabytes at once (flags %i)', async (flags) => {
    const wire = await open(rigWith(), 'extended');
    wire.push(requestBytes('extended', cmd.write, flags, 5n, 0, 2 ** 42));
    await wire.client.ended();
    expect(wire.isAborted).toBe(true);
  });
});

describe('long writes of zeroes and trims', () => {
  it('reach every byte, in steps', async () => {
    const rig = rigWith();
    Object.defineProperty(rig.bdev, 'numBlocks', { value: 2 ** 30 });
    rig.driver.fault = (io) => (io.type === IoType.Read || io.type === IoType.Write ? Status.IoError : Status.Ok);
    const { client } = await open(rig);
    for (const command of [cmd.writeZeroes, cmd.trim]) {
      rig.driver.calls.length = 0;
      expect((await client.request(command, 512, 2 ** 32 - 512)).errno).toBe(0);
      let next = 1;
      for (const { offsetBlocks, numBlocks } of rig.driver.calls) {
        expect(offsetBlocks).toBe(next);
        next += numBlocks;
      }
      expect(next).toBe(2 ** 32 / 512);
    }
  });

  it('trim leaves the edges alone', async () => {
    const rig = rigWith({ device: { blockSize: 4096, numBlocks: 64 } });
    rig.driver.bytes.fill(9);
    const { client } = await open(rig);
    expect((await client.request(cmd.trim, 4095, 4098)).errno).toBe(0);
    expect((await client.request(cmd.trim, 100, 100)).errno).toBe(0);
    expect((await client.request(cmd.trim, 100, 5000)).errno).toBe(0);
    expect(rig.driver.calls.map(({ offsetBlocks, numBlocks }) => [offsetBlocks, numBlocks])).toEqual([[1, 1]]);
    const zeros = [...rig.driver.bytes].filter((byte) => byte === 0).length;
    expect(zeros).toBe(4096);
  });
});

describe('statistics', () => {
  it('count what was served', async () => {
    const rig = rigWith();
    const { client } = await open(rig);
    await client.pwrite(0, pattern(3000, 1));
    await client.pread(0, 1000);
    await client.pread(2 ** 40, 1000);
    await client.request(cmd.flush, 0, 0);
    expect(rig.server.exports()).toEqual([
      {
        name: 'disk',
        bdev: 'm0',
        description: '',
        isDefault: true,
        readOnly: false,
        clients: null,
        sizeBytes: 1_048_576,
        connections: 1,
        stats: { readRequests: 2, writeRequests: 1, otherRequests: 1, readBytes: 1000, writtenBytes: 3000, errors: 1 },
      },
    ]);
  });
});
