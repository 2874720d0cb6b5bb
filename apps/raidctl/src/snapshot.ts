import type { RaidArrayInfo, RaidkitClient, RaidProcessRecord } from '@raidkit/client';
import type { ArrayDocument, ProcessDocument, RecordDocument, SlotDocument } from './documents.js';
import { ExitCode } from './exit-code.js';
import { Failure } from './failure.js';
import type { Snapshot } from './snapshot-type.js';
import { pathOf } from './snapshot-type.js';
import { actionOf, findingsOf, statusOf } from './findings.js';
import { targetsOf, wrongSlots } from './work.js';

export type { Snapshot } from './snapshot-type.js';
export { pathOf } from './snapshot-type.js';

/** The snapshot without a daemon. */
export const nothing: Snapshot = {
  arrays: [],
  bdevs: [],
  spares: [],
  exports: [],
  configuration: { state_file: null, state_error: null, pending: [], found: null },
};

export async function takeSnapshot(client: RaidkitClient): Promise<Snapshot> {
  const [arrays, bdevs, spares, exports, configuration, diskHealth] = await Promise.all([
    client.call('raidkit_get_arrays', {}),
    client.call('bdev_get_bdevs', {}),
    client.call('raidkit_get_spares'),
    client.call('raidkit_nbd_get_exports'),
    client.call('raidkit_get_configuration'),
    client.call('raidkit_get_disk_health', {}),
  ]);
  return { arrays, bdevs, spares, exports, configuration, diskHealth };
}

/** Returns the arrays with these names or uuids, in this order; all of them if no names are given. */
export function chooseArrays({ arrays }: Snapshot, names: readonly string[]): RaidArrayInfo[] {
  return names.length === 0 ? arrays : names.map((name) => findArray(arrays, name));
}

/** Returns the array with this name or uuid; throws a `Failure` if there is none. */
export function findArray(arrays: readonly RaidArrayInfo[], name: string): RaidArrayInfo {
  const found = arrays.find((array) => array.name === name || array.uuid === name);
  if (found !== undefined) return found;
  const known = arrays.length === 0 ? 'there is none' : `the arrays are: ${arrays.map((array) => array.name).join(', ')}`;
  throw new Failure(ExitCode.NotFound, `there is no array ${name}`, { hint: known });
}

/** Number of slots whose member is in sync. */
export function countCurrent({ ext }: RaidArrayInfo): number {
  return ext.members.filter(({ state }) => state === 'current' || state === 'unresponsive').length;
}

export function sizeOf({ state, ext }: RaidArrayInfo): number {
  return state === 'online' ? ext.num_blocks * ext.block_size : 0;
}

export function describeArray(snapshot: Snapshot, array: RaidArrayInfo): ArrayDocument {
  const { ext } = array;
  const lastCheck = ext.history.find(({ type }) => type === 'check' || type === 'repair');
  return {
    name: array.name,
    uuid: array.uuid,
    level: array.raid_level,
    health: ext.health,
    status: statusOf(array),
    action: actionOf(snapshot, array),
    size_bytes: sizeOf(array),
    block_size: ext.block_size,
    strip_size_kb: array.strip_size_kb,
    has_superblock: array.superblock,
    has_integrity: array.integrity,
    checksums: ext.checksums,
    read_policy: ext.read_policy,
    level_facts: ext.level,
    reactor: ext.reactor,
    members: countCurrent(array),
    slots: ext.members.map((member): SlotDocument => {
      const bdev = snapshot.bdevs.find(({ name }) => name === member.name);
      return {
        slot: member.slot,
        device: member.name,
        path: pathOf(bdev),
        state: member.state,
        reads: member.reads,
        data_offset_bytes: (array.base_bdevs_list[member.slot]?.data_offset ?? 0) * ext.block_size,
        read_errors: member.read_errors,
        write_errors: member.write_errors,
        repaired_blocks: member.repaired_blocks,
        checksum_errors: member.checksum_errors,
        bad_blocks: member.bad_blocks,
        disk_health: snapshot.diskHealth?.disks.find((disk) => disk.bdev_name === member.name)?.verdict ?? null,
        serial: member.serial ?? null,
        last_device: member.last_member?.name ?? null,
        last_serial: member.last_member?.serial ?? null,
      };
    }),
    process: describeProcess(array),
    waits_for: ext.waits_for,
    last_check: lastCheck === undefined ? null : describeRecord(lastCheck),
    findings: findingsOf(snapshot, array),
    uris: ext.uris,
  };
}

function describeProcess({ ext: { process } }: RaidArrayInfo): ProcessDocument | null {
  if (process === null) return null;
  return {
    type: process.type,
    target: process.target,
    targets: targetsOf(process),
    is_paused: process.paused,
    percent: process.progress.percent,
    bytes_done: process.bytes_done,
    bytes_total: process.bytes_total,
    bytes_per_sec: process.bytes_per_sec,
    // A paused process has no estimate.
    at_most_sec: process.paused ? null : process.eta_sec,
    at_least_sec: process.paused ? null : (process.eta_least_sec ?? null),
    elapsed_sec: process.elapsed_sec,
    mismatch_blocks: process.mismatch_blocks,
    unreadable_blocks: process.unreadable_blocks,
    lost_blocks: process.lost_blocks,
    unproven_blocks: process.unproven_blocks,
  };
}

export function describeRecord(record: RaidProcessRecord): RecordDocument {
  return {
    type: record.type,
    target: record.target,
    targets: targetsOf(record),
    started_at: new Date(record.started_at).toISOString(),
    seconds: record.seconds,
    mismatch_blocks: record.mismatch_blocks,
    wrong_slots: wrongSlots(record),
    repaired_blocks: record.repaired_blocks,
    undecided_blocks: record.undecided_blocks,
    unreadable_blocks: record.unreadable_blocks,
    lost_blocks: record.lost_blocks,
    unproven_blocks: record.unproven_blocks,
    error: record.error,
  };
}
