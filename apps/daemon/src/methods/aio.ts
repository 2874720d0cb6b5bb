import { openLinuxBdev, rescan } from '@raidkit/backend-linux';
import { z } from 'zod';
import type { Service } from '../service.js';
import { internalFailed, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { deleteMethod, findOf } from './find.js';
import { name, u32, uuid } from './schemas.js';

const createParams = z.strictObject({
  name,
  filename: z.string().min(1),
  block_size: u32.optional(),
  readonly: z.boolean().optional(),
  fallocate: z.boolean().optional(),
  uuid: uuid.optional(),
  // A parameter of SPDK's, without effect: raidkit's calls never block.
  nowait: z.boolean().optional(),
  // raidkit's own: bypass the page cache if possible (the default), or fail, or never.
  direct_io: z.enum(['auto', 'require', 'never']).optional(),
});

/** SPDK's methods for block devices and files. `aio` and `uring` mean the same here. */
export function aioMethods(service: Service): RpcMethod[] {
  const create = (methodName: string): RpcMethod =>
    method({
      name: methodName,
      params: createParams,
      badParams: internalFailed,
      async run(params) {
        const { block_size: blockSize } = params;
        const bdev = await openLinuxBdev(service.registry, {
          name: params.name,
          path: params.filename,
          check: (realPath) => service.allowedDevices.check('filename', params.filename, realPath),
          ...(blockSize === undefined || blockSize === 0 ? {} : { blockSize }),
          ...(params.uuid === undefined ? {} : { uuid: params.uuid }),
          ...(params.readonly === undefined ? {} : { readOnly: params.readonly }),
          ...(params.fallocate === undefined ? {} : { fallocate: params.fallocate }),
          ...(params.direct_io === undefined ? {} : { directIo: params.direct_io }),
        });
        return bdev.name;
      },
    });
  const rescanMethod = (methodName: string): RpcMethod =>
    method({
      name: methodName,
      params: z.strictObject({ name }),
      badParams: internalFailed,
      async run(params) {
        await rescan(findOf(service, params.name, 'aio'));
        return true;
      },
    });
  return [
    create('bdev_aio_create'),
    rescanMethod('bdev_aio_rescan'),
    deleteMethod(service, 'bdev_aio_delete', 'aio'),
    create('bdev_uring_create'),
    rescanMethod('bdev_uring_rescan'),
    deleteMethod(service, 'bdev_uring_delete', 'aio'),
  ];
}
