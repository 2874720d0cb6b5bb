import { Status } from '@raidkit/bdev';
import { RaidError } from '@raidkit/core';
import { z } from 'zod';
import type { Service } from '../service.js';
import { internalFailed, method, refused } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { RpcError, codeOf } from '../rpc/errors.js';
import { hasReadOptions, memberNames, readPolicy, toReadOptions } from './read-policy.js';
import { json, name, u32, uuid } from './schemas.js';

/** SPDK's raid methods. */
export function raidMethods({ arrays, exports, modules }: Service): RpcMethod[] {
  const levelName = z.string().refine((level) => modules.byName(level) !== undefined, {
    error: () =>
      `one of the levels that are loaded: ${modules
        .list()
        .map(({ level }) => level)
        .join(', ')}`,
  });
  return [
    method({
      name: 'bdev_raid_create',
      params: z.strictObject({
        name,
        raid_level: levelName,
        // raidkit's own: null leaves a slot empty for now.
        base_bdevs: z.array(name.nullable()).max(255),
        strip_size_kb: u32.optional(),
        uuid: uuid.optional(),
        superblock: z.boolean().optional(),
        // raidkit's own: keep checksums of members' blocks.
        integrity: z.boolean().optional(),
        // raidkit's own: refuse writes to raid5f that are not whole stripes, as SPDK does.
        full_stripe_only: z.boolean().optional(),
        // raidkit's own: options of the level, by name.
        level_options: z.record(z.string(), json).optional(),
        // raidkit's own: confirms a mirror with a single member.
        single: z.boolean().optional(),
        // raidkit's own: which copies are read.
        read_policy: readPolicy.optional(),
        prefer: memberNames.optional(),
        write_mostly: memberNames.optional(),
        // raidkit's own: also use devices that carry a file system or another array's superblock.
        force: z.boolean().optional(),
      }),
      async run(params) {
        if (params.base_bdevs.includes('')) {
          throw new RpcError(-22, 'The base bdev name cannot be empty: Invalid argument', {
            field: `base_bdevs.${params.base_bdevs.indexOf('')}`,
          });
        }
        await exports.yieldVolumes(params.base_bdevs);
        try {
          if (params.base_bdevs.length === 1 && params.single !== true)
            requireNoCopies(params.name, modules, params.raid_level);
          await arrays.create({
            name: params.name,
            level: params.raid_level,
            baseBdevs: params.base_bdevs,
            stripSizeKb: params.strip_size_kb ?? 0,
            ...(params.uuid === undefined ? {} : { uuid: params.uuid }),
            superblock: params.superblock ?? false,
            integrity: params.integrity ?? false,
            force: params.force ?? false,
            options: {
              ...params.level_options,
              ...(params.full_stripe_only === undefined ? {} : { full_stripe_only: params.full_stripe_only }),
            },
            ...(hasReadOptions(params) ? { reads: toReadOptions(params.read_policy, params) } : {}),
          });
        } catch (error) {
          throw refused(`Failed to create RAID bdev ${params.name}`, error);
        } finally {
          exports.reconsider();
        }
        return true;
      },
    }),
    method({
      name: 'bdev_raid_grow_base_bdev',
      params: z.strictObject({ raid_name: name, base_name: name }),
      badParams: internalFailed,
      async run(params) {
        const { raid_name: array, base_name: member } = params;
        if (arrays.get(array) === undefined) throw new RpcError(-19, `raid bdev ${array} is not found in config`);
        await exports.yieldVolumes([member]);
        try {
          await arrays.growBaseBdev(array, member);
        } catch (error) {
          throw refused(`Failed to grow RAID bdev ${array} by base bdev ${member}`, error);
        } finally {
          exports.reconsider();
        }
        return true;
      },
    }),
    method({
      name: 'bdev_raid_delete',
      params: z.strictObject({ name, clear_sb: z.boolean().optional() }),
      async run(params) {
        if (arrays.get(params.name) === undefined) throw new RpcError(-19, `raid bdev ${params.name} not found`);
        try {
          await arrays.delete(params.name, { clearSuperblock: params.clear_sb ?? false });
        } finally {
          // Its members carry no superblock any more, so members that are volumes may be exported again.
          exports.reconsider();
        }
        return true;
      },
    }),
    method({
      name: 'bdev_raid_get_bdevs',
      params: z.strictObject({ category: z.enum(['all', 'online', 'configuring', 'offline']) }),
      run({ category }) {
        const list = arrays.list(category === 'all' ? undefined : category);
        return Promise.resolve(list.map((array) => arrays.describe(array)));
      },
    }),
    method({
      name: 'bdev_raid_add_base_bdev',
      params: z.strictObject({ raid_bdev: name, base_bdev: name }),
      badParams: internalFailed,
      async run(params) {
        const { raid_bdev: array, base_bdev: member } = params;
        if (arrays.get(array) === undefined) throw new RpcError(-19, `raid bdev ${array} is not found in config`);
        await exports.yieldVolumes([member]);
        try {
          await arrays.addBaseBdev(array, member);
        } catch (error) {
          throw refused(`Failed to add base bdev ${member} to RAID bdev ${array}`, error);
        } finally {
          exports.reconsider();
        }
        return true;
      },
    }),
    method({
      name: 'bdev_raid_remove_base_bdev',
      // raidkit's own: `force`.
      params: z.strictObject({ name, force: z.boolean().default(false) }),
      async run(params) {
        try {
          await arrays.removeBaseBdev(params.name, params);
        } catch (error) {
          if (!RaidError.is(error)) throw error;
          throw new RpcError(-error.errno, 'Failed to remove base bdev from raid bdev', {
            reason: error.message,
            ...codeOf(error),
          });
        }
        return true;
      },
    }),
    method({
      name: 'bdev_raid_set_options',
      states: ['startup', 'runtime'],
      params: z.strictObject({
        process_window_size_kb: u32.optional(),
        process_max_bandwidth_mb_sec: u32.optional(),
        // raidkit's own: limits of processes while users do I/O.
        process_min_bandwidth_mb_sec: u32.optional(),
        process_latency_target_ms: u32.optional(),
        // raidkit's own: how long a member may take for an I/O before it is failed.
        io_timeout_ms: u32.max(3_600_000).optional(),
        // raidkit's own: how long a member that disappeared may be absent before a spare replaces it.
        grace_sec: u32.max(3600).optional(),
        // raidkit's own: how long an array that could start without them waits for absent members that the newest superblock
        // lists.
        absent_wait_ms: u32.max(60_000).optional(),
        // raidkit's own: how long an array waits for members that do not appear before it starts degraded; 0 for ever.
        degraded_start_sec: u32.max(86_400).optional(),
      }),
      run(params) {
        if (params.process_window_size_kb === 0)
          throw new RpcError(-22, 'Invalid argument', {
            reason: 'process_window_size_kb must be 1 or more',
            field: 'process_window_size_kb',
          });
        arrays.setProcessOptions(
          given({
            windowSizeKb: params.process_window_size_kb,
            minBandwidthMbSec: params.process_min_bandwidth_mb_sec,
            maxBandwidthMbSec: params.process_max_bandwidth_mb_sec,
            latencyTargetMs: params.process_latency_target_ms,
          }),
        );
        const members = given({ graceMs: inMs(params.grace_sec), ioTimeoutMs: params.io_timeout_ms });
        if (Object.keys(members).length > 0) arrays.setMemberOptions(members);
        arrays.setAssemblyOptions(
          given({ absentWaitMs: params.absent_wait_ms, degradedStartMs: inMs(params.degraded_start_sec) }),
        );
        return Promise.resolve(true);
      },
    }),
  ];
}

/** Returns the options that were given. */
function given(options: Readonly<Record<string, number | undefined>>): Record<string, number> {
  return Object.fromEntries(Object.entries(options).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])));
}

function inMs(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000;
}

/** Refuses a mirror with a single member, as SPDK does; a client that means it passes "single". */
function requireNoCopies(arrayName: string, modules: Service['modules'], level: string): void {
  const module = modules.byName(level);
  if (module === undefined || module.redundancy === 'none') return;
  const message = `array ${arrayName}: a ${module.level} of one member has no redundancy; with "single" it is created, to get a copy later`;
  throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message);
}
