import type { Command } from 'commander';
import { DeviceFinder, closeSteps, isPath, occupantOf, openSteps, requireFree, userOf, wipeStep } from '../devices.js';
import type { Device } from '../devices.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { formatBytes } from '../format.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions, Step } from '../plan.js';
import type { Run } from '../action.js';
import type { MemberRecord } from '../local-device.js';
import type { Session } from '../session.js';
import { nothing, pathOf, takeSnapshot } from '../snapshot.js';
import type { Snapshot } from '../snapshot.js';
import { renderTable } from '../table.js';
import { addChangeOptions, addOpenOptions, examples } from './options.js';
import type { ParsedOpenOptions } from './options.js';

const columns = [
  { heading: 'NAME' },
  { heading: 'SIZE', align: 'right' },
  { heading: 'BLOCK', align: 'right' },
  { heading: 'KIND' },
  { heading: 'PATH' },
  { heading: 'USED BY' },
] as const;

export function addDevices(program: Command, run: Run): void {
  addChangeOptions(
    addOpenOptions(
      program
        .command('open')
        .description('open devices in the daemon; arrays whose members are all present start automatically')
        .argument('<path...>', 'paths of block devices or files')
        .option('--read-only', 'open read-only'),
    ),
  )
    .addHelpText('after', examples(['raidctl open /dev/disk/by-id/ata-*', 'all of these; raidctl status shows the arrays']))
    .action((paths: string[], options: ChangeOptions & ParsedOpenOptions & { readOnly?: boolean }) =>
      run((session) => open(session, paths, options)),
    );
  addChangeOptions(
    program.command('close').description('close devices that are not in use').argument('<device...>', 'paths or names'),
  ).action((names: string[], options: ChangeOptions) => run((session) => close(session, names, options)));
  program
    .command('devices')
    .description('show the open devices of the daemon, and their users')
    .action(() => run((session) => list(session)));
  addChangeOptions(
    program
      .command('wipe')
      .description('clear the superblock and metadata of an array on an unused device; works without the daemon, too')
      .argument('<device>', 'path, or name of an open device')
      .option('-f, --force', 'even if the device has other data'),
  )
    .addHelpText('after', examples(['raidctl wipe /dev/sdx', 'then it can become a member of another array']))
    .action((device: string, options: ChangeOptions) => run((session) => wipe(session, device, options)));
}

async function open(
  session: Session,
  paths: readonly string[],
  options: ChangeOptions & ParsedOpenOptions & { readOnly?: boolean },
): Promise<void> {
  const client = await session.client();
  const before = await takeSnapshot(client);
  const finder = new DeviceFinder(before, session);
  for (const path of paths) {
    if (!isPath(path)) throw new Failure(ExitCode.Usage, `${path} is not a path: give ./${path} for a file in this directory`);
  }
  const devices = paths.map((path) => finder.find(path));
  const members = await membersAmong(devices);
  refuseCopies(before, members);
  const steps = devices.flatMap((device) => {
    const member = members.get(device);
    return openSteps(device, member === undefined ? options : { blockSize: member.blockSize, uuid: member.uuid, ...options });
  });
  await carryOut(session, { steps, warnings: [] }, options, async () => {
    const snapshot = await takeSnapshot(client);
    const lines = devices.map(({ argument, name }) => {
      const bdev = snapshot.bdevs.find((other) => other.name === name);
      const user = bdev === undefined ? null : userOf(snapshot, bdev);
      return `${argument} is open as ${name}${user === null ? '' : `: ${user}`}\n`;
    });
    return lines.join('');
  });
}

/** Finds those devices whose headers say which member of an array they are, whatever their name is now. */
async function membersAmong(devices: readonly Device[]): Promise<Map<Device, MemberRecord>> {
  const { recordedMember } = await import('../local-device.js');
  const members = new Map<Device, MemberRecord>();
  for (const device of devices) {
    const member = device.toOpen === null ? null : await recordedMember(device.toOpen.path);
    if (member !== null) members.set(device, member);
  }
  return members;
}

