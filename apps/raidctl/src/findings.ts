import type { RaidArrayInfo, RaidMember } from '@raidkit/client';
import { commandLine } from './command-line.js';
import type { Finding } from './documents.js';
import { formatBytes, plural } from './format.js';
import { ofTargets, whoIsWrong } from './work.js';
import type { Snapshot } from './snapshot-type.js';
import { pathOf } from './snapshot-type.js';

/** The array's health in a sentence, including the daemon's reason. */
export function statusOf(array: RaidArrayInfo): string {
  const { ext, num_base_bdevs: slots } = array;
  const { reason } = ext;
  switch (ext.health) {
    case 'optimal':
      return `${slots === 1 ? '1 member, in sync, and no redundancy' : `${plural(slots, 'member')}, all in sync`}${reason === null ? '' : `; ${reason}`}`;
    case 'degraded': {
      const absent = ext.members.filter(({ state }) => state === 'missing' || state === 'failed').length;
      const left = ext.can_lose;
      const rest = left === 0 ? 'the loss of one more member takes the array offline' : `it can lose ${left} more`;
      return `${reason ?? `${absent} of ${plural(slots, 'member')} absent`}; data is served, and ${rest}`;
    }
    case 'rebuilding':
      return `${reason ?? 'a member is being rebuilt'}; until that has ended redundancy is reduced`;
    case 'offline':
      return `the array is not served: ${reason ?? 'it has lost a member that it cannot do without'}`;
    default:
      return reason ?? `the array is ${ext.health}`;
  }
}

/** The most urgent action, in a sentence; null if there is none. */
export function actionOf(snapshot: Snapshot, array: RaidArrayInfo): string | null {
  for (const severity of ['failed', 'degraded', 'notice'] as const) {
    const found = findingsOf(snapshot, array).find((finding) => finding.severity === severity && finding.action !== null);
    if (found === undefined) continue;
    const [command] = found.commands;
    return command === undefined ? found.action : `${String(found.action)}: ${command}`;
  }
  return null;
}

/** All findings about an array, the most urgent first. */
export function findingsOf(snapshot: Snapshot, array: RaidArrayInfo): Finding[] {
  return [
    ...healthFindings(snapshot, array),
    ...memberFindings(array),
    ...diskFindings(snapshot, array),
    ...processFindings(array),
    ...layoutFindings(snapshot, array),
  ];
}

/** Findings that are not about arrays. */
export function otherFindings({ arrays, bdevs, configuration, spares }: Snapshot): Finding[] {
  const findings: Finding[] = [];
  const notice = (what: string, action: string | null, commands: string[] = []): void => {
    findings.push({ severity: 'notice', array: null, what, action, commands });
  };
  for (const { bdev_name: device, name } of spares) {
    const bdev = bdevs.find((other) => other.name === device);
    const candidates = arrays.filter((array) => array.state === 'online' && (name === null || array.name === name));
    if (bdev === undefined || candidates.length === 0) continue;
    const bytes = bdev.num_blocks * bdev.block_size;
    const fits = candidates.some((array) => bdev.block_size === array.ext.block_size && bytes >= neededBytes(array));
    if (!fits)
      notice(
        `the spare ${device} (${formatBytes(bytes)}) is too small, or has the wrong block size, for its arrays`,
        'use a larger device',
        [commandLine('raidctl spare remove', device)],
      );
  }
  for (const { method, params, reason, is_tried_again: isTriedAgain } of configuration.pending) {
    const name = params?.name ?? params?.bdev_name;
    const what = `${method}${typeof name === 'string' ? ` of ${name}` : ''} is part of the configuration and failed: ${reason}`;
    const isDevice = method === 'bdev_aio_create' || method === 'bdev_uring_create';
    const again = isTriedAgain ? 'bring it back: the call is then carried out automatically' : 'it is not tried again';
    notice(what, again, isDevice ? [commandLine('raidctl close', String(name))] : []);
  }
  if (configuration.state_error !== null) {
    notice(
      `the configuration cannot be saved: ${configuration.state_error}`,
      `fix ${configuration.state_file ?? 'the state file'}`,
    );
  }
  return findings;
}

