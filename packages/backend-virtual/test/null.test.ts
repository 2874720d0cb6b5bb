import { IoType } from '@raidkit/bdev';
import { createMallocBdev, createNullBdev, resizeNullBdev } from '@raidkit/backend-virtual';
import { describe, expect, it } from 'vitest';
import { expectBytes, newRegistry, openClient, pattern } from './kit.js';

describe('null bdev', () => {
  it('forgets what is written and never shows other data', async () => {
    const registry = newRegistry();
    const client = openClient(registry, await createNullBdev(registry, { blockSize: 512, numBlocks: 1000 }));
    const other = openClient(registry, await createMallocBdev(registry, { blockSize: 512, numBlocks: 1000 }));
    // The null device's reads get buffers that have just held these bytes.
    await other.write(0, pattern(512 * 1000, 3));
    await client.write(0, pattern(512 * 1000, 3));
    expectBytes(await client.read(0, 1000), new Uint8Array(512 * 1000));
    await client.writeZeroes(5, 10);
    await expect(client.unmap(0, 1)).rejects.toMatchObject({ errno: 95 });
    await client.flush();
  });

  it('grows, tells its users, and does not shrink', async () => {
    const registry = newRegistry();
    const bdev = await createNullBdev(registry, { name: 'N', blockSize: 512, numBlocks: 100 });
    const events: unknown[] = [];
    openClient(registry, bdev, (event) => events.push(event));
    resizeNullBdev(bdev, 200);
    resizeNullBdev(bdev, 200);
    expect(events).toEqual([{ type: 'resize', numBlocks: 200 }]);
    expect(() => resizeNullBdev(bdev, 199)).toThrow(/can only grow/);
    expect(() => resizeNullBdev(bdev, 200.5)).toThrow(/can only grow/);
    const malloc = await createMallocBdev(registry, { blockSize: 512, numBlocks: 8 });
    expect(() => resizeNullBdev(malloc, 100)).toThrow(expect.objectContaining({ errno: 19 }) as Error);
    expect(bdev.numBlocks).toBe(200);
  });

  it('is saved as the call that makes it again', async () => {
    const registry = newRegistry();
    const uuid = '11111111-2222-4333-8444-555555555555';
    const bdev = await createNullBdev(registry, { name: 'N', uuid, blockSize: 512, numBlocks: 100 });
    resizeNullBdev(bdev, 300);
    expect(JSON.stringify(bdev.driver.configCall?.())).toBe(
      '{"method":"bdev_null_create","params":{"name":"N","num_blocks":300,"block_size":512,"physical_block_size":512,' +
        `"md_size":0,"dif_type":0,"dif_is_head_of_md":false,"dif_pi_format":0,"uuid":"${uuid}"}}`,
    );
    expect(bdev.driver.productName).toBe('Null disk');
    expect([IoType.Read, IoType.Write, IoType.WriteZeroes, IoType.Reset].every((type) => bdev.supports(type))).toBe(true);
  });
});
