import { z } from 'zod';
import type { clientRuleSchema } from './results.js';
import {
  arraySchema,
  bdevSchema,
  configCallSchema,
  configurationSchema,
  eventPageSchema,
  eventSchema,
  eventSinkSchema,
  examinationSchema,
  exportSchema,
  iostatSchema,
  kernelDiskSchema,
  latencySchema,
  moduleSchema,
  nbdClientSchema,
  openRpcSchema,
  processSchema,
  raidBdevSchema,
  scheduleSchema,
  spareSchema,
  versionSchema,
} from './results.js';

interface Method<Params, Result extends z.ZodType> {
  readonly result: Result;
  /** Only a type: the daemon is the one that checks parameters. */
  readonly params?: Params;
}

function method<Params>(): <Result extends z.ZodType>(result: Result) => Method<Params, Result> {
  return (result) => ({ result });
}

/** An array, or whatever has a name; arrays by uuid too. */
interface Named {
  name: string;
}

interface OpenDevice {
  name: string;
  filename: string;
  block_size?: number;
  readonly?: boolean;
  fallocate?: boolean;
  uuid?: string;
  direct_io?: 'auto' | 'require' | 'never';
}

/** The methods that this package knows, with their parameters and answers; all of them are in docs/rpc.md. */
export const methods = {
  'rpc.discover': method<undefined>()(openRpcSchema),
  rpc_get_methods: method<{ current?: boolean; include_aliases?: boolean }>()(z.array(z.string())),
  spdk_get_version: method<undefined>()(versionSchema),
  framework_get_config: method<Named>()(z.array(configCallSchema)),
  framework_wait_init: method<undefined>()(z.boolean()),

  bdev_get_bdevs: method<Partial<Named> & { timeout?: number }>()(z.array(bdevSchema)),
  bdev_get_iostat: method<Partial<Named>>()(iostatSchema),
  bdev_examine: method<Named>()(z.boolean()),
  bdev_wait_for_examine: method<undefined>()(z.boolean()),
  bdev_aio_create: method<OpenDevice>()(z.string()),
  bdev_aio_rescan: method<Named>()(z.boolean()),
  bdev_aio_delete: method<Named>()(z.boolean()),

  bdev_raid_create: method<{
    name: string;
    raid_level: string;
    base_bdevs: (string | null)[];
    strip_size_kb?: number;
    uuid?: string;
    superblock?: boolean;
    level_options?: Record<string, unknown>;
    force?: boolean;
  }>()(z.boolean()),
  bdev_raid_delete: method<Named & { clear_sb?: boolean }>()(z.boolean()),
  bdev_raid_get_bdevs: method<{ category: 'all' | 'online' | 'configuring' | 'offline' }>()(z.array(raidBdevSchema)),
  bdev_raid_add_base_bdev: method<{ raid_bdev: string; base_bdev: string }>()(z.boolean()),
  bdev_raid_remove_base_bdev: method<Named>()(z.boolean()),
  bdev_raid_set_options: method<Record<string, number>>()(z.boolean()),

  nbd_start_disk: method<{ bdev_name: string; nbd_device?: string }>()(z.string()),
  nbd_stop_disk: method<{ nbd_device: string }>()(z.boolean()),
  nbd_get_disks: method<{ nbd_device?: string }>()(z.array(kernelDiskSchema)),

  raidkit_get_arrays: method<Partial<Named>>()(z.array(arraySchema)),
  raidkit_get_configuration: method<undefined>()(configurationSchema),
  raidkit_rescan: method<undefined>()(configurationSchema),
  raidkit_start_found: method<Named>()(z.boolean()),
  raidkit_get_events: method<{ since?: number; max?: number; wait_ms?: number }>()(eventPageSchema),
  raidkit_get_schedule: method<undefined>()(scheduleSchema),
  raidkit_get_event_sinks: method<undefined>()(z.array(eventSinkSchema)),
  raidkit_send_test_event: method<{ message?: string }>()(eventSchema),
  raidkit_get_modules: method<undefined>()(z.array(moduleSchema)),
  raidkit_examine: method<{ bdev_name: string }>()(examinationSchema),
  raidkit_assemble: method<Named & { force?: boolean; read_only?: boolean }>()(raidBdevSchema),
  raidkit_trust_parity: method<Named>()(z.boolean()),
  raidkit_start_process: method<
    Named & {
      type: 'resync' | 'check' | 'repair';
      source?: string;
      wrong?: string;
      from_block?: number;
      max_bandwidth_mb_sec?: number;
    }
  >()(z.boolean()),
  raidkit_control_process: method<
    Named & {
      /** Of the process that is meant. */
      type?: string;
      action?: 'pause' | 'resume' | 'cancel';
      max_bandwidth_mb_sec?: number | null;
      min_bandwidth_mb_sec?: number | null;
    }
  >()(processSchema),
  raidkit_replace: method<Named & { member: string; bdev_name: string }>()(z.boolean()),
  raidkit_clear_errors: method<Named>()(z.boolean()),
  raidkit_fail: method<Named & { member: string }>()(z.boolean()),
  raidkit_get_latency: method<Partial<Named>>()(z.array(latencySchema)),
  raidkit_add_spare: method<{ bdev_name: string; name?: string }>()(z.boolean()),
  raidkit_remove_spare: method<{ bdev_name: string }>()(z.boolean()),
  raidkit_get_spares: method<undefined>()(z.array(spareSchema)),
  raidkit_wipe: method<{ bdev_name: string }>()(z.boolean()),
  raidkit_stop: method<Named>()(z.boolean()),
  raidkit_nbd_export: method<{
    bdev_name: string;
    name?: string;
    read_only?: boolean;
    description?: string;
    clients?: z.infer<typeof clientRuleSchema>[];
  }>()(z.looseObject({ name: z.string(), uris: z.array(z.string()) })),
  raidkit_nbd_unexport: method<Named>()(z.boolean()),
  raidkit_nbd_get_clients: method<undefined>()(z.array(nbdClientSchema)),
  raidkit_nbd_get_exports: method<undefined>()(z.array(exportSchema)),
} as const;

export type MethodName = keyof typeof methods;
export type ParamsOf<M extends MethodName> =
  Exclude<(typeof methods)[M]['params'], undefined> extends never
    ? undefined
    : Exclude<(typeof methods)[M]['params'], undefined>;
export type ResultOf<M extends MethodName> = z.infer<(typeof methods)[M]['result']>;
