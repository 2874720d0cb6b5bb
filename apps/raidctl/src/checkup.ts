import { ClientError } from '@raidkit/client';
import type { EventSink, KernelDisk, RaidkitClient, ResultOf } from '@raidkit/client';
import { commandLine } from './command-line.js';
import { occupantOf } from './devices.js';
import type { Finding } from './documents.js';
import { findingsOf, otherFindings } from './findings.js';
import { formatSeconds } from './format.js';
import { pathOf, takeSnapshot } from './snapshot.js';
import type { Snapshot } from './snapshot.js';

/** Largest number of unused devices that are read for superblocks. */
const mostLookedAt = 64;
/** Seconds by which a scheduled check may be late, since it may wait for the hours in which checks run. */
const checkLateSec = 2 * 86_400;
/** Tolerated difference between clocks, in seconds. */
const clockSec = 3600;

/** EPERM. */
const notPermitted = -1;

/** An open, unused device with a superblock. */
interface Carrier {
  device: string;
  arrayUuid: string;
  what: string;
}

/** Everything that is checked for problems. */
export interface Checkup {
  snapshot: Snapshot;
  schedule: ResultOf<'raidkit_get_schedule'>;
  sinks: readonly EventSink[];
  disks: readonly KernelDisk[];
  carriers: readonly Carrier[];
}

/** Queries the daemon for a checkup; changes nothing. */
export async function takeCheckup(client: RaidkitClient): Promise<Checkup> {
  const [snapshot, schedule, sinks, disks] = await Promise.all([
    takeSnapshot(client),
    client.call('raidkit_get_schedule'),
    client.call('raidkit_get_event_sinks').catch((error: unknown) => {
      // A read-only control socket refuses this call.
      if (ClientError.is(error) && error.rpc?.code === notPermitted) return [];
      throw error;
    }),
    client.call('nbd_get_disks', {}),
  ]);
  const carriers: Carrier[] = [];
  for (const name of freeDevices(snapshot).slice(0, mostLookedAt)) {
    // Ignored: the device was removed meanwhile or cannot be read.
    const occupant = await occupantOf(client, { argument: name, name, toOpen: null, bdev: null }).catch(() => null);
    if (occupant?.arrayUuid !== undefined) carriers.push({ device: name, arrayUuid: occupant.arrayUuid, what: occupant.what });
  }
  return { snapshot, schedule, sinks, disks, carriers };
}

/** All findings, the worst first. `now` is in milliseconds since 1970. */
export function checkupFindings(checkup: Checkup, now: number): Finding[] {
  const { snapshot } = checkup;
  const all = [
    ...snapshot.arrays.flatMap((array) => findingsOf(snapshot, array)),
    ...foundFindings(checkup),
    ...carrierFindings(checkup),
    ...otherFindings(snapshot),
    ...exportFindings(checkup),
    ...scheduleFindings(checkup, now),
    ...sinkFindings(checkup),
  ];
  return (['failed', 'degraded', 'notice'] as const).flatMap((severity) => all.filter((one) => one.severity === severity));
}

function freeDevices({ arrays, bdevs, exports, spares }: Snapshot): string[] {
  const used = new Set([
    ...arrays.flatMap(({ ext, name }) => [name, ...ext.members.map((member) => member.name)]),
    ...spares.map(({ bdev_name: name }) => name),
    ...exports.map(({ bdev_name: name }) => name),
  ]);
  return bdevs.filter((bdev) => !bdev.claimed && !used.has(bdev.name) && pathOf(bdev) !== null).map(({ name }) => name);
}

/** Findings about devices that a scan has found and that are not open. */
function foundFindings({ snapshot: { arrays, configuration } }: Checkup): Finding[] {
  const found = (configuration.found ?? []).filter((one) => one.bdev_name === null && one.uuid !== null);
  return found.map(({ array, path, reason, uuid, why }) => {
    const isThere = arrays.some((one) => one.uuid === uuid);
    const what = `${path} has the superblock of array ${String(array)} and is not open: ${reason ?? 'it was found just now'}`;
    const about = { array: isThere ? array : null, what };
    const look = commandLine('raidctl examine', path);
    if (why === 'policy' && !isThere)
      return {
        ...about,
        severity: 'notice',
        action: 'start the array, if it should run here',
        commands: [commandLine('raidctl assemble', String(array))],
      };
    if (why === 'twin') return { ...about, severity: 'degraded', action: 'remove the copy', commands: [look] };
    if (why === 'no member')
      return {
        ...about,
        severity: 'notice',
        action: 'examine it; if it is not needed, wipe it',
        commands: [look, commandLine('raidctl wipe', path)],
      };
    return { ...about, severity: 'notice', action: 'fix the reason', commands: [look, 'raidctl rescan'] };
  });
}

