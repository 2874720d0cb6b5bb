import { claimSchema, levelOptionSchema } from '@raidkit/client';
import { z } from 'zod';

/*
 * Documents that `--json` prints: one per command, on one line; with --watch, one per update. Within a version fields are only
 * added. docs/raidctl.schema.json is generated from this.
 */

const version = z.literal(1);
const count = z.number().int().min(0);
const text = z.string();

const diskHealth = text
  .nullable()
  .describe('good, bad or unknown, as the disk reports; null if it is not a disk, or smartctl is not used');

/** A slot of an array, and the device in it. */
export const slotDocument = z.strictObject({
  slot: count,
  /** Name of the device in the daemon; null for an empty slot. */
  device: text.nullable(),
  /** Path of the file or block device; null if there is none, or the device is of another kind. */
  path: text.nullable(),
  state: text.describe('current, unresponsive, rebuilding, missing or failed'),
  reads: text.describe('normal; prefer: preferred for reads; write-mostly: read only if no other one can be read'),
  data_offset_bytes: count.describe('offset of the array’s data on the device; 0 for an empty slot'),
  read_errors: count,
  write_errors: count,
  repaired_blocks: count.describe('unreadable blocks that were rewritten from redundancy'),
  checksum_errors: count.describe('blocks of 4 KiB with checksum mismatches; each once until it is written'),
  bad_blocks: count.describe('bad blocks: their contents could not be reconstructed'),
  disk_health: diskHealth,
  serial: text.nullable().describe('serial number of the disk; null if it is not a disk, or it is unknown'),
  last_device: text.nullable().describe('name of the device that was in the slot before it became empty'),
  last_serial: text.nullable().describe('serial number of the disk of that device'),
});

/** A background process that runs on an array. */
export const processDocument = z.strictObject({
  type: text.describe('rebuild, resync, resum, sum, check, repair or replace'),
  target: text.nullable().describe('the device that is being rebuilt; the first, where several are'),
  targets: z.array(text).describe('the devices that are being rebuilt, in one pass'),
  is_paused: z.boolean(),
  percent: z.number(),
  bytes_done: count,
  bytes_total: count,
  bytes_per_sec: z.number(),
  at_most_sec: z.number().nullable().describe('seconds left if nothing is skipped; null while that is unknown'),
  at_least_sec: z.number().nullable().describe('seconds left if everything is skipped that needs no work at present'),
  elapsed_sec: z.number(),
  mismatch_blocks: count,
  unreadable_blocks: count,
  lost_blocks: count,
  unproven_blocks: count.describe('blocks that got checksums of their present contents, which are not verified'),
});

/** A background process that has ended. */
export const recordDocument = z.strictObject({
  type: text,
  target: text.nullable(),
  targets: z.array(text).describe('the devices that were rebuilt, in one pass'),
  started_at: text.describe('ISO 8601'),
  seconds: z.number(),
  mismatch_blocks: count,
  wrong_slots: z.array(count).describe('slots that were wrong according to redundancy, by the first few mismatches'),
  repaired_blocks: count,
  undecided_blocks: count,
  unreadable_blocks: count,
  lost_blocks: count,
  unproven_blocks: count.describe('blocks that got checksums of their present contents, which are not verified'),
  error: text.nullable(),
});

/** A finding for people, and what to do about it. */
export const findingDocument = z.strictObject({
  severity: z.enum(['notice', 'degraded', 'failed']),
  array: text.nullable(),
  what: text,
  action: text.nullable(),
  commands: z.array(text).describe('command for it; words in capitals are placeholders'),
});

export const arrayDocument = z.strictObject({
  name: text,
  uuid: text,
  level: text,
  health: text.describe('optimal, degraded, rebuilding, resyncing, configuring, offline or failed'),
  status: text.describe('the health in a sentence'),
  action: text.nullable().describe('what to do, in a sentence; null if there is nothing to do'),
  size_bytes: count.describe('0 while the array is not online'),
  block_size: count,
  strip_size_kb: count,
  has_superblock: z.boolean(),
  has_integrity: z.boolean().describe('checksums of the members’ blocks are kept'),
  checksums: text.describe('which blocks have checksums: none, awaiting-room, partly or all'),
  read_policy: text.describe('which copy a read uses: least-outstanding or round-robin'),
  level_facts: z.record(z.string(), z.union([z.boolean(), z.number(), z.string()])).describe('details that the level reports'),
  reactor: count,
  members: count.describe('slots that have a current member'),
  slots: z.array(slotDocument),
  process: processDocument.nullable(),
  waits_for: text.nullable().describe('an array on the same disks whose background process runs first'),
  last_check: recordDocument.nullable(),
  findings: z.array(findingDocument),
  uris: z.array(text),
});

