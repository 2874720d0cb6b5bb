import type { JsonObject } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import type { RaidArray } from '@raidkit/core';
import type { ClientRule } from '@raidkit/nbd';
import { findSignature } from '@raidkit/signatures';
import { keepsChecksums, spdkSuperblockStore } from '@raidkit/superblock';
import { z } from 'zod';
import { claimOf } from '../level-claims.js';
import { cancelledReason } from '../cancelled.js';
import type { Service } from '../service.js';
import { method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { RpcCode, RpcError, errnoRefusal } from '../rpc/errors.js';
import { adviceFor, canStartDegraded, rivalNames } from './array-advice.js';
import { memberNames, readPolicy, toReadOptions } from './read-policy.js';
import { name, u32, u64 } from './schemas.js';

const badParams = { code: RpcCode.InvalidParams, message: 'Invalid parameters' } as const;

/** A rule for who may use an export. */
const clientRule = z.strictObject({
  listener: z.string().max(4096).optional(),
  tls_user: z.string().max(4096).optional(),
  certificate: z.string().max(4096).optional(),
  read_only: z.boolean().optional(),
});

/** Types of background processes. */
const processType = z.enum(['rebuild', 'replace', 'resync', 'resum', 'sum', 'check', 'repair']);

/** raidkit's own methods, which SPDK does not have. */
export function raidkitMethods(service: Service): RpcMethod[] {
  const { arrays, exports, modules, registry } = service;
  /** Why arrays went offline. */
  const offline = new WeakMap<RaidArray, string>();
  arrays.on((event) => {
    const array = event.type === 'arrayOffline' ? arrays.get(event.array) : undefined;
    if (event.type === 'arrayOffline' && array !== undefined) offline.set(array, event.reason);
  });
  const find = (wanted: string): RaidArray => {
    const array = arrays.get(wanted) ?? arrays.list().find(({ uuid }) => uuid === wanted);
    if (array === undefined) throw new RpcError(-19, `there is no array ${wanted}`);
    return array;
  };
  return [
    method({
      name: 'raidkit_nbd_export',
      params: z.strictObject({
        bdev_name: name,
        name: name.optional(),
        read_only: z.boolean().optional(),
        description: z.string().max(4096).optional(),
        clients: z.array(clientRule).max(1000).optional(),
      }),
      badParams,
      run(params) {
        const exported = exports.add({
          bdevName: params.bdev_name,
          ...(params.name === undefined ? {} : { name: params.name }),
          ...(params.read_only === undefined ? {} : { readOnly: params.read_only }),
          ...(params.description === undefined ? {} : { description: params.description }),
          ...(params.clients === undefined ? {} : { clients: params.clients.map(toRule) }),
        });
        return Promise.resolve({ name: exported, uris: exports.uris(exported) });
      },
    }),
    method({
      name: 'raidkit_nbd_unexport',
      params: z.strictObject({ name }),
      badParams,
      async run(params) {
        await exports.remove(params.name);
        return true;
      },
    }),
    method({ name: 'raidkit_nbd_get_exports', params: null, run: () => Promise.resolve(exports.list()) }),
    method({ name: 'raidkit_nbd_get_clients', params: null, run: () => Promise.resolve(exports.clients()) }),
    method({
      name: 'raidkit_get_modules',
      params: null,
      run: () =>
        Promise.resolve(
          modules.list().map((module) => ({
            level: module.level,
            aliases: module.aliases,
            code: module.code,
            base_bdevs_min: module.baseBdevsMin,
            strip_size: module.manifest.stripSize,
            redundant: module.redundancy !== 'none',
            unmap: module.manifest.nullPayload,
            resize: module.manifest.resize,
            added_slot: module.addedSlot ?? null,
            options: module.options ?? {},
            conformance: claimOf(module).claim,
            conformance_error: claimOf(module).error,
          })),
        ),
    }),
    method({
      name: 'raidkit_get_arrays',
      params: z.strictObject({ name: name.optional() }),
      badParams,
      async run(params) {
        await exports.settled();
        const wanted = params.name === undefined ? arrays.list() : [find(params.name)];
        const uris = exports.urisByVolume();
        return wanted.map((array) => describeHealth(service, array, offline.get(array) ?? null, uris.get(array.name) ?? []));
      },
    }),
    method({
      name: 'raidkit_examine',
      params: z.strictObject({ bdev_name: name }),
      badParams,
      async run(params) {
        const bdev = registry.get(params.bdev_name);
        if (bdev === undefined) throw errnoRefusal(19, `there is no bdev ${params.bdev_name}`);
        const descriptor = registry.open(bdev);
        try {
          const found = await spdkSuperblockStore.read(descriptor);
          if (found.kind === 'none') return { superblock: 'none', signature: await findSignature(descriptor) };
          if (found.kind === 'unusable') return { superblock: 'unusable', reason: found.message };
          const level = modules.byCode(found.record.level)?.level ?? null;
          const integrity = await keepsChecksums(descriptor, found.record);
          return { superblock: 'found', raid_level: level, integrity, ...toSnakeCase(found.record) };
        } finally {
          descriptor.close();
        }
      },
    }),
    method({
      name: 'raidkit_assemble',
      params: z.strictObject({ name, force: z.boolean().optional(), read_only: z.boolean().optional() }),
      badParams,
      async run(params) {
        const array = find(params.name);
        await arrays.startDegraded(array.name, { force: params.force ?? false, readOnly: params.read_only ?? false });
        return arrays.describe(array);
      },
    }),
    method({
      name: 'raidkit_trust_parity',
      params: z.strictObject({ name }),
      badParams,
      run(params) {
        arrays.trustRedundancy(find(params.name).name);
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'raidkit_start_process',
      params: z.strictObject({
        name,
        type: z.enum(['resync', 'check', 'repair']),
        source: name.optional(),
        wrong: name.optional(),
        from_block: u64.optional(),
        max_bandwidth_mb_sec: u32.optional(),
      }),
      badParams,
      run(params) {
        const array = find(params.name);
        const slotOf = (member: string): number => {
          const slot = array.slots.find((other) => other.name === member);
          if (slot === undefined) throw new RpcError(-19, `array ${array.name} has no member ${member}`);
          return slot.index;
        };
        arrays.startSync(array.name, params.type, {
          ...(params.source === undefined ? {} : { source: slotOf(params.source) }),
          ...(params.wrong === undefined ? {} : { wrong: slotOf(params.wrong) }),
          ...(params.from_block === undefined ? {} : { from: params.from_block }),
          ...(params.max_bandwidth_mb_sec === undefined ? {} : { maxBandwidthMbSec: params.max_bandwidth_mb_sec }),
        });
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'raidkit_control_process',
      params: z.strictObject({
        name,
        type: processType.optional(),
        action: z.enum(['pause', 'resume', 'cancel']).optional(),
        max_bandwidth_mb_sec: u32.nullable().optional(),
        min_bandwidth_mb_sec: u32.nullable().optional(),
      }),
      badParams,
      run(params) {
        const { process } = find(params.name);
        if (process === null) throw new RpcError(-2, `array ${params.name} has no process`);
        // The process that the client saw may have ended since, and another one may have begun.
        if (params.type !== undefined && params.type !== process.type)
          throw new RpcError(-2, `array ${params.name} has no ${params.type}: its ${process.type} runs`);
        const { max_bandwidth_mb_sec: most, min_bandwidth_mb_sec: least } = params;
        arrays.limitProcess(params.name, {
          ...(most === undefined ? {} : { maxBandwidthMbSec: most }),
          ...(least === undefined ? {} : { minBandwidthMbSec: least }),
        });
        if (params.action === 'pause') arrays.pauseProcess(params.name);
        else if (params.action === 'resume') arrays.resumeProcess(params.name);
        else if (params.action === 'cancel') arrays.cancelProcess(params.name, cancelledReason);
        return Promise.resolve(process.describeFully());
      },
    }),
    method({
      name: 'raidkit_replace',
      params: z.strictObject({ name, member: name, bdev_name: name }),
      badParams,
      async run(params) {
        await arrays.replaceBaseBdev(find(params.name).name, params.member, params.bdev_name);
        return true;
      },
    }),
    method({
      name: 'raidkit_set_read_policy',
      params: z.strictObject({
        name,
        policy: readPolicy.optional(),
        prefer: memberNames.optional(),
        write_mostly: memberNames.optional(),
        normal: memberNames.optional(),
      }),
      badParams,
      async run(params) {
        await arrays.setReads(find(params.name).name, toReadOptions(params.policy, params));
        return true;
      },
    }),
    method({
      name: 'raidkit_integrity_enable',
      params: z.strictObject({ name, when_room: z.boolean().optional() }),
      badParams,
      run: (params) => arrays.enableIntegrity(find(params.name).name, { whenRoom: params.when_room ?? false }),
    }),
    method({
      name: 'raidkit_integrity_disable',
      params: z.strictObject({ name }),
      badParams,
      async run(params) {
        await arrays.disableIntegrity(find(params.name).name);
        return true;
      },
    }),
    method({
      name: 'raidkit_remove_slot',
      params: z.strictObject({ name, member: name.optional(), slot: u32.max(254).optional() }),
      badParams,
      async run(params) {
        const array = find(params.name);
        if ((params.member === undefined) === (params.slot === undefined))
          throw errnoRefusal(22, 'give the slot to remove either by its member or by its number');
        const slot = array.slots.find((one) =>
          params.slot === undefined ? one.name === params.member : one.index === params.slot,
        );
        if (slot === undefined)
          throw new RpcError(
            -19,
            `array ${array.name} has no ${params.member === undefined ? `slot ${params.slot}` : `member ${params.member}`}`,
          );
        await arrays.removeSlot(array.name, slot.index);
        exports.reconsider();
        return true;
      },
    }),
    method({
      name: 'raidkit_fail',
      params: z.strictObject({ name, member: name, force: z.boolean().default(false) }),
      badParams,
      async run(params) {
        const array = find(params.name);
        const slot = array.slots.find((other) => other.name === params.member && other.isConfigured);
        if (slot === undefined) throw new RpcError(-19, `array ${array.name} has no member ${params.member}`);
        await arrays.failMember(array.name, slot.index, 'it was failed on request', params);
        return true;
      },
    }),
    method({
      name: 'raidkit_add_spare',
      params: z.strictObject({ bdev_name: name, name: name.optional() }),
      badParams,
      async run(params) {
        await arrays.addSpare(params.bdev_name, params.name === undefined ? null : find(params.name).name);
        return true;
      },
    }),
    method({
      name: 'raidkit_remove_spare',
      params: z.strictObject({ bdev_name: name }),
      badParams,
      run(params) {
        arrays.removeSpare(params.bdev_name);
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'raidkit_get_spares',
      params: null,
      run: () => Promise.resolve(arrays.listSpares().map(({ bdev, array }) => ({ bdev_name: bdev, name: array }))),
    }),
    method({
      name: 'raidkit_wipe',
      params: z.strictObject({ bdev_name: name }),
      badParams,
      async run(params) {
        if (registry.get(params.bdev_name) === undefined) throw errnoRefusal(19, `there is no bdev ${params.bdev_name}`);
        await arrays.wipe(params.bdev_name);
        service.exports.reconsider();
        return true;
      },
    }),
    method({
      name: 'raidkit_stop',
      params: z.strictObject({ name }),
      badParams,
      async run(params) {
        await arrays.delete(find(params.name).name);
        return true;
      },
    }),
  ];
}

function toRule({ listener, tls_user: tlsUser, certificate, read_only: readOnly }: z.infer<typeof clientRule>): ClientRule {
  return {
    ...(listener === undefined ? {} : { listener }),
    ...(tlsUser === undefined ? {} : { tlsUser }),
    ...(certificate === undefined ? {} : { certificate }),
    ...(readOnly === undefined ? {} : { readOnly }),
  };
}

/** An array for people and monitoring: SPDK's object with raidkit's extensions. */
function describeHealth(
  { arrays, reactor }: Service,
  array: RaidArray,
  wentOffline: string | null,
  uris: readonly string[],
): JsonObject {
  const { health, reason, action } = adviceFor(array, wentOffline);
  return {
    ...arrays.describe(array),
    ext: {
      health,
      reason,
      action,
      reactor: reactor.index,
      block_size: array.blockSize,
      num_blocks: array.numBlocks,
      min_operational: array.minOperational,
      can_start: canStartDegraded(array),
      rivals: rivalNames(array),
      can_lose: Math.max(0, array.canLose),
      process: array.process?.describeFully() ?? null,
      waits_for: array.waitsFor,
      read_policy: array.readPolicy,
      checksums: describeSums(array),
      level: { ...array.describeLevel() },
      history: array.history.map((record) => toSnakeCase(record)),
      regions: describeRegions(array),
      uris: array.state === 'online' ? [...uris] : [],
      members: array.slots.map((slot) => ({
        slot: slot.index,
        name: slot.name,
        serial: slot.serial,
        state: memberState(slot),
        reads: slot.readPreference,
        last_member: slot.lastMember === null ? null : { ...slot.lastMember },
        read_errors: slot.errors.read,
        write_errors: slot.errors.write,
        repaired_blocks: slot.errors.repaired,
        checksum_errors: slot.errors.checksum,
        can_leave: array.canDoWithout(slot),
        bad_blocks: slot.isConfigured ? array.badBlocks.countOf(slot.index) : 0,
      })),
    },
  };
}

/** Which blocks have checksums. */
function describeSums({ hasIntegrity, isUnproven, wantsIntegrity }: RaidArray): string {
  if (!hasIntegrity) return wantsIntegrity ? 'awaiting-room' : 'none';
  return isUnproven ? 'partly' : 'all';
}

/** Number of regions in each state of the write-intent bitmap; null for an array without one. */
function describeRegions({ blockSize, bitmap }: RaidArray): JsonObject | null {
  if (bitmap === null) return null;
  return {
    region_size: bitmap.regionBlocks * blockSize,
    total: bitmap.states.length,
    unwritten: bitmap.count(RegionState.Unwritten),
    dirty: bitmap.count(RegionState.Dirty),
    out_of_sync: bitmap.count(RegionState.OutOfSync),
    needs_resync: bitmap.regionsToResync,
  };
}

function memberState(slot: RaidArray['slots'][number]): string {
  if (slot.isInSync) return slot.isUnresponsive ? 'unresponsive' : 'current';
  if (slot.isRebuilding) return 'rebuilding';
  return slot.absence;
}

/** Converts all keys to snake case, at every depth. */
function toSnakeCase(value: object): JsonObject {
  const text = JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(
      Object.entries(inner).map(([key, entry]) => [
        key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
        entry as unknown,
      ]),
    );
  });
  return JSON.parse(text) as JsonObject;
}
