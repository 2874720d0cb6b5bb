import { z } from 'zod';

/*
 * Schemas of the daemon's answers, as far as this package reads them. Objects are loose: fields that a newer daemon adds are
 * kept and do not make an answer invalid.
 */

const count = z.number().int().min(0);

/** A slot of an array, as SPDK shows it. */
export const slotSchema = z.looseObject({
  name: z.string().nullable(),
  uuid: z.string(),
  is_configured: z.boolean(),
  data_offset: count,
  data_size: count,
});

/** An array as SPDK shows it. */
export const raidBdevSchema = z.looseObject({
  name: z.string(),
  uuid: z.string(),
  strip_size_kb: count,
  state: z.string(),
  raid_level: z.string(),
  superblock: z.boolean(),
  /** Whether members' blocks have checksums; absent if they have none. */
  integrity: z.boolean().default(false),
  num_base_bdevs: count,
  num_base_bdevs_discovered: count,
  num_base_bdevs_operational: count,
  base_bdevs_list: z.array(slotSchema),
});

/** A running background process. */
export const processSchema = z.looseObject({
  type: z.string(),
  target: z.string().nullable(),
  /** The devices that are rebuilt together; `target` is the first. Absent in older daemons. */
  targets: z.array(z.string()).optional(),
  progress: z.looseObject({ blocks: count, percent: z.number() }),
  paused: z.boolean(),
  bytes_done: count,
  bytes_total: count,
  /** Recent rate, not counting what was skipped. */
  bytes_per_sec: z.number(),
  /** Estimate if nothing is skipped; null while paused, or if it is not known. */
  eta_sec: z.number().nullable(),
  /** Estimate if everything is skipped that needs no work at present. Absent in older daemons. */
  eta_least_sec: z.number().nullable().optional(),
  elapsed_sec: z.number(),
  mismatch_blocks: count,
  repaired_blocks: count,
  undecided_blocks: count,
  unreadable_blocks: count,
  lost_blocks: count,
  /** Absent in older daemons. */
  unproven_blocks: count.default(0),
});

/** A background process that has ended. */
export const processRecordSchema = z.looseObject({
  type: z.string(),
  target: z.string().nullable(),
  /** The devices that were rebuilt; `target` is the first. Absent in older daemons. */
  targets: z.array(z.string()).optional(),
  /** Milliseconds since 1970. */
  started_at: z.number(),
  seconds: z.number(),
  /** Array block at which it began, and how far it got. */
  from_block: count.default(0),
  blocks: count,
  mismatch_blocks: count,
  /**
   * The first few mismatches, in array blocks, each with the slot whose blocks differ from what the others say. `is_located`:
   * redundancy proves that this slot is the wrong one. Absent in older daemons.
   */
  mismatches: z
    .array(z.looseObject({ offset_blocks: count, num_blocks: count, slot: count, is_located: z.boolean() }))
    .optional(),
  repaired_blocks: count,
  undecided_blocks: count,
  unreadable_blocks: count,
  lost_blocks: count,
  /** Absent in older daemons. */
  unproven_blocks: count.default(0),
  error: z.string().nullable(),
});

/** A slot of an array, with the error counts of its member. */
export const memberSchema = z.looseObject({
  slot: count,
  name: z.string().nullable(),
  state: z.string(),
  /** Read preference of the member: `normal`, `prefer` or `write-mostly`. */
  reads: z.string().default('normal'),
  /** The disk's serial number; null if it is not known. Absent in older daemons. */
  serial: z.string().nullable().optional(),
  last_member: z.looseObject({ name: z.string(), uuid: z.string(), serial: z.string().nullable().optional() }).nullable(),
  read_errors: count,
  write_errors: count,
  repaired_blocks: count,
  /** Absent in older daemons. */
  checksum_errors: count.default(0),
  bad_blocks: count,
  can_leave: z.boolean(),
});

/** Number of regions in each state of the write-intent bitmap. */
export const regionsSchema = z.looseObject({
  region_size: count,
  total: count,
  unwritten: count,
  dirty: count,
  out_of_sync: count,
  needs_resync: count,
});

/** An array, with raidkit's fields beside SPDK's. */
export const arraySchema = raidBdevSchema.extend({
  ext: z.looseObject({
    health: z.string(),
    reason: z.string().nullable(),
    reactor: count,
    block_size: count,
    num_blocks: count,
    min_operational: count,
    /** The array waits for members and can be started without them. */
    can_start: z.boolean().default(false),
    /** Devices whose superblocks name this array, but which the array's members do not list. */
    rivals: z.array(z.string()).default([]),
    can_lose: count,
    process: processSchema.nullable(),
    waits_for: z.string().nullable(),
    /** Which of several copies a read takes: `least-outstanding` or `round-robin`. */
    read_policy: z.string().default('least-outstanding'),
    /** Which blocks have checksums: `none`, `awaiting-room`, `partly` (a process gives them to the others) or `all`. */
    checksums: z.string().default('none'),
    /** The level's description of the array. */
    level: z.record(z.string(), z.union([z.boolean(), z.number(), z.string()])).default({}),
    history: z.array(processRecordSchema),
    regions: regionsSchema.nullable(),
    uris: z.array(z.string()),
    members: z.array(memberSchema),
  }),
});

