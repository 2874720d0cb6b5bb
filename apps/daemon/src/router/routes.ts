/** Where a call is sent. */
export type Route =
  /** To the first reactor, since all would answer the same. */
  | { readonly to: 'first' }
  /** To the reactor that has the object named by this parameter; if none has, to the first, which refuses the call. */
  | { readonly to: 'owner'; readonly of: 'bdev' | 'array' | 'export'; readonly by: string }
  /** To all reactors, the first before the others, so that a call which it refuses has no effect. */
  | { readonly to: 'all' }
  /** To all reactors, or to that of the device that the call names; the answers are merged. */
  | { readonly to: 'each'; readonly merge: Merge; readonly unless?: string }
  /** To one reactor after another, until one knows the object. */
  | { readonly to: 'search' }
  /** The router handles the call itself. */
  | { readonly to: 'router'; readonly how: Special };

/** How answers are merged. */
export type Merge = 'bdevs' | 'arrays' | 'exports' | 'lists' | 'disks' | 'iostat' | 'threads' | 'config' | 'nothing';

/** Calls that the router handles itself. */
export type Special =
  | 'getBdevs'
  | 'createVirtual'
  | 'openDevice'
  | 'createArray'
  | 'addMember'
  | 'growArray'
  | 'replaceMember'
  | 'addSpare'
  | 'iostat'
  | 'notifications';

const first: Route = { to: 'first' };
const all: Route = { to: 'all' };
const bdev = (by = 'name'): Route => ({ to: 'owner', of: 'bdev', by });
const array = (by = 'name'): Route => ({ to: 'owner', of: 'array', by });
const router = (how: Special): Route => ({ to: 'router', how });

/** Routes of all methods of the daemon. A test fails if one is missing. */
export const routes: Readonly<Record<string, Route>> = {
  'rpc.discover': first,
  rpc_get_methods: first,
  spdk_get_version: first,
  spdk_kill_instance: first,
  framework_start_init: all,
  framework_wait_init: first,
  raidkit_allow: all,
  framework_get_subsystems: first,
  framework_get_config: { to: 'each', merge: 'config' },

  log_get_flags: first,
  log_set_flag: all,
  log_clear_flag: all,
  log_get_print_level: first,
  log_set_print_level: all,
  log_get_level: first,
  log_set_level: all,
  log_enable_timestamps: all,

  raidkit_get_reactors: { to: 'each', merge: 'lists' },
  thread_get_stats: { to: 'each', merge: 'threads' },

  bdev_get_bdevs: router('getBdevs'),
  bdev_get_iostat: router('iostat'),
  bdev_reset_iostat: router('iostat'),
  bdev_enable_histogram: bdev(),
  bdev_get_histogram: bdev(),
  bdev_set_qos_limit: bdev(),
  bdev_wait_for_examine: all,
  bdev_examine: bdev(),
  bdev_set_options: all,

  bdev_malloc_create: router('createVirtual'),
  bdev_malloc_delete: bdev(),
  bdev_null_create: router('createVirtual'),
  bdev_null_delete: bdev(),
  bdev_null_resize: bdev(),
  bdev_aio_create: router('openDevice'),
  bdev_aio_rescan: bdev(),
  bdev_aio_delete: bdev(),
  bdev_uring_create: router('openDevice'),
  bdev_uring_rescan: bdev(),
  bdev_uring_delete: bdev(),
  // Devices go to the reactor of their base.
  bdev_passthru_create: bdev('base_bdev_name'),
  bdev_passthru_delete: bdev(),
  bdev_delay_create: bdev('base_bdev_name'),
  bdev_delay_delete: bdev(),
  bdev_delay_update_latency: bdev('delay_bdev_name'),
  bdev_error_create: bdev('base_name'),
  bdev_error_delete: bdev(),
  bdev_error_inject_error: bdev(),
  bdev_error_resume_pending: bdev(),

  bdev_raid_create: router('createArray'),
  bdev_raid_delete: array(),
  bdev_raid_get_bdevs: { to: 'each', merge: 'arrays' },
  bdev_raid_add_base_bdev: router('addMember'),
  bdev_raid_grow_base_bdev: router('growArray'),
  bdev_raid_remove_base_bdev: bdev(),
  bdev_raid_set_options: all,

  notify_get_types: first,
  notify_get_notifications: router('notifications'),

  nbd_start_disk: bdev('bdev_name'),
  nbd_stop_disk: { to: 'search' },
  nbd_get_disks: { to: 'each', merge: 'disks' },

  raidkit_nbd_export: bdev('bdev_name'),
  raidkit_nbd_unexport: { to: 'owner', of: 'export', by: 'name' },
  raidkit_nbd_get_exports: { to: 'each', merge: 'exports' },
  raidkit_nbd_get_clients: { to: 'each', merge: 'lists' },
  raidkit_get_modules: first,
  raidkit_get_arrays: { to: 'each', merge: 'arrays', unless: 'name' },
  raidkit_get_latency: { to: 'each', merge: 'bdevs', unless: 'name' },
  raidkit_examine: bdev('bdev_name'),
  raidkit_set_unexamined: all,
  raidkit_assemble: array(),
  raidkit_trust_parity: array(),
  raidkit_start_process: array(),
  raidkit_control_process: array(),
  raidkit_fail: array(),
  raidkit_remove_slot: array(),
  raidkit_set_read_policy: array(),
  raidkit_integrity_enable: array(),
  raidkit_integrity_disable: array(),
  raidkit_replace: router('replaceMember'),
  raidkit_add_spare: router('addSpare'),
  raidkit_remove_spare: bdev('bdev_name'),
  raidkit_get_spares: { to: 'each', merge: 'lists' },
  raidkit_wipe: bdev('bdev_name'),
  raidkit_stop: array(),
};
