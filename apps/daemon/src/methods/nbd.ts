import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { z } from 'zod';
import type { Exports } from '../exports.js';
import type { Service } from '../service.js';
import { internalFailed, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { RpcError, errnoRefusal } from '../rpc/errors.js';
import { name } from './schemas.js';

/** Kernel NBD devices that are looked at when none is named. */
const mostDevices = 64;

/**
 * SPDK's methods that attach a device to the kernel's NBD client. SPDK talks to the kernel itself; here nbd-client(8) is
 * told to connect to one of our own Unix sockets.
 */
export function nbdMethods(service: Service): RpcMethod[] {
  const attached = new Map<string, string>();
  return [
    method({
      name: 'nbd_start_disk',
      params: z.strictObject({ bdev_name: name, nbd_device: z.string().optional() }),
      badParams: internalFailed,
      async run(params) {
        const { bdev_name: bdevName } = params;
        if (service.registry.get(bdevName) === undefined) throw errnoRefusal(19, `there is no bdev ${bdevName}`);
        const device = params.nbd_device ?? freeDevice(attached);
        if (!existsSync(device)) {
          throw new RpcError(
            -19,
            `${device} does not exist: the kernel's nbd module is not loaded. Use the volume's NBD URI instead (raidkit_nbd_get_exports).`,
          );
        }
        if (!service.names.take(`kernel ${device}`)) throw errnoRefusal(16, `${device} is attached already`);
        try {
          const path = service.exports.unixPath;
          if (path === null)
            throw new RpcError(
              -22,
              'there is no NBD Unix socket to connect the kernel to: start raidkitd with --nbd unix:PATH',
            );
          if (service.exports.isTlsRequired)
            throw new RpcError(-22, 'the kernel is attached without TLS, which --tls require refuses');
          await attach(service.exports, { bdevName, path, device });
        } catch (error) {
          service.names.release(`kernel ${device}`);
          throw error;
        }
        attached.set(device, bdevName);
        return device;
      },
    }),
    method({
      name: 'nbd_stop_disk',
      params: z.strictObject({ nbd_device: z.string() }),
      badParams: internalFailed,
      async run(params) {
        if (!attached.has(params.nbd_device)) throw errnoRefusal(19, `${params.nbd_device} is not attached`);
        await runClient(['-d', params.nbd_device]);
        attached.delete(params.nbd_device);
        service.names.release(`kernel ${params.nbd_device}`);
        return true;
      },
    }),
    method({
      name: 'nbd_get_disks',
      params: z.strictObject({ nbd_device: z.string().optional() }),
      badParams: internalFailed,
      run(params) {
        const wanted = params.nbd_device;
        if (wanted !== undefined && !attached.has(wanted)) throw errnoRefusal(19, `${wanted} is not attached`);
        const disks = [...attached].filter(([device]) => wanted === undefined || device === wanted);
        return Promise.resolve(disks.map(([device, bdevName]) => ({ nbd_device: device, bdev_name: bdevName })));
      },
    }),
  ];
}

/** Has the kernel connect to the export of the device, which is made if there is none, and taken back if that fails. */
async function attach(
  exports: Exports,
  { bdevName, path, device }: { bdevName: string; path: string; device: string },
): Promise<void> {
  const isExported = exports.list().some((entry) => entry.name === bdevName);
  if (!isExported) exports.add({ bdevName });
  try {
    await runClient(['-unix', path, '-N', bdevName, device]);
  } catch (error) {
    const isThere = exports.list().some((entry) => entry.name === bdevName);
    if (!isExported && isThere) await exports.remove(bdevName);
    throw error;
  }
}

function freeDevice(attached: ReadonlyMap<string, string>): string {
  for (let index = 0; index < mostDevices; index++) {
    const device = `/dev/nbd${index}`;
    // A connected device has a pid in sysfs.
    if (existsSync(device) && !attached.has(device) && !existsSync(`/sys/block/nbd${index}/pid`)) return device;
  }
  return '/dev/nbd0';
}

function runClient(args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('nbd-client', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (piece: Buffer) => (text += piece.toString()));
    child.on('error', () => reject(new RpcError(-2, 'nbd-client is not installed: the kernel cannot be attached without it')));
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new RpcError(-5, `nbd-client failed: ${text.trim()}`));
    });
  });
}
