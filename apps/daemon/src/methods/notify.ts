import { z } from 'zod';
import { Notifications } from '../notifications.js';
import { invalidParams, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import type { Service } from '../service.js';
import { u64 } from './schemas.js';

/** SPDK's methods that report devices that were added and removed. */
export function notifyMethods({ registry }: Service): RpcMethod[] {
  const notifications = new Notifications();
  registry.addListener({
    onRegistered: (bdev) => notifications.add('bdev_register', bdev.name),
    onUnregistered: (bdev) => notifications.add('bdev_unregister', bdev.name),
  });
  return [
    method({
      name: 'notify_get_types',
      params: null,
      run: () => Promise.resolve(['bdev_register', 'bdev_unregister']),
    }),
    method({
      name: 'notify_get_notifications',
      params: z.strictObject({ id: u64.optional(), max: u64.optional() }),
      badParams: invalidParams,
      run: ({ id = 0, max = Infinity }) => Promise.resolve(notifications.list(id, max)),
    }),
  ];
}
