/* Made from what rpc.discover answers (apps/daemon/test/open-rpc.test.ts). */
/* eslint-disable @typescript-eslint/consistent-indexed-object-style -- as they are made */

/** What methods take, by the method's name; those that are not here take nothing. */

export interface MethodParams {
  bdev_aio_create: {
    name: string;
    filename: string;
    block_size?: number;
    readonly?: boolean;
    fallocate?: boolean;
    uuid?: string;
    nowait?: boolean;
    direct_io?: 'auto' | 'require' | 'never';
  };
  bdev_aio_delete: {
    name: string;
  };
  bdev_aio_rescan: {
    name: string;
  };
  bdev_delay_create: {
    base_bdev_name: string;
    name: string;
    avg_read_latency: number;
    p99_read_latency: number;
    avg_write_latency: number;
    p99_write_latency: number;
    uuid?: string;
  };
  bdev_delay_delete: {
    name: string;
  };
  bdev_delay_update_latency: {
    delay_bdev_name: string;
    latency_type: 'avg_read' | 'p99_read' | 'avg_write' | 'p99_write';
    latency_us: number;
  };
  bdev_enable_histogram: {
    name: string;
    enable: boolean;
    opc?: string;
    granularity?: number;
    min_nsec?: number;
    max_nsec?: number;
  };
  bdev_error_create: {
    base_name: string;
    uuid?: string;
  };
  bdev_error_delete: {
    name: string;
  };
  bdev_error_inject_error: {
    name: string;
    io_type: 'read' | 'write' | 'unmap' | 'flush' | 'reset' | 'all' | 'clear';
    error_type: 'failure' | 'nomem' | 'pending' | 'corrupt_data';
    num?: number;
    queue_depth?: number;
    corrupt_offset?: number;
    corrupt_value?: number;
  };
  bdev_error_resume_pending: {
    name: string;
  };
  bdev_examine: {
    name: string;
  };
  bdev_get_bdevs: {
    name?: string;
    timeout?: number;
  };
  bdev_get_histogram: {
    name: string;
  };
  bdev_get_iostat: {
    name?: string;
    names?: string[];
    per_channel?: boolean;
    reset_mode?: 'all' | 'maxmin' | 'none' | 'error';
  };
  bdev_malloc_create: {
    num_blocks: number;
    block_size: number;
    name?: string;
    uuid?: string;
    physical_block_size?: number;
    optimal_io_boundary?: number;
    reactor?: number;
    md_size?: 0;
    md_interleave?: boolean;
    dif_type?: 0;
    dif_is_head_of_md?: boolean;
    dif_pi_format?: 0;
    numa_id?: number;
    preferred_write_alignment?: number;
    preferred_write_granularity?: number;
    optimal_write_size?: number;
    preferred_unmap_alignment?: number;
    preferred_unmap_granularity?: number;
  };
  bdev_malloc_delete: {
    name: string;
  };
  bdev_null_create: {
    name: string;
    num_blocks: number;
    block_size: number;
    uuid?: string;
    physical_block_size?: number;
    reactor?: number;
    md_size?: 0;
    md_interleave?: boolean;
    dif_type?: 0;
    dif_is_head_of_md?: boolean;
    dif_pi_format?: 0;
    numa_id?: number;
    preferred_write_alignment?: number;
    preferred_write_granularity?: number;
    optimal_write_size?: number;
    preferred_unmap_alignment?: number;
    preferred_unmap_granularity?: number;
  };
  bdev_null_delete: {
    name: string;
  };
  bdev_null_resize: {
    name: string;
    new_size: number;
  };
  bdev_passthru_create: {
    base_bdev_name: string;
    name: string;
    uuid?: string;
  };
  bdev_passthru_delete: {
    name: string;
  };
  bdev_raid_add_base_bdev: {
    raid_bdev: string;
    base_bdev: string;
  };
  bdev_raid_create: {
    name: string;
    raid_level: string;
    /**
     * @maxItems 255
     */
    base_bdevs: (string | null)[];
    strip_size_kb?: number;
    uuid?: string;
    superblock?: boolean;
    integrity?: boolean;
    full_stripe_only?: boolean;
    level_options?: {
      [k: string]: unknown;
    };
    single?: boolean;
    read_policy?: 'least-outstanding' | 'round-robin';
    /**
     * @maxItems 255
     */
    prefer?: string[];
    /**
     * @maxItems 255
     */
    write_mostly?: string[];
    force?: boolean;
  };
  bdev_raid_delete: {
    name: string;
    clear_sb?: boolean;
  };
  bdev_raid_get_bdevs: {
    category: 'all' | 'online' | 'configuring' | 'offline';
  };
  bdev_raid_grow_base_bdev: {
    raid_name: string;
    base_name: string;
  };
  bdev_raid_remove_base_bdev: {
    name: string;
    force?: boolean;
  };
  bdev_raid_set_options: {
    process_window_size_kb?: number;
    process_max_bandwidth_mb_sec?: number;
    process_min_bandwidth_mb_sec?: number;
    process_latency_target_ms?: number;
    io_timeout_ms?: number;
    grace_sec?: number;
    absent_wait_ms?: number;
    degraded_start_sec?: number;
  };
  bdev_reset_iostat: {
    name?: string;
    names?: string[];
    mode?: 'all' | 'maxmin' | 'none' | 'error';
  };
  bdev_set_options: {
    bdev_io_pool_size?: number;
    bdev_io_cache_size?: number;
    bdev_auto_examine?: boolean;
    iobuf_small_cache_size?: number;
    iobuf_large_cache_size?: number;
  };
  bdev_set_qos_limit: {
    name: string;
    rw_ios_per_sec?: number;
    rw_mbytes_per_sec?: number;
    r_mbytes_per_sec?: number;
    w_mbytes_per_sec?: number;
  };
  bdev_uring_create: {
    name: string;
    filename: string;
    block_size?: number;
    readonly?: boolean;
    fallocate?: boolean;
    uuid?: string;
    nowait?: boolean;
    direct_io?: 'auto' | 'require' | 'never';
  };
  bdev_uring_delete: {
    name: string;
  };
  bdev_uring_rescan: {
    name: string;
  };
  framework_get_config: {
    name: string;
    with_batches?: boolean;
  };
  log_clear_flag: {
    flag: string;
  };
  log_enable_timestamps: {
    enabled: boolean;
  };
  log_set_flag: {
    flag: string;
  };
  log_set_level: {
    level: string;
  };
  log_set_print_level: {
    level: string;
  };
  nbd_get_disks: {
    nbd_device?: string;
  };
  nbd_start_disk: {
    bdev_name: string;
    nbd_device?: string;
  };
  nbd_stop_disk: {
    nbd_device: string;
  };
  notify_get_notifications: {
    id?: number;
    max?: number;
  };
  raidkit_add_spare: {
    bdev_name: string;
    name?: string;
  };
  raidkit_allow: {
    /**
     * @minItems 1
     * @maxItems 1000
     */
    devices?: string[];
    /**
     * @minItems 1
     * @maxItems 10000
     */
    arrays?: string[];
  };
  raidkit_assemble: {
    name: string;
    force?: boolean;
    read_only?: boolean;
  };
  raidkit_clear_errors: {
    name: string;
  };
  raidkit_control_process: {
    name: string;
    type?: 'rebuild' | 'replace' | 'resync' | 'resum' | 'sum' | 'check' | 'repair';
    action?: 'pause' | 'resume' | 'cancel';
    max_bandwidth_mb_sec?: number | null;
    min_bandwidth_mb_sec?: number | null;
  };
  raidkit_examine: {
    bdev_name: string;
  };
  raidkit_fail: {
    name: string;
    member: string;
    force?: boolean;
  };
  raidkit_get_arrays: {
    name?: string;
  };
  raidkit_get_disk_health: {
    look?: boolean;
  };
  raidkit_get_events: {
    since?: number;
    max?: number;
    wait_ms?: number;
  };
  raidkit_get_latency: {
    name?: string;
  };
  raidkit_integrity_disable: {
    name: string;
  };
  raidkit_integrity_enable: {
    name: string;
    when_room?: boolean;
  };
  raidkit_nbd_export: {
    bdev_name: string;
    name?: string;
    read_only?: boolean;
    description?: string;
    /**
     * @maxItems 1000
     */
    clients?: {
      listener?: string;
      tls_user?: string;
      certificate?: string;
      read_only?: boolean;
    }[];
  };
  raidkit_nbd_unexport: {
    name: string;
  };
  raidkit_remove_slot: {
    name: string;
    member?: string;
    slot?: number;
  };
  raidkit_remove_spare: {
    bdev_name: string;
  };
  raidkit_replace: {
    name: string;
    member: string;
    bdev_name: string;
  };
  raidkit_send_test_event: {
    message?: string;
  };
  raidkit_set_read_policy: {
    name: string;
    policy?: 'least-outstanding' | 'round-robin';
    /**
     * @maxItems 255
     */
    prefer?: string[];
    /**
     * @maxItems 255
     */
    write_mostly?: string[];
    /**
     * @maxItems 255
     */
    normal?: string[];
  };
  raidkit_set_unexamined: {
    names: string[];
    members?: string[];
  };
  raidkit_start_found: {
    name: string;
  };
  raidkit_start_process: {
    name: string;
    type: 'resync' | 'check' | 'repair';
    source?: string;
    wrong?: string;
    from_block?: number;
    max_bandwidth_mb_sec?: number;
  };
  raidkit_stop: {
    name: string;
  };
  raidkit_trust_parity: {
    name: string;
  };
  raidkit_wipe: {
    bdev_name: string;
  };
  rpc_get_methods: {
    current?: boolean;
    include_aliases?: boolean;
  };
  spdk_kill_instance: {
    sig_name: '2' | '3' | '9' | '15' | 'SIGINT' | 'SIGTERM' | 'INT' | 'TERM' | 'SIGKILL' | 'KILL' | 'SIGQUIT' | 'QUIT';
  };
}
