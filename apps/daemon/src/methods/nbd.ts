import { z } from 'zod';
import type { Service } from '../service.js';
import { internalFailed, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { errnoRefusal } from '../rpc/errors.js';
import { name } from './schemas.js';

/** SPDK's methods that attach a device to the kernel's NBD client. */
export function nbdMethods({ attachments }: Service): RpcMethod[] {
  return [
    method({
      name: 'nbd_start_disk',
      params: z.strictObject({ bdev_name: name, nbd_device: z.string().optional() }),
      badParams: internalFailed,
      run: (params) => attachments.attach(params.bdev_name, params.nbd_device),
    }),
    method({
      name: 'nbd_stop_disk',
      params: z.strictObject({ nbd_device: z.string() }),
      badParams: internalFailed,
      async run(params) {
        await attachments.detach(params.nbd_device);
        return true;
      },
    }),
    method({
      name: 'nbd_get_disks',
      params: z.strictObject({ nbd_device: z.string().optional() }),
      badParams: internalFailed,
      run(params) {
        const wanted = params.nbd_device;
        if (wanted !== undefined && !attachments.has(wanted)) throw errnoRefusal(19, `${wanted} is not attached`);
        const disks = attachments.list().filter(({ device }) => wanted === undefined || device === wanted);
        return Promise.resolve(disks.map(({ bdevName, device }) => ({ nbd_device: device, bdev_name: bdevName })));
      },
    }),
  ];
}
