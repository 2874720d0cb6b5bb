import * as fs from 'node:fs';
import { DeviceNews, watchDevices } from '@raidkit/backend-linux';
import { openReactor } from '@raidkit/reactor';
import type { Reactor } from '@raidkit/reactor';
import { loadSys } from '@raidkit/sys';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { can, eventually } from './kit.js';

const sys = loadSys()!;
let reactor: Reactor;

beforeEach(async () => {
  const opened = await openReactor({ memoryBytes: 1 << 20 });
  if (opened.reactor === null) throw new Error(opened.reason);
  reactor = opened.reactor;
  reactor.start();
});

afterEach(() => reactor.stop());

/** As the kernel writes them: what happened, then variables, each with a NUL at its end. */
function message(...variables: string[]): Buffer {
  return Buffer.from(['add@/devices/virtual/x', ...variables].map((part) => `${part}\0`).join(''));
}

describe('news of devices', () => {
  it('are told when a message is about block devices, whatever it says of them', async () => {
    const [kernel, fd] = sys.sockets.pair() as [number, number];
    let told = 0;
    const news = new DeviceNews(reactor.runtime, reactor.ring, fd, () => told++);
    fs.writeSync(kernel, message('ACTION=add', 'SUBSYSTEM=net', 'SEQNUM=1'));
    fs.writeSync(kernel, Buffer.alloc(300, 0xff));
    fs.writeSync(kernel, message('ACTION=remove', 'DEVNAME=../../etc/passwd', 'SUBSYSTEM=block', 'SEQNUM=2'));
    await eventually(() => told === 1);
    // Further messages that follow at once are reported together, once.
    for (let i = 0; i < 50; i++) fs.writeSync(kernel, message('SUBSYSTEM=block'));
    await eventually(() => told === 2);
    await news.stop();
    expect(() => fs.fstatSync(fd)).toThrow('EBADF');
    fs.closeSync(kernel);
    expect(told).toBe(2);
  });

  it('end when the socket does, and can be stopped then too', async () => {
    const [kernel, fd] = sys.sockets.pair() as [number, number];
    const news = new DeviceNews(reactor.runtime, reactor.ring, fd, () => undefined);
    fs.closeSync(kernel);
    await news.stop();
    await news.stop();
    expect(() => fs.fstatSync(fd)).toThrow('EBADF');
  });

  it.runIf(can('loop'))('come from the kernel', async () => {
    let told = 0;
    const news = watchDevices(reactor.runtime, reactor.ring, () => told++);
    if (typeof news === 'string') throw new Error(news);
    const [device] = fs.readdirSync('/sys/block').filter((name) => name.startsWith('loop'));
    fs.writeFileSync(`/sys/block/${String(device)}/uevent`, 'change');
    await eventually(() => told > 0);
    await news.stop();
  });
});
