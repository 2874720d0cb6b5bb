import { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { expect, it } from 'vitest';
import { plugIn } from '../../../test/support/ram-disk.js';
import { memberUuid } from '../../../test/support/rig.js';
import { Slot } from '../src/members/slot.js';

async function openSlot(): Promise<Slot> {
  const registry = new BdevRegistry(nodeRuntime({ memoryBytes: 1 << 20 }));
  const { bdev } = await plugIn(registry, { name: 'm0', uuid: memberUuid(0), bytes: new Uint8Array(1 << 20), blockSize: 512 });
  const slot = new Slot(0, null);
  slot.open(registry.open(bdev, { writable: true }));
  return slot;
}

it('a member that leaves still counts as what it was, and gets no I/O', async () => {
  const slot = await openSlot();
  expect(slot).toMatchObject({ role: 'opening', isConfigured: false, isOperational: false });
  slot.beginRebuild();
  expect(slot).toMatchObject({ role: 'rebuilding', isConfigured: true, isOperational: true, isInSync: false });
  slot.leave();
  expect(slot).toMatchObject({ role: 'leaving', isConfigured: true, isRebuilding: true, isOperational: false });
  slot.stay();
  slot.endRebuild();
  expect(slot).toMatchObject({ role: 'inSync', isInSync: true, isRebuilding: false });
  slot.closeMember();
  expect(slot).toMatchObject({ role: 'empty', hasDevice: false, isConfigured: false });
});

it('a member takes no step that its role does not allow', async () => {
  const slot = await openSlot();
  expect(() => slot.endRebuild()).toThrow('slot 0: a member that is opening cannot become inSync');
  slot.join();
  expect(() => slot.beginRebuild()).toThrow('inSync cannot become rebuilding');
  slot.leave();
  for (const step of ['leave', 'join', 'endRebuild'] as const) expect(() => slot[step]()).toThrow('cannot become');
  expect(slot.role).toBe('leaving');
  slot.empty('failed', 1);
  for (const step of ['leave', 'join', 'beginRebuild', 'endRebuild', 'stay'] as const)
    expect(() => slot[step]()).toThrow('cannot become');
  expect(slot).toMatchObject({ role: 'empty', absence: 'failed', isRemoved: true });
});