const spareDocument = z.strictObject({ device: text, array: text.nullable().describe('null: for any') });

export const statusDocument = z.strictObject({
  version,
  command: z.literal('status'),
  arrays: z.array(arrayDocument),
  spares: z.array(spareDocument),
});

export const listDocument = z.strictObject({
  version,
  command: z.literal('list'),
  arrays: z.array(
    z.strictObject({
      name: text,
      health: text,
      level: text,
      size_bytes: count,
      members: count,
      slots: count,
      process: text.nullable(),
      percent: z.number().nullable(),
    }),
  ),
});

/** Changes that a command has made or, with --dry-run, would make. */
export const changeDocument = z.strictObject({
  version,
  command: z.literal('change'),
  dry_run: z.boolean(),
  warnings: z.array(text).describe('what is lost or put at risk; --yes or --force accepts it'),
  steps: z.array(
    z.strictObject({
      does: text,
      method: text.nullable().describe('method of docs/rpc.md; null for what raidctl does itself'),
      params: z.record(text, z.unknown()).nullable(),
      result: z.unknown().optional().describe("the daemon's answer; absent with --dry-run"),
    }),
  ),
});

export const examineDocument = z.strictObject({
  version,
  command: z.literal('examine'),
  devices: z.array(
    z.strictObject({
      device: text.describe('the device as given'),
      opened_by_daemon: z.boolean(),
      serial: text.nullable().describe('serial number of the disk; null if it is not a disk, or it is unknown'),
      superblock: z.enum(['none', 'unusable', 'found']),
      reason: text.nullable().describe('why a superblock cannot be used'),
      signature: text.nullable().describe('other data that was recognized on the device'),
      array: z
        .strictObject({
          name: text,
          uuid: text,
          level: text.nullable(),
          level_code: count,
          size_bytes: count,
          strip_size_kb: count,
          sequence_number: count,
          has_integrity: z.boolean().describe('checksums of the members’ blocks are kept'),
          slot: count.nullable().describe('the slot of this device; null if it is unknown'),
          slots: z.array(z.strictObject({ uuid: text, state: text, data_offset_bytes: count })),
        })
        .nullable(),
    }),
  ),
});

export const devicesDocument = z.strictObject({
  version,
  command: z.literal('devices'),
  devices: z.array(
    z.strictObject({
      name: text,
      kind: text,
      path: text.nullable(),
      size_bytes: count,
      block_size: count,
      used_by: text.nullable(),
      disk_health: diskHealth,
    }),
  ),
});

export const iostatDocument = z.strictObject({
  version,
  command: z.literal('iostat'),
  seconds: z.number().nullable().describe('time that the figures cover; null: since the device was opened'),
  devices: z.array(
    z.strictObject({
      name: text,
      array: text.nullable().describe('the array that it is a member of'),
      read_ops: z.number(),
      write_ops: z.number(),
      read_bytes: z.number(),
      write_bytes: z.number(),
      read_latency_ms: z.number().nullable(),
      write_latency_ms: z.number().nullable(),
    }),
  ),
});

export const exportsDocument = z.strictObject({
  version,
  command: z.literal('exports'),
  exports: z.array(
    z.strictObject({
      name: text,
      volume: text,
      read_only: z.boolean(),
      size_bytes: count,
      connections: count,
      uris: z.array(text),
    }),
  ),
});

export const clientsDocument = z.strictObject({
  version,
  command: z.literal('clients'),
  clients: z.array(
    z.strictObject({
      export: text,
      peer: text,
      listener: text.describe('listener of the connection: unix:PATH or tcp:HOST:PORT'),
      tls_user: text.nullable(),
      certificate: text.nullable(),
      read_only: z.boolean(),
      seconds: z.number().describe('since it connected'),
      requests: count.describe('requests in flight'),
      bytes: count.describe('size of their buffers'),
    }),
  ),
});

export const sparesDocument = z.strictObject({
  version,
  command: z.literal('spares'),
  spares: z.array(spareDocument),
});

export const waitDocument = z.strictObject({
  version,
  command: z.literal('wait'),
  arrays: z.array(z.strictObject({ name: text, health: text })),
});

export const doctorDocument = z.strictObject({
  version,
  command: z.literal('doctor'),
  findings: z.array(findingDocument),
});