/** A client that uses an NBD export. */
export const nbdClientSchema = z.looseObject({
  export: z.string(),
  peer: z.string(),
  /** `unix:PATH` or `tcp:HOST:PORT`. */
  listener: z.string(),
  tls_user: z.string().nullable(),
  certificate: z.string().nullable(),
  read_only: z.boolean(),
  /** Seconds since the client connected. */
  seconds: z.number(),
  requests: count,
  bytes: count,
});

/** A block device. */
export const bdevSchema = z.looseObject({
  name: z.string(),
  aliases: z.array(z.string()),
  product_name: z.string(),
  block_size: count,
  num_blocks: count,
  uuid: z.string(),
  claimed: z.boolean(),
  driver_specific: z.record(z.string(), z.unknown()),
});

/** I/O statistics of a device. Latencies are sums, in ticks. */
export const bdevStatsSchema = z.looseObject({
  name: z.string(),
  bytes_read: count,
  num_read_ops: count,
  bytes_written: count,
  num_write_ops: count,
  read_latency_ticks: count,
  write_latency_ticks: count,
});

export const iostatSchema = z.looseObject({
  /** Ticks per second. */
  tick_rate: z.number(),
  ticks: z.number(),
  bdevs: z.array(bdevStatsSchema),
});

/** Clients that may use an export. */
export const clientRuleSchema = z.looseObject({
  listener: z.string().optional(),
  tls_user: z.string().optional(),
  certificate: z.string().optional(),
  read_only: z.boolean().optional(),
});

export const exportSchema = z.looseObject({
  name: z.string(),
  bdev_name: z.string(),
  read_only: z.boolean(),
  /** Null if all clients may use it. */
  clients: z.array(clientRuleSchema).nullable().default(null),
  description: z.string(),
  size_bytes: count,
  connections: count,
  uris: z.array(z.string()),
});

/** What a level's package states about its conformance tests. */
export const claimSchema = z.looseObject({
  kit_version: z.string(),
  level_version: z.string(),
  cases: count,
  cases_failed: count,
  seeds: count,
  seeds_failed: count,
  fault_runs: count,
  fault_violations: count,
  bugs_planted: count,
  bugs_missed: count,
});