/** Refuses two devices that claim to be the same member: one is a copy and may be outdated, so the user must choose. */
function refuseCopies({ bdevs }: Snapshot, members: ReadonlyMap<Device, MemberRecord>): void {
  const seen = new Map<string, string>();
  for (const [{ argument }, { array, slot, uuid }] of members) {
    const open = bdevs.find((bdev) => bdev.uuid === uuid);
    const other = open === undefined ? seen.get(uuid) : (pathOf(open) ?? open.name);
    if (other !== undefined)
      throw new Failure(ExitCode.Refused, `${argument} and ${other} both claim to be slot ${slot} of array ${array}`, {
        hint: 'one of them is a copy, and may be an old one: open the other one alone, or wipe the copy with raidctl wipe',
      });
    seen.set(uuid, argument);
  }
}

async function close(session: Session, names: readonly string[], options: ChangeOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const finder = new DeviceFinder(snapshot, session);
  const steps = names.flatMap((name) =>
    isAwaited(snapshot, name) ? [forgetStep(name)] : closing(snapshot, finder.find(name)),
  );
  await carryOut(session, { steps, warnings: [] }, options, () => names.map((name) => `${name} is closed\n`).join(''));
}

/** Whether the daemon would open the device again when it can. */
function isAwaited({ configuration }: Snapshot, name: string): boolean {
  return configuration.pending.some(({ method, params }) => /^bdev_(aio|uring)_create$/.test(method) && params?.name === name);
}

function forgetStep(name: string): Step {
  return callStep(`no longer wait for ${name}`, 'bdev_aio_delete', { name });
}

function closing(snapshot: Snapshot, device: Device): Step[] {
  const { argument, bdev } = device;
  if (bdev === null) throw new Failure(ExitCode.NotFound, `${argument} is not open`);
  requireFree(snapshot, device);
  if (pathOf(bdev) !== null) return closeSteps(bdev);
  throw new Failure(ExitCode.Refused, `${argument} is not a file or block device, but a ${bdev.product_name}`);
}

async function list(session: Session): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const devices = snapshot.bdevs.map((bdev) => ({
    name: bdev.name,
    kind: bdev.product_name,
    path: pathOf(bdev),
    size_bytes: bdev.num_blocks * bdev.block_size,
    block_size: bdev.block_size,
    used_by: userOf(snapshot, bdev),
    disk_health: snapshot.diskHealth?.disks.find((disk) => disk.bdev_name === bdev.name)?.verdict ?? null,
  }));
  const rows = devices.map((device) => [
    device.name,
    formatBytes(device.size_bytes),
    String(device.block_size),
    device.kind,
    device.path ?? '',
    device.used_by ?? '',
  ]);
  session.print(
    { version: 1, command: 'devices', devices },
    rows.length === 0 ? 'no device is open\n' : `${renderTable(session.terminal, columns, rows)}${healthOfDisks(snapshot)}`,
  );
}

/** Returns a line about the health of each disk, or why none is known; empty if only files are open. */
function healthOfDisks({ bdevs, diskHealth }: Snapshot): string {
  if (diskHealth === undefined || !bdevs.some((bdev) => pathOf(bdev)?.startsWith('/dev/') === true)) return '';
  if (diskHealth.reason !== null) return `\nhealth of disks: not known, ${diskHealth.reason}\n`;
  const lines = diskHealth.disks.map(
    ({ bdev_name: name, reason, verdict }) => `  ${name}: ${verdict}${reason === null ? '' : `, ${reason}`}\n`,
  );
  return `\nhealth of disks:\n${lines.join('')}`;
}

async function wipe(session: Session, argument: string, options: ChangeOptions): Promise<void> {
  const client = await session.client().catch((error: unknown) => {
    // A path can be examined without a daemon, which then has nothing open.
    if (isPath(argument)) return null;
    throw error;
  });
  const snapshot = client === null ? nothing : await takeSnapshot(client);
  const device: Device = new DeviceFinder(snapshot, session).find(argument);
  requireFree(snapshot, device);
  const occupant = await occupantOf(client, device);
  const loses = `${argument} loses ${occupant?.what ?? 'its first blocks'}`;
  const isForeign = occupant?.isSuperblock === false;
  const plan = { steps: [wipeStep(device)], warnings: isForeign ? [] : [loses], graver: isForeign ? [loses] : [] };
  await carryOut(session, plan, options, () => `${argument} is wiped\n`);
}