/** Minimum size of a member, in bytes. */
function neededBytes({ ext, base_bdevs_list: slots }: RaidArrayInfo): number {
  return Math.max(...slots.map(({ data_offset: offset, data_size: size }) => (offset + size) * ext.block_size));
}

/** Findings about members whose disks report that they are failing: these should be replaced while they still work. */
function diskFindings({ diskHealth }: Snapshot, { ext, name: array }: RaidArrayInfo): Finding[] {
  return ext.members.flatMap(({ name, slot }) => {
    const disk = diskHealth?.disks.find((one) => one.bdev_name === name && one.verdict === 'bad');
    if (disk === undefined || name === null) return [];
    return {
      severity: 'notice' as const,
      array,
      what: `the disk of slot ${slot}, ${name} (${disk.path}), is failing: ${String(disk.reason)}`,
      action: 'replace it while it still works',
      commands: [commandLine('raidctl replace', array, name, 'NEW')],
    };
  });
}

function healthFindings(snapshot: Snapshot, array: RaidArrayInfo): Finding[] {
  const { spares } = snapshot;
  const { ext, name } = array;
  const what = statusOf(array);
  const finding = (severity: Finding['severity'], action: string | null, ...commands: string[]): Finding[] => [
    { severity, array: name, what, action, commands },
  ];
  switch (ext.health) {
    case 'degraded': {
      const spare = spares.find((other) => other.name === null || other.name === name);
      const mend = [commandLine('raidctl add', name, 'DEVICE')];
      if (spare === undefined) return finding('degraded', 'bring the absent device back, or add a new one', ...mend);
      return finding(
        'degraded',
        `the spare ${spare.bdev_name} fills the slot if the device does not come back; or add a device now`,
        ...mend,
      );
    }
    case 'rebuilding':
      return finding(
        'degraded',
        ext.process?.paused === true ? 'resume the rebuild' : 'wait for it',
        commandLine(ext.process?.paused === true ? 'raidctl rebuild resume' : 'raidctl wait', name),
      );
    case 'configuring':
      return finding(
        'failed',
        ext.can_start
          ? 'open the devices that are absent, or start the array without them'
          : 'open the devices that are absent',
        commandLine('raidctl open', ...absentPaths(snapshot, array)),
        ...(ext.can_start ? [commandLine('raidctl assemble', name)] : []),
      );
    case 'offline':
      return finding('failed', superblockAction(array), commandLine('raidctl open', ...absentPaths(snapshot, array)));
    case 'failed':
      if (array.state === 'online')
        return finding(
          'failed',
          'save what can still be read, fix the device, then stop the array and start it again',
          commandLine('raidctl stop', name),
          commandLine('raidctl open', ...memberPaths(snapshot, array)),
        );
      return finding('failed', 'fix the reason, and start the array', commandLine('raidctl assemble', name));
    default:
      return [];
  }
}

function superblockAction({ superblock }: RaidArrayInfo): string {
  return superblock
    ? 'bring the device back; with superblocks the array starts again automatically'
    : 'bring the device back, and create the array again with the same parameters';
}

/** Paths of an array's absent members as far as they are known, for a command. */
function absentPaths({ configuration }: Snapshot, { ext, uuid }: RaidArrayInfo): string[] {
  const absent = ext.members.filter(({ name }) => name === null).map(({ last_member: last }) => last?.name);
  const pending = configuration.pending.flatMap(({ method, params }) => {
    const isIt = /^bdev_(aio|uring)_create$/.test(method) && absent.includes(String(params?.name));
    return isIt && typeof params?.filename === 'string' ? [params.filename] : [];
  });
  const found = (configuration.found ?? []).filter((one) => one.uuid === uuid && one.bdev_name === null);
  const paths = new Set([...pending, ...found.map(({ path }) => path)]);
  return paths.size === 0 ? ['DEVICES'] : [...paths];
}

function memberPaths({ bdevs }: Snapshot, { ext }: RaidArrayInfo): string[] {
  const paths = ext.members.flatMap(({ name }) => pathOf(bdevs.find((bdev) => bdev.name === name)) ?? []);
  return paths.length === 0 ? ['DEVICES'] : paths;
}

