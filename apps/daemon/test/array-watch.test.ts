import { IoType, Status } from '@raidkit/bdev';
import { expect, it, vi } from 'vitest';
import { arrayOf, memberUuid, newRig, until } from '../../../test/support/rig.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { ArrayWatch } from '../src/events/array-watch.js';
import type { EventReport } from '../src/events/event.js';

it('tells of a member that leaves once, however long it takes until that is on record', async () => {
  const rig = newRig();
  const plug = (index: number) =>
    plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(4 << 20) });
  const [{ disk: left }] = [await plug(0), await plug(1)];
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  const told: EventReport[] = [];
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const watch = new ArrayWatch(rig.arrays, (report) => told.push(report), 0);
  try {
    left.fault = ({ type }) => (type === IoType.Write ? null : Status.Ok);
    const removed = rig.arrays.removeBaseBdev('m1');
    await until(() => left.held.length > 0, 'its departure is being recorded');
    expect(arrayOf(rig, 'a').numInSync).toBe(1);
    vi.advanceTimersByTime(3000);
    left.fault = () => Status.Ok;
    for (const io of left.held.splice(0)) left.finish(io, Status.Ok);
    await removed;
    vi.advanceTimersByTime(3000);
    expect(told).toMatchObject([{ event: 'DeviceRemoved', array: 'a', device: 'm1' }]);
  } finally {
    watch.end();
    vi.useRealTimers();
  }
  await rig.arrays.stop();
});