/** Findings about open devices that their array does not use. */
function carrierFindings({ carriers, snapshot: { arrays } }: Checkup): Finding[] {
  return carriers.map(({ arrayUuid, device, what }) => {
    const array = arrays.find(({ uuid }) => uuid === arrayUuid);
    const said = `${device} has ${what}, and is not a member of an array of this daemon`;
    if (array === undefined)
      return {
        severity: 'notice',
        array: null,
        what: said,
        action: 'open the other devices of that array; or close the device, or wipe it if its data is not needed',
        commands: ['raidctl open DEVICES', commandLine('raidctl close', device), commandLine('raidctl wipe', device)],
      };
    const isRival = array.ext.rivals.includes(device);
    const hasRoom =
      array.state === 'online' && array.ext.members.some(({ state }) => state === 'missing' || state === 'failed');
    return {
      severity: isRival ? 'degraded' : 'notice',
      array: array.name,
      what: isRival
        ? `${device} claims to be a member of array ${array.name}, but the members do not know it: one of them was used without the others, or is a copy`
        : `${device} has the superblock of array ${array.name}, but is not a member of it`,
      action: hasRoom
        ? 'examine it; as a member it is rebuilt, and writes that only it has are discarded'
        : 'examine it, and close it; wipe it if its data is not needed',
      commands: [
        commandLine('raidctl examine', device),
        ...(hasRoom ? [commandLine('raidctl add', array.name, device)] : [commandLine('raidctl close', device)]),
      ],
    };
  });
}

/** Findings about volumes that no client can use. */
function exportFindings({ disks, snapshot: { arrays, bdevs, exports } }: Checkup): Finding[] {
  const serving = arrays.filter(
    ({ name, state }) => state === 'online' && bdevs.some((bdev) => bdev.name === name && !bdev.claimed),
  );
  const isUsed = (name: string): boolean => disks.some(({ bdev_name: volume }) => volume === name);
  const hidden = serving.filter(({ name }) => !isUsed(name) && !exports.some(({ bdev_name: volume }) => volume === name));
  const findings: Finding[] = hidden.map(({ name }) => ({
    severity: 'notice',
    array: name,
    what: `the volume ${name} is not exported: no client can use it`,
    action: 'export it',
    commands: [commandLine('raidctl export', name)],
  }));
  if (exports.length > 0 && exports.every(({ uris }) => uris.length === 0))
    findings.push({
      severity: 'notice',
      array: null,
      what: 'raidkitd serves NBD at no address: no client can use the exports',
      action: 'start it with --nbd unix:PATH, or tcp:HOST:PORT with TLS',
      commands: [],
    });
  return findings;
}

/** Findings about checks that are overdue, and clocks that would keep them from running. */
function scheduleFindings({ schedule, snapshot }: Checkup, now: number): Finding[] {
  const findings: Finding[] = [];
  for (const { due_at: dueAt, is_running: isRunning, name } of schedule.arrays) {
    const lateSec = (now - Date.parse(dueAt)) / 1000;
    const history = snapshot.arrays.find((array) => array.name === name)?.ext.history ?? [];
    // A completed check that the schedule has not noticed yet.
    const isDone = history.some((one) => one.type === 'check' && one.error === null && one.started_at > Date.parse(dueAt));
    if (isRunning || isDone || lateSec < checkLateSec) continue;
    const hours = typeof schedule.window === 'string' ? `; checks run at ${schedule.window}` : '';
    findings.push({
      severity: 'notice',
      array: name,
      what: `the scheduled check is late by ${formatSeconds(lateSec)}${hours}`,
      action: 'start it manually',
      commands: [commandLine('raidctl check', name)],
    });
  }
  const ended = snapshot.arrays.flatMap(({ ext, name }) => ext.history.map((record) => ({ at: record.started_at, name })));
  const checked = schedule.arrays.flatMap(({ completed_at: at, name }) => (at === null ? [] : [{ at: Date.parse(at), name }]));
  const ahead = [...ended, ...checked].find(({ at }) => at > now + clockSec * 1000);
  if (ahead !== undefined)
    findings.push({
      severity: 'notice',
      array: ahead.name,
      what: `a record of array ${ahead.name} has the time ${new Date(ahead.at).toISOString()}, which is in the future: a clock is or was wrong`,
      action: 'set the clock; checks are not due before that time',
      commands: [commandLine('raidctl history', ahead.name), 'raidctl schedule'],
    });
  return findings;
}

function sinkFindings({ sinks }: Checkup): Finding[] {
  return sinks
    .filter(({ last_error: error }) => error !== null)
    .map(({ last_error: error, name, where }) => ({
      severity: 'notice',
      array: null,
      what: `events are not delivered to the ${name} (${where}): ${String(error)}`,
      action: 'fix the receiver, and test it',
      commands: ['raidctl selftest'],
    }));
}