function memberFindings({ ext, name, superblock }: RaidArrayInfo): Finding[] {
  const findings: Finding[] = [];
  const about = (
    member: RaidMember,
    severity: Finding['severity'],
    what: string,
    action: string,
    ...commands: string[]
  ): void => {
    const device = member.name ?? member.last_member?.name ?? 'its member';
    findings.push({ severity, array: name, what: `slot ${member.slot} (${device}): ${what}`, action, commands });
  };
  for (const member of ext.members) {
    const {
      bad_blocks: bad,
      checksum_errors: lies,
      read_errors: reads,
      write_errors: writes,
      repaired_blocks: repaired,
    } = member;
    const replace = commandLine('raidctl replace', name, member.name ?? 'DEVICE', 'NEWDEVICE');
    if (member.state === 'unresponsive')
      about(member, 'notice', 'the device does not respond', 'check the device, or replace it', replace);
    if (bad > 0) {
      about(
        member,
        'degraded',
        `${plural(bad, 'block')} could not be rebuilt: reads use redundancy, or return an error, until they are written`,
        'rewrite them, or restore the data from a backup',
        commandLine('raidctl history', name),
      );
    }
    if (member.state !== 'current' || reads + writes + lies === 0) continue;
    const counts = [
      lies > 0 ? plural(lies, 'checksum error') : '',
      reads > 0 ? plural(reads, 'read error') : '',
      writes > 0 ? plural(writes, 'write error') : '',
    ];
    const healed = repaired > 0 ? `; ${plural(repaired, 'block')} rewritten from redundancy` : '';
    about(
      member,
      'notice',
      `${counts.filter((text) => text !== '').join(' and ')}${healed}`,
      superblock ? 'check the health of the device, and replace it before it fails' : 'check the health of the device',
      replace,
    );
  }
  return findings;
}

function processFindings({ ext: { history, process }, name }: RaidArrayInfo): Finding[] {
  const findings: Finding[] = [];
  const sync = history.find(({ type }) => type === 'check' || type === 'repair');
  const open = sync === undefined ? 0 : sync.type === 'check' ? sync.mismatch_blocks : sync.undecided_blocks;
  if (sync !== undefined && open > 0) {
    const what =
      sync.type === 'check'
        ? `the last check found ${plural(open, 'block')} where redundancy does not match the data${whoIsWrong(sync)}`
        : `the last repair left ${plural(open, 'mismatched block')}, because it is not known which copy is right`;
    const action = sync.type === 'check' ? 'repair them' : 'give the member that is right, or the one that is wrong';
    findings.push({
      severity: 'degraded',
      array: name,
      what,
      action,
      commands: [commandLine(sync.type === 'check' ? 'raidctl repair' : 'raidctl repair --source DEVICE', name)],
    });
  }
  const [last] = history;
  if (last !== undefined && last.error !== null && process === null) {
    const what = `the last ${last.type}${ofTargets(last)} did not succeed: ${last.error}`;
    const action = last.type === 'check' || last.type === 'repair' ? 'start it again' : 'fix the cause';
    const commands =
      last.type === 'check' || last.type === 'repair'
        ? [commandLine(`raidctl ${last.type}`, name)]
        : [commandLine('raidctl history', name)];
    findings.push({ severity: 'notice', array: name, what, action, commands });
  }
  return findings;
}

function layoutFindings({ configuration }: Snapshot, { name, superblock, state }: RaidArrayInfo): Finding[] {
  if (superblock || state !== 'online') return [];
  const crash = 'the array has no superblocks: a crash leaves its members inconsistent';
  const base = { severity: 'notice' as const, array: name };
  if (configuration.state_file !== null) return [{ ...base, what: crash, action: null, commands: [] }];
  const what = `${crash}, and it exists only as long as a configuration creates it again`;
  const action = 'keep the configuration, or start raidkitd with --state';
  return [{ ...base, what, action, commands: ['raidctl config export FILE'] }];
}
