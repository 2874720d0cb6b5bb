import { IoType } from '@raidkit/bdev';
import { afterEach, describe, expect, it } from 'vitest';
import { goData, metaData, opt, optionBytes, rep } from './client.js';
import type { OptionAnswer } from './client.js';
import { addDevice, assertNoLeak, newRig, until } from './kit.js';
import type { Rig, RigOptions } from './kit.js';
import { connectWire } from './wire.js';
import type { Wire } from './wire.js';

const rigs: Rig[] = [];

function rigWith(options?: RigOptions): Rig {
  const rig = newRig(options);
  rigs.push(rig);
  return rig;
}

function connect(rig: Rig): Wire {
  return connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
}

async function greeted(rig: Rig): Promise<Wire> {
  const wire = connect(rig);
  await wire.client.greet();
  return wire;
}

function types(answers: OptionAnswer[]): number[] {
  return answers.map(({ type }) => type);
}

afterEach(async () => {
  for (const rig of rigs.splice(0)) {
    await rig.server.close();
    assertNoLeak(rig);
  }
});

describe('the greeting', () => {
  it('drops a client with unknown flags', async () => {
    const wire = connect(rigWith());
    await wire.client.greet(4);
    await wire.client.ended();
    expect(wire.isAborted).toBe(true);
  });

  it('drops a client that has not chosen an export in time', async () => {
    const rig = rigWith({ server: { handshakeTimeoutMs: 1000 } });
    const idle = connect(rig);
    const half = await greeted(rig);
    half.push(optionBytes(opt.go).subarray(0, 7));
    const chosen = connect(rig);
    await chosen.client.open();
    await Promise.all([idle.client.ended(), half.client.ended()]);
    expect([idle.isAborted, half.isAborted, chosen.isClosed]).toEqual([true, true, false]);
  });
});

describe('options', () => {
  it('answers unknown ones, with and without data, and stays in step', async () => {
    const { client } = await greeted(rigWith());
    for (const option of [4, opt.startTls, 99, 0xffffffff]) {
      expect(types(await client.option(option))).toEqual([rep.unsup]);
      expect(types(await client.option(option, Buffer.alloc(300)))).toEqual([rep.unsup]);
    }
    expect(types(await client.option(opt.go, goData('disk')))).toEqual([rep.info, rep.ack]);
  });

  it('reads and refuses data over 4096 bytes, and takes 4096', async () => {
    const { client } = await greeted(rigWith());
    expect(types(await client.option(opt.info, Buffer.alloc(4097)))).toEqual([rep.tooBig]);
    expect(types(await client.option(77, Buffer.alloc(100_000)))).toEqual([rep.tooBig]);
    expect(types(await client.option(opt.info, goData('x'.repeat(4090))))).toEqual([rep.unknown]);
    expect(types(await client.option(opt.info, goData('disk')))).toEqual([rep.info, rep.ack]);
  });

  it('drops a client that announces more than it could mean', async () => {
    const wire = await greeted(rigWith());
    wire.push(optionBytes(opt.info, Buffer.alloc(0), 0xffffffff));
    await wire.client.ended();
    expect(wire.isAborted).toBe(true);
  });

  it('drops a client whose option has no magic', async () => {
    const wire = await greeted(rigWith());
    wire.push(Buffer.alloc(16, 'x'));
    await wire.client.ended();
    expect(wire.isAborted).toBe(true);
  });

  it('lets a client ask often, but not for ever', async () => {
    const wire = await greeted(rigWith({ server: { maxOptions: 50 } }));
    for (let i = 0; i < 50; i++) expect(types(await wire.client.option(opt.info, goData('disk')))).toEqual([rep.info, rep.ack]);
    wire.push(optionBytes(opt.info, goData('disk')));
    await wire.client.ended();
    expect(wire.isAborted).toBe(true);
  });

  it('answers options that were sent all at once, one after the other', async () => {
    const wire = await greeted(rigWith());
    const go = optionBytes(opt.go, goData('disk', [0, 1, 2, 3]));
    wire.push(
      Buffer.concat([optionBytes(opt.list), optionBytes(opt.structuredReply), optionBytes(opt.info, goData('no')), go]),
    );
    expect(types(await wire.client.answers(opt.list))).toEqual([rep.server, rep.ack]);
    expect(types(await wire.client.answers(opt.structuredReply))).toEqual([rep.ack]);
    expect(types(await wire.client.answers(opt.info))).toEqual([rep.unknown]);
    expect(types(await wire.client.answers(opt.go))).toEqual([rep.info, rep.info, rep.info, rep.info, rep.ack]);
  });

  it('ABORT is acknowledged, and the connection ends', async () => {
    const wire = await greeted(rigWith());
    expect(types(await wire.client.option(opt.abort))).toEqual([rep.ack]);
    await wire.client.ended();
    expect(wire.isFinished).toBe(true);
  });
});

