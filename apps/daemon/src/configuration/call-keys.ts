import type { ConfigCall } from './config-file.js';

/** Key of what a call makes or sets, such as `bdev d0`, `export v` or `options`. A later call with the same key replaces it. */
export function keyOf({ method, params = {} }: ConfigCall): string {
  const text = (name: string): string => String(params[name]);
  if (method === 'bdev_error_create') return `bdev EE_${text('base_name')}`;
  if (method === 'raidkit_add_spare') return `spare ${text('bdev_name')}`;
  if (method === 'raidkit_nbd_export') return `export ${String(params.name ?? params.bdev_name)}`;
  if (method === 'bdev_set_qos_limit') return `qos ${text('name')}`;
  if (method === 'nbd_start_disk') return `kernel ${String(params.nbd_device ?? params.bdev_name)}`;
  if (method === 'bdev_examine') return `examine ${text('name')}`;
  if (/^bdev_.*_create$/.test(method)) return `bdev ${text('name')}`;
  return `call ${method}`;
}

/** Key of what a call removes; null if it removes nothing. */
export function removedKeyOf({ method, params = {} }: ConfigCall): string | null {
  const name = String(params.name);
  if (method === 'raidkit_remove_spare') return `spare ${String(params.bdev_name)}`;
  if (method === 'raidkit_nbd_unexport') return `export ${name}`;
  if (method === 'nbd_stop_disk') return `kernel ${String(params.nbd_device)}`;
  // The call may remove limits; those that remain are read back from the device.
  if (method === 'bdev_set_qos_limit') return `qos ${name}`;
  if (method === 'raidkit_stop' || /^bdev_.*_delete$/.test(method)) return `bdev ${name}`;
  return null;
}

/** Whether a delete call applies to what the other call made. Devices of all kinds share one name space. */
export function takesAway(method: string, made: string): boolean {
  const deleted = /^bdev_(.*)_delete$/.exec(method)?.[1];
  const kindOf = (kind: string): string => (kind === 'uring' ? 'aio' : kind);
  return deleted === undefined || kindOf(deleted) === kindOf(/^bdev_(.*)_create$/.exec(made)?.[1] ?? deleted);
}

/** Name of the base device or of the device that a call is about; null for none. */
export function baseOf({ method, params = {} }: ConfigCall): string | null {
  const base = {
    bdev_passthru_create: params.base_bdev_name,
    bdev_delay_create: params.base_bdev_name,
    bdev_error_create: params.base_name,
    raidkit_add_spare: params.bdev_name,
    raidkit_nbd_export: params.bdev_name,
    bdev_set_qos_limit: params.name,
    nbd_start_disk: params.bdev_name,
    bdev_examine: params.name,
  }[method];
  return typeof base === 'string' ? base : null;
}

/** Whether the call may change the configuration. */
export function changesConfiguration(method: string): boolean {
  return !/_(get|wait)_|^(log|notify|rpc|spdk|trace|thread)_|^bdev_(enable_histogram|reset_iostat)$|^raidkit_examine$/.test(
    `${method}_`,
  );
}
