import { createMallocBdev, createNullBdev, resizeNullBdev } from '@raidkit/backend-virtual';
import { z } from 'zod';
import type { Service } from '../service.js';
import { internalFailed, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { RpcError, errnoOf, errnoRefusal } from '../rpc/errors.js';
import { deleteMethod, findOf } from './find.js';
import { i32, name, u32, u64, uuid } from './schemas.js';

/** Per-block metadata is not supported; its parameters are accepted if they do not ask for any. */
const noMetadata = {
  md_size: z.literal(0).optional(),
  md_interleave: z.boolean().optional(),
  dif_type: z.literal(0).optional(),
  dif_is_head_of_md: z.boolean().optional(),
  dif_pi_format: z.literal(0).optional(),
  numa_id: i32.optional(),
  preferred_write_alignment: u32.optional(),
  preferred_write_granularity: u32.optional(),
  optimal_write_size: u32.optional(),
  preferred_unmap_alignment: u32.optional(),
  preferred_unmap_granularity: u32.optional(),
};

/** SPDK's methods for devices in memory. */
export function mallocMethods(service: Service): RpcMethod[] {
  const { registry } = service;
  /**
   * raidkit's own: the reactor that must have the device. The router sends a call to the reactor it names, or to the first if
   * that does not exist.
   */
  const checkReactor = (wanted = service.reactor.index): void => {
    const { count } = service.reactor;
    if (wanted >= count)
      throw new RpcError(
        -22,
        `reactor: there is no reactor ${wanted}, only ${count === 1 ? 'reactor 0' : `0 to ${count - 1}`}`,
      );
  };
  return [
    method({
      name: 'bdev_malloc_create',
      params: z.strictObject({
        num_blocks: u64,
        block_size: u32,
        name: name.optional(),
        uuid: uuid.optional(),
        physical_block_size: u32.optional(),
        optimal_io_boundary: u32.optional(),
        reactor: u32.optional(),
        ...noMetadata,
      }),
      badParams: internalFailed,
      async run(params) {
        checkReactor(params.reactor);
        const options = {
          numBlocks: params.num_blocks,
          blockSize: params.block_size,
          ...(params.name === undefined ? {} : { name: params.name }),
          ...(params.uuid === undefined ? {} : { uuid: params.uuid }),
          ...(params.physical_block_size === undefined ? {} : { physicalBlockSize: params.physical_block_size }),
          ...(params.optimal_io_boundary === undefined ? {} : { optimalIoBoundary: params.optimal_io_boundary }),
        };
        const isAllRandom = params.name === undefined && params.uuid === undefined;
        for (;;) {
          try {
            return (await createMallocBdev(registry, options)).name;
          } catch (error) {
            // The next free name may be taken by another reactor's device; then the one after it is tried.
            if (!isAllRandom || errnoOf(error) !== 17) throw error;
          }
        }
      },
    }),
    deleteMethod(service, 'bdev_malloc_delete', 'malloc'),
    method({
      name: 'bdev_null_create',
      params: z.strictObject({
        name,
        num_blocks: u64,
        block_size: u32,
        uuid: uuid.optional(),
        physical_block_size: u32.optional(),
        reactor: u32.optional(),
        ...noMetadata,
      }),
      badParams: internalFailed,
      async run(params) {
        checkReactor(params.reactor);
        const bdev = await createNullBdev(registry, {
          name: params.name,
          numBlocks: params.num_blocks,
          blockSize: params.block_size,
          ...(params.uuid === undefined ? {} : { uuid: params.uuid }),
          ...(params.physical_block_size === undefined ? {} : { physicalBlockSize: params.physical_block_size }),
        });
        return bdev.name;
      },
    }),
    deleteMethod(service, 'bdev_null_delete', 'null'),
    method({
      name: 'bdev_null_resize',
      params: z.strictObject({ name, new_size: u64 }),
      badParams: internalFailed,
      run(params) {
        const bdev = findOf(service, params.name, 'null');
        const numBlocks = (params.new_size * 1024 * 1024) / bdev.blockSize;
        if (!Number.isSafeInteger(numBlocks) || numBlocks < 1)
          throw errnoRefusal(22, `new_size must be 1 MiB or more, and whole blocks of ${bdev.blockSize} bytes`);
        resizeNullBdev(bdev, numBlocks);
        return Promise.resolve(true);
      },
    }),
  ];
}