describe('LIST', () => {
  it('names every export with its description, also when that is a lot', async () => {
    const rig = rigWith({ export: { description: 'the first' } });
    for (let i = 0; i < 300; i++)
      rig.server.addExport({ name: `volume ${i} ü`, bdev: rig.bdev, readOnly: true, description: 'd'.repeat(100) });
    const { client } = await greeted(rig);
    const answers = await client.option(opt.list);
    expect(answers).toHaveLength(302);
    const names = answers.slice(0, -1).map(({ data }) => {
      const bytes = data.readUInt32BE(0);
      return [data.toString('utf8', 4, 4 + bytes), data.toString('utf8', 4 + bytes)];
    });
    expect(names[0]).toEqual(['disk', 'the first']);
    expect(names[300]).toEqual(['volume 299 ü', 'd'.repeat(100)]);
  });

  it('takes no data', async () => {
    const { client } = await greeted(rigWith());
    expect(types(await client.option(opt.list, Buffer.alloc(1)))).toEqual([rep.invalid]);
  });
});

describe('INFO and GO', () => {
  const infos = (answers: OptionAnswer[]) =>
    new Map(answers.filter(({ type }) => type === rep.info).map(({ data }) => [data.readUInt16BE(0), data.subarray(2)]));

  it('give what was asked for, and nothing else', async () => {
    const rig = rigWith({
      device: { blockSize: 4096, numBlocks: 1000, optimalIoBoundary: 16 },
      export: { description: 'words' },
    });
    const { client } = await greeted(rig);
    expect([...infos(await client.option(opt.info, goData('disk'))).keys()]).toEqual([0]);
    const all = infos(await client.option(opt.info, goData('disk', [3, 2, 1, 77])));
    expect([...all.keys()].sort()).toEqual([0, 1, 2, 3]);
    expect(all.get(0)!.readBigUInt64BE(0)).toBe(4_096_000n);
    expect(all.get(1)!.toString()).toBe('disk');
    expect(all.get(2)!.toString()).toBe('words');
    expect([0, 4, 8].map((at) => all.get(3)!.readUInt32BE(at))).toEqual([1, 65536, 33554432]);
  });

  it.each([
    [{ blockSize: 512 }, 4096],
    [{ blockSize: 512, optimalIoBoundary: 8192 }, 4 * 1024 * 1024],
    [{ blockSize: 512, writeUnitSize: 384 }, 65536],
    [{ blockSize: 4096, writeUnitSize: 2, optimalIoBoundary: 64 }, 8192],
    [{ blockSize: 65536, optimalIoBoundary: 2048 }, 33554432],
  ])('prefer what %o likes: %i bytes', async (device, expected) => {
    const rig = rigWith({ device: { numBlocks: 4096 / (device.blockSize / 512), ...device } });
    const { client } = await greeted(rig);
    expect(
      infos(await client.option(opt.info, goData('disk', [3])))
        .get(3)!
        .readUInt32BE(4),
    ).toBe(expected);
  });

  it('say what can be done with the export', async () => {
    const rig = rigWith();
    const flags = async (style: 'simple' | 'structured' | 'extended', name: string): Promise<number> => {
      const { client } = connect(rig);
      await client.open(name, style);
      return client.transmissionFlags;
    };
    const everything = 0b1101_0110_1101; // has flags, flush, fua, trim, write zeroes, multi conn, cache, fast zero
    expect(await flags('simple', 'disk')).toBe(everything);
    expect(await flags('structured', 'disk')).toBe(everything | 0x80);
    expect(await flags('extended', 'disk')).toBe(everything | 0x80);
    rig.server.addExport({ name: 'ro', bdev: rig.bdev, readOnly: true });
    expect(await flags('simple', 'ro')).toBe(0b0101_0000_1111);
    const { bdev, driver } = addDevice(rig.registry, { name: 'm1' });
    driver.unsupported = [IoType.Unmap];
    rig.server.addExport({ name: 'no trim', bdev });
    expect(await flags('simple', 'no trim')).toBe(everything & ~0x20);
  });

  it('lead the empty name to the default export, if there is one', async () => {
    const rig = rigWith();
    expect(
      infos(await (await greeted(rig)).client.option(opt.go, goData('', [1])))
        .get(1)!
        .toString(),
    ).toBe('disk');
    await rig.server.removeExport('disk');
    rig.server.addExport({ name: 'disk', bdev: rig.bdev });
    expect(types(await (await greeted(rig)).client.option(opt.go, goData('')))).toEqual([rep.unknown]);
  });

  it('refuse malformed requests and unknown exports, and go on', async () => {
    const { client } = await greeted(rigWith());
    const good = goData('disk', [3]);
    const longName = Buffer.from(good);
    longName.writeUInt32BE(0xffffffff);
    const manyInfos = Buffer.from(good);
    manyInfos.writeUInt16BE(0xffff, 8);
    for (const bad of [
      Buffer.alloc(0),
      good.subarray(0, 5),
      good.subarray(0, -1),
      longName,
      manyInfos,
      Buffer.concat([good, Buffer.alloc(1)]),
    ]) {
      expect(types(await client.option(opt.info, bad))).toEqual([rep.invalid]);
      expect(types(await client.option(opt.go, bad))).toEqual([rep.invalid]);
    }
    for (const name of ['dis', 'disk ', 'DISK', 'disk\0'])
      expect(types(await client.option(opt.go, goData(name)))).toEqual([rep.unknown]);
    expect(types(await client.option(opt.go, good))).toEqual([rep.info, rep.info, rep.ack]);
  });
});

