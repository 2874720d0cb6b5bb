import { IoType, Status } from '@raidkit/bdev';
import { raidApiVersion, thirdPartyCodes } from '@raidkit/core';
import type { PlainModule, ReadRoute, RwRequest } from '@raidkit/core/level';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { describe, expect, it } from 'vitest';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const KiB = 1024;
const memberBlocks = 2560;

/** A striped level without redundancy that counts what it is asked. */
function counting(routeRead: ((route: ReadRoute) => boolean) | null) {
  const asked = { rw: 0, route: 0 };
  const module: PlainModule = {
    level: 'counting',
    aliases: [],
    code: thirdPartyCodes.first,
    apiVersion: raidApiVersion,
    manifest: { stripSize: 'none', nullPayload: false, resize: false },
    redundancy: 'none',
    baseBdevsMin: 1,
    start: () => ({
      resize: ([blocks = 0]) => ({ numBlocks: blocks, memberBlocks: [blocks] }),
      submitRw(request: RwRequest) {
        asked.rw++;
        const { addr, numBlocks, offsetBlocks } = request;
        if (request.kind === 'read') request.readPart(0, offsetBlocks, numBlocks, addr);
        else request.writePart(0, offsetBlocks, numBlocks, addr);
      },
      ...(routeRead === null
        ? {}
        : {
            routeRead(offsetBlocks: number, _numBlocks: number, route: ReadRoute) {
              asked.route++;
              route.slot = 0;
              route.offsetBlocks = offsetBlocks;
              return routeRead(route);
            },
          }),
    }),
  };
  return { asked, module };
}

async function withDisks(rig: Rig, count: number): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (let i = 0; i < count; i++) {
    const bytes = new Uint8Array(memberBlocks * 512);
    disks.push((await plugIn(rig.registry, { name: `m${i}`, uuid: memberUuid(i), bytes })).disk);
  }
  return disks;
}

async function arrayOfLevel(module: PlainModule): Promise<{ rig: Rig; disk: RamDisk }> {
  const rig = newRig();
  rig.arrays.modules.register(module);
  const [disk] = await withDisks(rig, 1);
  if (disk === undefined) throw new Error('there is no disk');
  await rig.arrays.create({ name: 'a', level: 'counting', baseBdevs: ['m0'] });
  return { rig, disk };
}

describe('a read that lies on one member', () => {
  it('is not made a request of the level', async () => {
    const { asked, module } = counting(() => true);
    const { rig } = await arrayOfLevel(module);
    const client = openVolume(rig, 'a');
    await client.write(8, new Uint8Array(512).fill(7));
    expect(await client.read(8, 1)).toEqual(new Uint8Array(512).fill(7));
    expect(asked).toEqual({ rw: 1, route: 1 });
  });

  it('is one where the level says so', async () => {
    const { asked, module } = counting(() => false);
    const { rig } = await arrayOfLevel(module);
    await openVolume(rig, 'a').read(0, 4);
    expect(asked).toEqual({ rw: 1, route: 1 });
  });

  it('is one where the slot that the level names is none', async () => {
    const { asked, module } = counting((route) => {
      route.slot = 3;
      return true;
    });
    const { rig } = await arrayOfLevel(module);
    // The level is at fault: its array goes offline, and no request waits for ever.
    await openVolume(rig, 'a')
      .read(0, 4)
      .catch(() => undefined);
    await until(() => arrayOf(rig, 'a').state === 'offline', 'the array is offline');
    expect(asked.route).toBe(1);
  });

  it('takes the array of a level offline that throws', async () => {
    const { module } = counting(() => {
      throw new Error('no idea');
    });
    const { rig } = await arrayOfLevel(module);
    await openVolume(rig, 'a')
      .read(0, 4)
      .catch(() => undefined);
    await until(() => arrayOf(rig, 'a').state === 'offline', 'the array is offline');
  });

  it('fails, counted once, where there is no redundancy', async () => {
    const { asked, module } = counting(() => true);
    const { disk, rig } = await arrayOfLevel(module);
    disk.fault = (io) => (io.type === IoType.Read ? Status.IoError : Status.Ok);
    await expect(openVolume(rig, 'a').read(0, 4)).rejects.toMatchObject({ errno: 5 });
    expect(asked.rw).toBe(0);
    expect(arrayOf(rig, 'a').slots[0]?.errors.read).toBe(1);
  });
});

