import { z } from 'zod';
import type { MethodParams } from './params.js';
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

/** The methods whose answers this package knows; all that there are, are in docs/rpc.md. */
export const methods = {
  'rpc.discover': { result: openRpcSchema },
  rpc_get_methods: { result: z.array(z.string()) },
  spdk_get_version: { result: versionSchema },
  framework_get_config: { result: z.array(configCallSchema) },
  framework_wait_init: { result: z.boolean() },

  bdev_get_bdevs: { result: z.array(bdevSchema) },
  bdev_get_iostat: { result: iostatSchema },
  bdev_examine: { result: z.boolean() },
  bdev_wait_for_examine: { result: z.boolean() },
  bdev_aio_create: { result: z.string() },
  bdev_aio_rescan: { result: z.boolean() },
  bdev_aio_delete: { result: z.boolean() },

  bdev_raid_create: { result: z.boolean() },
  bdev_raid_delete: { result: z.boolean() },
  bdev_raid_get_bdevs: { result: z.array(raidBdevSchema) },
  bdev_raid_add_base_bdev: { result: z.boolean() },
  bdev_raid_remove_base_bdev: { result: z.boolean() },
  bdev_raid_set_options: { result: z.boolean() },

  nbd_start_disk: { result: z.string() },
  nbd_stop_disk: { result: z.boolean() },
  nbd_get_disks: { result: z.array(kernelDiskSchema) },

  raidkit_get_arrays: { result: z.array(arraySchema) },
  raidkit_get_configuration: { result: configurationSchema },
  raidkit_rescan: { result: configurationSchema },
  raidkit_start_found: { result: z.boolean() },
  raidkit_get_events: { result: eventPageSchema },
  raidkit_get_schedule: { result: scheduleSchema },
  raidkit_get_event_sinks: { result: z.array(eventSinkSchema) },
  raidkit_send_test_event: { result: eventSchema },
  raidkit_get_modules: { result: z.array(moduleSchema) },
  raidkit_examine: { result: examinationSchema },
  raidkit_assemble: { result: raidBdevSchema },
  raidkit_trust_parity: { result: z.boolean() },
  raidkit_start_process: { result: z.boolean() },
  raidkit_control_process: { result: processSchema },
  raidkit_replace: { result: z.boolean() },
  raidkit_clear_errors: { result: z.boolean() },
  raidkit_fail: { result: z.boolean() },
  raidkit_get_latency: { result: z.array(latencySchema) },
  raidkit_add_spare: { result: z.boolean() },
  raidkit_remove_spare: { result: z.boolean() },
  raidkit_get_spares: { result: z.array(spareSchema) },
  raidkit_wipe: { result: z.boolean() },
  raidkit_stop: { result: z.boolean() },
  raidkit_nbd_export: { result: z.looseObject({ name: z.string(), uris: z.array(z.string()) }) },
  raidkit_nbd_unexport: { result: z.boolean() },
  raidkit_nbd_get_clients: { result: z.array(nbdClientSchema) },
  raidkit_nbd_get_exports: { result: z.array(exportSchema) },
} as const;

export type MethodName = keyof typeof methods;
export type ParamsOf<M extends MethodName> = M extends keyof MethodParams ? MethodParams[M] : undefined;
export type ResultOf<M extends MethodName> = z.infer<(typeof methods)[M]['result']>;