describe('EXPORT_NAME', () => {
  it.each([
    [3, 10],
    [1, 134],
    [0, 134],
  ])('with client flags %i answers %i bytes', async (clientFlags, bytes) => {
    const { client } = connect(rigWith());
    await client.greet(clientFlags);
    client.send(optionBytes(opt.exportName, Buffer.from('disk')));
    const answer = await client.read(bytes);
    expect(answer.readBigUInt64BE(0)).toBe(1_048_576n);
    expect(answer.subarray(10).every((byte) => byte === 0)).toBe(true);
    client.start('simple');
    expect((await client.pread(0, 512)).errno).toBe(0);
  });

  it('drops a client that names what is not there', async () => {
    const wire = await greeted(rigWith());
    wire.push(optionBytes(opt.exportName, Buffer.from('nothing')));
    await wire.client.ended();
    expect(wire.isAborted).toBe(true);
  });

  it('does not mind a client that hangs up right after it', async () => {
    const rig = rigWith();
    const wire = await greeted(rig);
    wire.push(optionBytes(opt.exportName, Buffer.from('disk')));
    wire.hangUp();
    await until(() => rig.server.connectionCount === 0, 'the connection is gone');
  });
});

describe('metadata contexts', () => {
  it('LIST finds base:allocation by nothing, wildcard and name', async () => {
    const { client } = await greeted(rigWith());
    for (const queries of [[], ['base:'], ['base:allocation'], ['x-y:z', 'base:allocation']]) {
      const answers = await client.option(opt.listMeta, metaData('disk', queries));
      expect(types(answers)).toEqual([rep.meta, rep.ack]);
      expect(answers[0]!.data.toString('utf8', 4)).toBe('base:allocation');
    }
    for (const queries of [['base:other'], ['qemu:'], ['']]) {
      expect(types(await client.option(opt.listMeta, metaData('disk', queries)))).toEqual([rep.ack]);
    }
  });

  it('SET needs structured replies, an export, and the exact name', async () => {
    const { client } = await greeted(rigWith());
    expect(types(await client.option(opt.setMeta, metaData('disk', ['base:allocation'])))).toEqual([rep.invalid]);
    await client.option(opt.structuredReply);
    expect(types(await client.option(opt.setMeta, metaData('nope', ['base:allocation'])))).toEqual([rep.unknown]);
    for (const queries of [[], ['base:'], ['base:else']])
      expect(types(await client.option(opt.setMeta, metaData('disk', queries)))).toEqual([rep.ack]);
    expect(types(await client.option(opt.setMeta, metaData('disk', ['a:b', 'base:allocation'])))).toEqual([rep.meta, rep.ack]);
  });

  it('refuses malformed queries', async () => {
    const { client } = await greeted(rigWith());
    await client.option(opt.structuredReply);
    const good = metaData('disk', ['base:allocation']);
    const manyQueries = Buffer.from(good);
    manyQueries.writeUInt32BE(0xffffffff, 8);
    const longQuery = Buffer.from(good);
    longQuery.writeUInt32BE(0xfffffff0, 12);
    for (const bad of [
      Buffer.alloc(0),
      good.subarray(0, 11),
      good.subarray(0, -1),
      manyQueries,
      longQuery,
      Buffer.concat([good, Buffer.alloc(4)]),
    ]) {
      expect(types(await client.option(opt.setMeta, bad))).toEqual([rep.invalid]);
      expect(types(await client.option(opt.listMeta, bad))).toEqual([rep.invalid]);
    }
  });

  it('counts only for the export that it was set for, and not after a failed SET', async () => {
    const rig = rigWith();
    rig.server.addExport({ name: 'other', bdev: rig.bdev, readOnly: true });
    const blockStatus = async (sets: Buffer[]): Promise<number> => {
      const { client } = await greeted(rig);
      await client.option(opt.structuredReply);
      for (const data of sets) await client.option(opt.setMeta, data);
      await client.option(opt.go, goData('disk'));
      client.start('structured');
      return (await client.request(7, 0, 512)).errno;
    };
    const right = metaData('disk', ['base:allocation']);
    expect(await blockStatus([right])).toBe(0);
    expect(await blockStatus([])).toBe(22);
    expect(await blockStatus([metaData('other', ['base:allocation'])])).toBe(22);
    expect(await blockStatus([right, Buffer.alloc(3)])).toBe(22);
    expect(await blockStatus([right, metaData('disk', [])])).toBe(22);
  });
});

describe('reply styles', () => {
  it('are acknowledged, take no data, and do not go back from extended headers', async () => {
    const { client } = await greeted(rigWith());
    expect(types(await client.option(opt.structuredReply, Buffer.alloc(2)))).toEqual([rep.invalid]);
    expect(types(await client.option(opt.extendedHeaders, Buffer.alloc(2)))).toEqual([rep.invalid]);
    expect(types(await client.option(opt.structuredReply))).toEqual([rep.ack]);
    expect(types(await client.option(opt.extendedHeaders))).toEqual([rep.ack]);
    expect(types(await client.option(opt.structuredReply))).toEqual([rep.extHeaderReqd]);
    await client.option(opt.go, goData('disk'));
    client.start('extended');
    expect((await client.pread(0, 512)).errno).toBe(0);
  });
});
