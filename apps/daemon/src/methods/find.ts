import type { Bdev } from '@raidkit/bdev';
import { z } from 'zod';
import type { Service } from '../service.js';
import { internalFailed, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { errnoRefusal } from '../rpc/errors.js';
import { name } from './schemas.js';

/** Returns the device if it is of this kind; otherwise throws ENODEV. */
export function findOf({ registry }: Service, wanted: string, kind: string): Bdev {
  const bdev = registry.get(wanted);
  if (bdev?.driver.kind !== kind || bdev.state !== 'registered') {
    const reason =
      bdev === undefined
        ? `there is no bdev ${wanted}`
        : `bdev ${wanted} is a ${bdev.driver.productName}${bdev.state === 'registered' ? '' : ' that is being removed'}, and the method is for devices of kind ${kind}`;
    throw errnoRefusal(19, reason);
  }
  return bdev;
}

/** Makes a method that deletes a device of one kind by name. */
export function deleteMethod(
  service: Service,
  methodName: string,
  kind: string,
  badParams: NonNullable<RpcMethod['badParams']> = internalFailed,
): RpcMethod {
  return method({
    name: methodName,
    params: z.strictObject({ name }),
    badParams,
    async run(params) {
      await service.registry.unregister(findOf(service, params.name, kind));
      return true;
    },
  });
}
