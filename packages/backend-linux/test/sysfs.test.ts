import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blockDeviceIdentity } from '../src/identity.js';
import { describeUse, mountPoint } from '../src/in-use.js';
import { BlockDeviceInfo, deviceNumber, isPresent } from '../src/sysfs.js';
import { Bench, MiB, can, run } from './kit.js';

/** A /sys with one disk of number 8:0 with a partition 8:1, and these files in the disk's folder. */
function fakeSys(bench: Bench, files: Record<string, string>): string {
  const sys = bench.path('sys');
  const tree = { dev: '8:0', 'sda1/dev': '8:1', 'sda1/partition': '1', 'sda1/holders/dm-3/x': '', ...files };
  for (const [path, content] of Object.entries(tree)) {
    const full = join(sys, 'devices/sda', path);
    fs.mkdirSync(dirname(full), { recursive: true });
    fs.writeFileSync(full, `${content}\n`);
  }
  fs.mkdirSync(join(sys, 'dev/block'), { recursive: true });
  fs.symlinkSync('../../devices/sda', join(sys, 'dev/block/8:0'));
  fs.symlinkSync('../../devices/sda/sda1', join(sys, 'dev/block/8:1'));
  return sys;
}

const sda = 0x800;
const sda1 = 0x801;

describe('what the kernel shows', () => {
  it('is found by the device’s number, of which large parts are possible', () => {
    expect([0x801, 0x10_3041, 2 ** 44 + 0x801].map((rdev) => deviceNumber(rdev))).toEqual(['8:1', '48:321', '4104:1']);
  });

  it('is nothing once the device is gone', async () => {
    await using bench = new Bench();
    const sys = fakeSys(bench, {});
    expect([await isPresent(sda, sys), await isPresent(0x810, sys), await isPresent(sda, bench.path('no sys'))]).toEqual([
      true,
      false,
      true,
    ]);
    expect(await BlockDeviceInfo.find(0x810, sys)).toBeNull();
  });

  it.each([
    [{ wwid: 'naa.5000', serial: 's' }, 'wwid:naa.5000'],
    [{ 'device/wwid': 'eui.1' }, 'wwid:eui.1'],
    [{ 'device/wwid': '', serial: '  vdisk7 ' }, 'serial:vdisk7'],
    [{ 'device/serial': 'abc' }, 'serial:abc'],
    [{ 'dm/uuid': 'LVM-xyz' }, 'dm:LVM-xyz'],
    [{ 'md/uuid': '1-2' }, 'md:1-2'],
    [{ 'loop/backing_file': '/a/b', 'loop/offset': '512' }, 'loop:/a/b:512'],
    [{}, 'path:/dev/sda'],
  ])('makes an identity: of %o it is %s', async (files, identity) => {
    await using bench = new Bench();
    const sys = fakeSys(bench, files);
    expect(await blockDeviceIdentity('/dev/sda', await BlockDeviceInfo.find(sda, sys))).toBe(identity);
    const expected = identity.startsWith('path:') ? 'path:/dev/sda1' : `${identity}:partition:1`;
    expect(await blockDeviceIdentity('/dev/sda1', await BlockDeviceInfo.find(sda1, sys))).toBe(expected);
  });

  it('names the serial number that is printed on the disk, of partitions too', async () => {
    const page = (text: string): Buffer => Buffer.concat([Buffer.of(0, 0x80, 0, text.length), Buffer.from(text)]);
    for (const [files, bytes, serial] of [
      [{ serial: ' vdisk7' }, null, 'vdisk7'],
      [{ 'device/serial': 'S3Z9NB0K' }, null, 'S3Z9NB0K'],
      // Ten bytes of text: the length is the end of a line.
      [{ 'device/model': 'x' }, page('  WD-12345'), 'WD-12345'],
      [{ 'device/model': 'x' }, page('a\u001b[2Jb'), 'a[2Jb'],
      [{ 'device/model': 'x' }, page('    '), null],
      [{ 'device/model': 'x' }, Buffer.of(0, 0x83, 0, 0), null],
      [{ 'device/model': 'x' }, Buffer.of(0), null],
      [{}, null, null],
    ] as [Record<string, string>, Buffer | null, string | null][]) {
      await using bench = new Bench();
      const sys = fakeSys(bench, files);
      if (bytes !== null) fs.writeFileSync(join(sys, 'devices/sda/device/vpd_pg80'), bytes);
      for (const number of [sda, sda1]) expect(await (await BlockDeviceInfo.find(number, sys))!.serial()).toBe(serial);
    }
  });

  it.each([
    // A placeholder does not identify a disk, whichever of the two is opened first.
    [{ serial: '0123456789' }, { serial: '0123456789' }, 'path:/dev/sda', 'path:/dev/sdb', 'sdb'],
    [{ wwid: 't10.ATA Generic 01' }, { wwid: 't10.ATA Generic 01' }, 'path:/dev/sda', 'path:/dev/sdb', 'sdb'],
    // The next name that distinguishes them does.
    [{ wwid: 't10.x', serial: 'a' }, { wwid: 't10.x', serial: 'b' }, 'serial:a', 'serial:b', 'sdb'],
    // Two ways to one disk stay one: it must not be opened twice.
    [{ wwid: 'naa.5000' }, { wwid: 'naa.5000' }, 'wwid:naa.5000', 'wwid:naa.5000', null],
    [{ serial: 'a' }, { serial: 'b' }, 'serial:a', 'serial:b', null],
  ])(
    'does not take for an identity what two disks have in common: %o and %o',
    async (first, second, sdaIdentity, sdbIdentity, shared) => {
      await using bench = new Bench();
      const sys = fakeSys(bench, first);
      for (const [path, content] of Object.entries({ dev: '8:16', ...second })) {
        fs.mkdirSync(join(sys, 'devices/sdb'), { recursive: true });
        fs.writeFileSync(join(sys, 'devices/sdb', path), `${content}\n`);
      }
      fs.symlinkSync('../../devices/sdb', join(sys, 'dev/block/8:16'));
      const told: string[] = [];
      const of = async (path: string, rdev: number): Promise<string> =>
        blockDeviceIdentity(path, await BlockDeviceInfo.find(rdev, sys), (_, others) => told.push(...others));
      expect(await of('/dev/sda', sda)).toBe(sdaIdentity);
      expect(told).toEqual(shared === null ? [] : [shared]);
      expect(await of('/dev/sdb', 0x810)).toBe(sdbIdentity);
    },
  );

  it('tells partitions and who stands on them', async () => {
    await using bench = new Bench();
    const info = await BlockDeviceInfo.find(sda, fakeSys(bench, { 'holders/md0/x': '' }));
    expect([info!.name, await info!.deviceNumbers(), await info!.holders()]).toEqual(['sda', ['8:0', '8:1'], ['md0', 'dm-3']]);
    expect(await describeUse('/dev/none', info)).toBe('part of md0, dm-3');
    expect(await describeUse('/dev/none', null)).toMatch(/another program/);
  });
});

