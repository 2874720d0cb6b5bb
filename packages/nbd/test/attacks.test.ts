import { IoType } from '@raidkit/bdev';
import { afterEach, describe, expect, it } from 'vitest';
import { cmd, requestBytes } from './client.js';
import { MiB, addDevice, assertNoLeak, newRig, until } from './kit.js';
import type { Rig, RigOptions } from './kit.js';
import { connectWire } from './wire.js';
import type { Wire } from './wire.js';

// What clients have done, or could do, to the others. Each test is an attack, and beside it somebody who must not suffer.

let rig: Rig;

function begin(options: RigOptions = {}): void {
  rig = newRig(options);
}

function connect(): Wire {
  return connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
}

async function open(name = 'disk'): Promise<Wire> {
  const wire = connect();
  await wire.client.open(name);
  return wire;
}

afterEach(async () => {
  rig.driver.letGo();
  await rig.server.close();
  assertNoLeak(rig);
});

/** Steps of trim and write zeroes that the device has. */
function heldSteps(): number {
  return rig.driver.held.filter(({ type }) => type === IoType.WriteZeroes || type === IoType.Unmap).length;
}

describe('a client that has its export zeroed', () => {
  const GiB = 1024 * MiB;

  async function beginZeroing(command: number, requests: number): Promise<Wire> {
    begin({ device: { blockSize: 4096, numBlocks: 256 } });
    rig.bdev.resize((8 * GiB) / 4096);
    const wire = await open();
    rig.driver.isHolding = true;
    for (let i = 0; i < requests; i++) wire.push(requestBytes('structured', command, 0, BigInt(i), 0, 2 * GiB));
    await until(() => heldSteps() > 0, 'the device has a step');
    return wire;
  }

  it.each([
    ['write zeroes', cmd.writeZeroes],
    ['trim', cmd.trim],
  ])('gives its device a few steps at a time: %s', async (_name, command) => {
    const wire = await beginZeroing(command, 200);
    expect(rig.driver.held.length).toBeLessThanOrEqual(4);
    for (const { numBlocks } of rig.driver.held) expect(numBlocks * 4096).toBeLessThanOrEqual(64 * MiB);
    wire.hangUp();
  });

  it('and leaves, leaves nothing more to be done', async () => {
    const wire = await beginZeroing(cmd.writeZeroes, 200);
    wire.hangUp();
    const steps = rig.driver.calls.length;
    rig.driver.letGo();
    await until(() => rig.server.connectionCount === 0, 'its place is free');
    expect(rig.driver.calls.length).toBe(steps);
  });

  it('does not hold up the end of the export, and is told nothing that is not so', async () => {
    const wire = await beginZeroing(cmd.writeZeroes, 20);
    let hasAnswer = false;
    void wire.client.expectReply(0n, cmd.writeZeroes, 0, 2 * GiB).then(
      () => (hasAnswer = true),
      () => undefined,
    );
    const steps = rig.driver.calls.length;
    const removed = rig.server.removeExport('disk');
    rig.driver.letGo();
    await removed;
    expect(rig.driver.calls.length).toBe(steps);
    expect(wire.isFinished).toBe(true);
    expect(hasAnswer).toBe(false);
  });

  it('and says good-bye in the middle, has it done', async () => {
    const wire = await beginZeroing(cmd.writeZeroes, 1);
    wire.push(requestBytes('structured', cmd.disc, 0, 9n, 0, 0));
    rig.driver.letGo();
    await wire.client.ended();
    expect(rig.driver.calls.filter(({ type }) => type === IoType.WriteZeroes)).toHaveLength(2048 / 64);
  });
});

describe('writes of parts of one block, thousands behind write zeroes', () => {
  it('are all answered, and so are reads of another export meanwhile', async () => {
    begin({ device: { blockSize: 4096, numBlocks: 256 }, memoryBytes: 128 * MiB });
    const other = addDevice(rig.registry, { name: 'm1' });
    rig.server.addExport({ name: 'other', bdev: other.bdev });
    const victim = await open('other');
    const wires = await Promise.all(Array.from({ length: 24 }, () => open()));
    rig.driver.isHolding = true;
    const replies = [wires[0]!.client.request(cmd.writeZeroes, 0, MiB)];
    await until(() => heldSteps() === 1, 'the zeroes are under way');
    for (const { client } of wires) {
      for (let i = 0; i < 255; i++) replies.push(client.pwrite(512 * (i % 7), Buffer.alloc(512, i)));
    }
    rig.driver.letGo();
    let reads = 0;
    let isOver = false;
    const all = Promise.all(replies).then((answers) => {
      isOver = true;
      return answers;
    });
    while (!isOver) {
      expect((await victim.client.pread(0, 4096)).errno).toBe(0);
      reads++;
    }
    for (const { errno } of await all) expect(errno).toBe(0);
    // A read goes through several turns of the event loop; the writes' steps are spread over many more.
    expect(reads).toBeGreaterThan(100);
  });
});