describe.each([raid1, raid5f, raid6])('$level', ({ level }) => {
  const create = async (): Promise<{ rig: Rig; disks: RamDisk[] }> => {
    const rig = newRig();
    const numSlots = level === 'raid1' ? 2 : level === 'raid6' ? 4 : 3;
    const disks = await withDisks(rig, numSlots);
    const strip = level === 'raid1' ? {} : { stripSizeKb: 4 };
    const baseBdevs = disks.map((_, index) => `m${index}`);
    await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, ...strip });
    return { rig, disks };
  };

  it('reads elsewhere what one member cannot read, counts it once, and has it repaired', async () => {
    const { rig, disks } = await create();
    const client = openVolume(rig, 'a');
    const data = Uint8Array.from({ length: 64 * KiB }, (_, index) => (index * 31) >> 7);
    await client.write(0, data);
    const broken = new Set<number>();
    for (const disk of disks) {
      let hasFailed = false;
      disk.fault = (io) => {
        if (io.type !== IoType.Read || hasFailed || broken.size > 0 || io.offsetBlocks < 2048) return Status.Ok;
        hasFailed = true;
        broken.add(disks.indexOf(disk));
        return Status.IoError;
      };
    }
    for (let at = 0; at < 128; at += 8) expect(await client.read(at, 8)).toEqual(data.slice(at * 512, (at + 8) * 512));
    expect(broken.size).toBe(1);
    const [slot = -1] = broken;
    const { errors } = arrayOf(rig, 'a').slots[slot] ?? {};
    await until(() => (errors?.repaired ?? 0) > 0, 'the blocks are rewritten');
    expect(errors?.read).toBe(1);
  });
});

describe('a mirror', () => {
  async function mirror(): Promise<{ rig: Rig; disks: RamDisk[] }> {
    const rig = newRig();
    const disks = await withDisks(rig, 2);
    await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
    return { rig, disks };
  }

  it('whose copies may differ reads one of them, and has the other hold the same', async () => {
    const { disks, rig } = await mirror();
    const client = openVolume(rig, 'a');
    await client.write(0, new Uint8Array(4 * KiB).fill(1));
    const array = arrayOf(rig, 'a');
    // As a start finds it after a crash, before a resync has its turn.
    array.consistency.load(0, 8);
    const { dataOffset } = array.slots[1] ?? { dataOffset: 0 };
    disks[1]?.bytes.fill(2, dataOffset * 512, (dataOffset + 8) * 512);
    const all = new Set<number>();
    for (let turn = 0; turn < 4; turn++) {
      const reads = Array.from({ length: 4 }, () => client.read(0, 8));
      for (const bytes of await Promise.all(reads)) for (const byte of bytes) all.add(byte);
    }
    expect([...all]).toEqual([1]);
    expect(disks[1]?.bytes.slice(dataOffset * 512, (dataOffset + 8) * 512)).toEqual(new Uint8Array(4 * KiB).fill(1));
  });

  it('answers a read that timed out so: the device may still fill its buffer', async () => {
    const { disks, rig } = await mirror();
    const client = openVolume(rig, 'a');
    await client.write(0, new Uint8Array(4 * KiB).fill(1));
    await client.flush();
    rig.arrays.setMemberOptions({ ioTimeoutMs: 300 });
    let hung: RamDisk | undefined;
    for (const disk of disks)
      disk.fault = (io) => {
        if (io.type === IoType.Read) hung ??= disk;
        return hung === disk ? null : Status.Ok;
      };
    const { buffers, ios } = rig.registry;
    const io = ios.get();
    io.type = IoType.Read;
    io.offsetBlocks = 0;
    io.numBlocks = 8;
    io.addr = buffers.get(4 * KiB);
    const status = await new Promise((resolve) => {
      io.owner = { onIoDone: (done) => resolve(done.status) };
      client.descriptor.submit(io);
    });
    expect(status).toBe(Status.TimedOut);
    buffers.put(io.addr);
    ios.put(io);
    // The member is removed for it.
    expect(await client.read(0, 8)).toEqual(new Uint8Array(4 * KiB).fill(1));
    for (const io of hung?.held.splice(0) ?? []) hung?.finish(io, Status.Ok);
  });
});