/** An option of a level, described as in JSON Schema; `any` accepts every JSON value. */
export const levelOptionSchema = z.looseObject({
  type: z.enum(['boolean', 'integer', 'string', 'any']),
  description: z.string(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  enum: z.array(z.string()).optional(),
  /** Value that applies if the option is not given. */
  default: z.union([z.boolean(), z.number(), z.string()]).optional(),
});

export const moduleSchema = z.looseObject({
  level: z.string(),
  aliases: z.array(z.string()),
  code: count,
  base_bdevs_min: count,
  strip_size: z.string(),
  redundant: z.boolean(),
  unmap: z.boolean(),
  resize: z.boolean(),
  /** What a slot that is added while the array is online holds: `copy` or `space`; null if none can be added. */
  added_slot: z.enum(['copy', 'space']).nullable().default(null),
  options: z.record(z.string(), levelOptionSchema).default({}),
  /**
   * What the level's package states about its conformance tests, which raidkit has not checked; null if it has no such report.
   */
  conformance: claimSchema.nullable().default(null),
  /** Why the level package's report cannot be used; null if it can, or there is none. */
  conformance_error: z.string().nullable().default(null),
});

/** Health that disks report. */
export const diskHealthSchema = z.looseObject({
  is_on: z.boolean(),
  /** Why the health of no disk is known; null if that of some disk is. */
  reason: z.string().nullable(),
  disks: z.array(
    z.looseObject({
      bdev_name: z.string(),
      path: z.string(),
      /** `good`, `bad` or `unknown`. */
      verdict: z.string(),
      reason: z.string().nullable(),
    }),
  ),
});

export const spareSchema = z.looseObject({ bdev_name: z.string(), name: z.string().nullable() });

/** The superblock found on a device. */
export const examinationSchema = z.discriminatedUnion('superblock', [
  z.looseObject({ superblock: z.literal('none'), signature: z.string().nullable().optional() }),
  z.looseObject({ superblock: z.literal('unusable'), reason: z.string() }),
  z.looseObject({
    superblock: z.literal('found'),
    raid_level: z.string().nullable(),
    /** Absent in older daemons. */
    integrity: z.boolean().default(false),
    uuid: z.string(),
    name: z.string(),
    level: count,
    block_size: count,
    strip_size_blocks: count,
    num_blocks: count,
    seq_number: count,
    slots: z.array(z.looseObject({ uuid: z.string(), data_offset_blocks: count, data_size_blocks: count, state: z.string() })),
  }),
]);

/** A call that a configuration replays. */
export const configCallSchema = z.looseObject({ method: z.string(), params: z.record(z.string(), z.unknown()).optional() });

/** The configuration that the daemon has recorded from calls, and the calls that it could not carry out yet. */
export const configurationSchema = z.looseObject({
  state_file: z.string().nullable(),
  /** Why the state file could not be written; null if it could. */
  state_error: z.string().nullable(),
  pending: z.array(
    z.looseObject({
      method: z.string(),
      params: z.record(z.string(), z.unknown()).nullable().optional(),
      reason: z.string(),
      is_tried_again: z.boolean(),
    }),
  ),
  /** Devices with superblocks that `--scan` has found; null without it. */
  found: z
    .array(
      z.looseObject({
        path: z.string(),
        array: z.string().nullable(),
        uuid: z.string().nullable(),
        bdev_name: z.string().nullable(),
        /** Why the device is not open; null if it is. */
        reason: z.string().nullable(),
        /** The reason as a code, for programs: policy, twin, no member or failed. */
        why: z.string().nullable().default(null),
      }),
    )
    .nullable()
    .default(null),
});

/** An event. */
export const eventSchema = z.looseObject({
  id: count,
  /** ISO 8601. */
  time: z.string(),
  /** One of mdadm's event names, or of raidkit's own: docs/monitoring.md. */
  event: z.string(),
  severity: z.string(),
  array: z.string().nullable(),
  device: z.string().nullable(),
  message: z.string(),
});

export const eventPageSchema = z.looseObject({
  /** Changes with each start of the daemon, after which ids start again. */
  instance: z.string(),
  last_id: count,
  events: z.array(eventSchema),
});

/** Schedule of the checks that the daemon starts by itself. */
export const scheduleSchema = z.looseObject({
  enabled: z.boolean(),
  every_days: z.number().optional(),
  window: z.string().nullable().optional(),
  limit_mb_sec: z.number().nullable().optional(),
  arrays: z.array(
    z.looseObject({
      name: z.string(),
      uuid: z.string(),
      completed_at: z.string().nullable(),
      mismatch_blocks: count,
      due_at: z.string(),
      unfinished_percent: z.number().nullable(),
      is_running: z.boolean(),
    }),
  ),
});

/** Latency histograms of a device's I/O. */
export const latencySchema = z.looseObject({
  name: z.string(),
  operations: z.array(
    z.looseObject({
      type: z.string(),
      count,
      total_us: z.number(),
      errors: count,
      /**
       * Pairs of an upper bound in microseconds, ascending, and the number of I/Os below it and not below the previous bound.
       */
      buckets: z.array(z.tuple([z.number(), count])),
    }),
  ),
});

/** A receiver of events. */
export const eventSinkSchema = z.looseObject({
  name: z.string(),
  where: z.string(),
  waiting: count,
  told: count,
  dropped: count,
  last_error: z.string().nullable(),
});

/** The daemon's methods as an OpenRPC document. */
export const openRpcSchema = z.looseObject({
  openrpc: z.string(),
  info: z.looseObject({ title: z.string(), version: z.string() }),
  methods: z.array(z.looseObject({ name: z.string(), params: z.array(z.looseObject({ name: z.string() })) })),
});

export const versionSchema = z.looseObject({ version: z.string() });

export const kernelDiskSchema = z.looseObject({ nbd_device: z.string(), bdev_name: z.string() });

export type RaidBdev = z.infer<typeof raidBdevSchema>;
export type RaidProcess = z.infer<typeof processSchema>;
export type RaidProcessRecord = z.infer<typeof processRecordSchema>;
export type RaidMember = z.infer<typeof memberSchema>;
export type RaidArrayInfo = z.infer<typeof arraySchema>;
export type BdevInfo = z.infer<typeof bdevSchema>;
export type BdevStats = z.infer<typeof bdevStatsSchema>;
export type IoStat = z.infer<typeof iostatSchema>;
export type NbdExport = z.infer<typeof exportSchema>;
export type NbdClient = z.infer<typeof nbdClientSchema>;
export type LevelModule = z.infer<typeof moduleSchema>;
export type DiskHealth = z.infer<typeof diskHealthSchema>;
export type Spare = z.infer<typeof spareSchema>;
export type Examination = z.infer<typeof examinationSchema>;
export type ConfigCall = z.infer<typeof configCallSchema>;
export type Configuration = z.infer<typeof configurationSchema>;
export type Schedule = z.infer<typeof scheduleSchema>;
export type RaidkitEvent = z.infer<typeof eventSchema>;
export type Latency = z.infer<typeof latencySchema>;
export type EventSink = z.infer<typeof eventSinkSchema>;
export type KernelDisk = z.infer<typeof kernelDiskSchema>;