export const historyDocument = z.strictObject({
  version,
  command: z.literal('history'),
  array: text,
  processes: z.array(recordDocument),
});

export const modulesDocument = z.strictObject({
  version,
  command: z.literal('modules'),
  modules: z.array(
    z.strictObject({
      level: text,
      aliases: z.array(text),
      code: count,
      least_members: count,
      strip_size: text,
      is_redundant: z.boolean(),
      can_unmap: z.boolean(),
      can_grow: z.boolean(),
      /** Options by name, as given with `create --option`. */
      options: z.record(z.string(), levelOptionSchema),
      /** Conformance report of the level's package, which raidkit has not checked. */
      conformance: claimSchema.nullable(),
      conformance_error: text.nullable(),
    }),
  ),
});

export const configDocument = z.strictObject({
  version,
  command: z.literal('config'),
  calls: z.array(z.strictObject({ method: text, params: z.record(text, z.unknown()) })),
});

export const eventsDocument = z.strictObject({
  version,
  command: z.literal('events'),
  events: z.array(
    z.strictObject({
      id: count.describe('grows by one with each event; starts again when the daemon starts'),
      time: text.describe('ISO 8601'),
      event: text.describe('one of the names of docs/monitoring.md'),
      severity: text.describe('critical, warning or info'),
      array: text.nullable(),
      device: text.nullable(),
      message: text,
    }),
  ),
});

export const scheduleDocument = z.strictObject({
  version,
  command: z.literal('schedule'),
  is_enabled: z.boolean(),
  every_days: z.number().nullable(),
  window: text.nullable().describe('hours of the day, local time; null for all'),
  limit_mb_sec: z.number().nullable(),
  arrays: z.array(
    z.strictObject({
      name: text,
      completed_at: text.nullable().describe('ISO 8601; null: it has not been checked yet'),
      mismatch_blocks: count.describe('mismatches that check found'),
      due_at: text.describe('ISO 8601'),
      unfinished_percent: z.number().nullable().describe('progress of an incomplete check; null for none'),
      is_running: z.boolean(),
    }),
  ),
});

export const latencyDocument = z.strictObject({
  version,
  command: z.literal('latency'),
  devices: z.array(
    z.strictObject({
      name: text,
      operations: z.array(
        z.strictObject({
          type: text,
          count,
          errors: count,
          mean_us: z.number().nullable().describe('null: there was none'),
          p50_us: z.number().nullable(),
          p90_us: z.number().nullable(),
          p99_us: z.number().nullable(),
          p999_us: z.number().nullable(),
          most_us: z.number().nullable(),
          buckets: z
            .array(z.tuple([z.number(), count]))
            .describe('upper edges in microseconds and counts; percentiles are upper edges too'),
        }),
      ),
    }),
  ),
});

export const configCheckDocument = z.strictObject({
  version,
  command: z.literal('config check'),
  calls: count.describe('calls that raidkitd would carry out'),
  problems: z.array(text),
});

export const selftestDocument = z.strictObject({
  version,
  command: z.literal('selftest'),
  sinks: z.array(
    z.strictObject({
      name: text,
      where: text,
      result: z.enum(['told', 'failed', 'waiting']).describe('waiting: it had not answered within the limit'),
      error: text.nullable(),
    }),
  ),
});

/** Any error except a wrong command line. */
export const errorDocument = z.strictObject({
  version,
  command: z.literal('error'),
  error: z.strictObject({
    exit_code: z.number().int(),
    message: text,
    hint: text.nullable(),
    rpc_code: z.number().int().nullable(),
  }),
});

/** All documents, distinguished by `command`. */
export const document = z.discriminatedUnion('command', [
  statusDocument,
  listDocument,
  changeDocument,
  examineDocument,
  devicesDocument,
  iostatDocument,
  exportsDocument,
  clientsDocument,
  sparesDocument,
  waitDocument,
  doctorDocument,
  historyDocument,
  modulesDocument,
  configDocument,
  eventsDocument,
  scheduleDocument,
  latencyDocument,
  configCheckDocument,
  selftestDocument,
  errorDocument,
]);

export type Document = z.infer<typeof document>;
export type SlotDocument = z.infer<typeof slotDocument>;
export type ArrayDocument = z.infer<typeof arrayDocument>;
export type ProcessDocument = z.infer<typeof processDocument>;
export type RecordDocument = z.infer<typeof recordDocument>;
export type Finding = z.infer<typeof findingDocument>;