describe('the list of mounts', () => {
  const list = [
    '22 1 0:5 / /proc rw - proc proc rw',
    String.raw`30 1 8:1 / /mnt/a\040b rw,relatime shared:1 - ext4 /dev/sda1 rw`,
    '31 1 0:44 / /data rw - btrfs /dev/sdb rw',
  ].join('\n');

  it('names the place, by number or by path', () => {
    expect(mountPoint(list, '/dev/sda', ['8:0', '8:1'])).toBe('/mnt/a b');
    expect(mountPoint(list, '/dev/sdb', ['8:16'])).toBe('/data');
    expect(mountPoint(list, '/dev/sdc', ['8:32'])).toBeNull();
    expect(mountPoint('', '/dev/sdc', [])).toBeNull();
  });

  it.runIf(can('loop', 'mount'))('is asked for the partitions of a disk too', async () => {
    await using bench = new Bench();
    const disk = bench.loop('disk', 32 * MiB, 512, '--partscan');
    // Told to the kernel directly, which may be one without support for partition tables.
    run('addpart', disk, '1', '2048', String((32 * MiB) / 512 - 2048));
    const partition = `${disk}p1`;
    if (!fs.existsSync(partition)) {
      // There is no udev here, so that the node must be created by the test.
      const number = fs
        .readFileSync(`/sys/class/block/${partition.slice(5)}/dev`, 'utf8')
        .trim()
        .split(':');
      run('mknod', partition, 'b', ...number);
    }
    try {
      run('mkfs.ext4', '-q', partition);
      const where = bench.mount('mnt', partition);
      const busy = expect.stringContaining(`mounted at ${where}`) as string;
      await expect(bench.open({ path: disk })).rejects.toMatchObject({ errno: 16, message: busy });
      await expect(bench.open({ path: partition })).rejects.toMatchObject({ errno: 16, message: busy });
      run('umount', where);
      const whole = await bench.open({ path: disk });
      await bench.closeAll();
      const part = await bench.open({ path: partition });
      expect(part.numBlocks).toBe((32 * MiB) / 512 - 2048);
      expect(part.uuid).not.toBe(whole.uuid);
    } finally {
      await bench.closeAll();
      fs.rmSync(partition, { force: true });
    }
  });
});
