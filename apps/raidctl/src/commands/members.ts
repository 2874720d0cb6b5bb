import type { Command } from 'commander';
import type { RaidArrayInfo } from '@raidkit/client';
import { commandLine } from '../command-line.js';
import { DeviceFinder, closeSteps, occupantOf, openSteps, requireFree, wipeStep } from '../devices.js';
import type { Device, Occupant, OpenOptions } from '../devices.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions, Plan, Step } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { countCurrent, findArray, takeSnapshot } from '../snapshot.js';
import type { Snapshot } from '../snapshot.js';
import { addChangeOptions, addOpenOptions, examples } from './options.js';
import type { ParsedOpenOptions } from './options.js';
import { waitUntil } from './wait.js';

type JoinOptions = ChangeOptions & ParsedOpenOptions & { wait?: boolean };
type AddOptions = JoinOptions & { mirror?: boolean; append?: boolean };
type RemoveOptions = ChangeOptions & { keepOpen?: boolean };
type TakeOutOptions = RemoveOptions & { mirror?: boolean };

const forceHelp = 'overwrite what others keep on the device';
const offlineHelp = 'even if the array cannot do without it, and goes offline or loses blocks';
const irreplaceableHelp = 'even if blocks of it cannot be reconstructed yet';

export function addMembers(program: Command, run: Run): void {
  addJoinOptions(
    program
      .command('add')
      .description('put a device into an empty slot of an array; it is rebuilt while the volume is in use')
      .argument('<array>', 'name or uuid')
      .argument('<device>', 'path, or name of an open device')
      .option('--mirror', 'add one more copy to a raid1 or a group of a raid10: in a new slot, if none is empty')
      .option('--append', 'append the device to a concat'),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl add vol /dev/sdz', 'a new disk, or a former member'],
        ['raidctl add vol /dev/sdz --wait', 'wait until it is in sync'],
        ['raidctl add vol /dev/sdz --mirror', 'a further copy; raidctl remove vol sdz --mirror ends it'],
        ['raidctl add tape /dev/sdz --append', 'the volume grows at once'],
      ),
    )
    .action((array: string, device: string, options: AddOptions) => run((session) => add(session, array, device, options)));

  addChangeOptions(
    memberCommand(program, 'remove', 'take a device out of an array, and close it')
      .option('--keep-open', 'leave the device open in the daemon')
      .option('--mirror', 'remove its slot, too, of a raid1 or raid10; "slot N" for a slot without a member')
      .option('-f, --force', offlineHelp),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl remove vol sdx', 'no spare replaces it; it can then be unplugged'],
        ['raidctl remove vol sdx --mirror', 'one copy less; no member is missing'],
        ['raidctl remove vol "slot 2" --mirror', 'a slot that has never had a member'],
      ),
    )
    .action((array: string, device: string, options: TakeOutOptions) =>
      run((session) =>
        options.mirror === true ? removeSlot(session, array, device, options) : remove(session, array, device, options),
      ),
    );

  addChangeOptions(
    memberCommand(program, 'fail', 'fail a member: a spare replaces it at once').option('-f, --force', irreplaceableHelp),
  )
    .addHelpText('after', examples(['raidctl fail vol sdx', 'a disk that is about to fail; it stays open']))
    .action((array: string, device: string, options: ChangeOptions) => run((session) => fail(session, array, device, options)));

  addChangeOptions(
    memberCommand(
      program,
      'offline',
      'remove a member temporarily: no spare replaces it, and it only gets the writes that it missed when it is back',
    ).option('-f, --force', offlineHelp),
  )
    .addHelpText('after', examples(['raidctl offline vol sdx', 'raidctl online vol sdx brings it back']))
    .action((array: string, device: string, options: ChangeOptions) =>
      run((session) => remove(session, array, device, { ...options, keepOpen: true })),
    );

  addJoinOptions(
    program
      .command('online')
      .description('bring a member back that was taken offline')
      .argument('<array>', 'name or uuid')
      .argument('<device>', 'path or name of the device'),
  )
    .addHelpText('after', examples(['raidctl online vol sdx --wait', 'wait until it is in sync']))
    .action((array: string, device: string, options: JoinOptions) => run((session) => add(session, array, device, options)));

  addJoinOptions(
    program
      .command('replace')
      .description('copy a member to a new device, which then replaces it; the member stays in use meanwhile')
      .argument('<array>', 'name or uuid')
      .argument('<old>', 'path or name of the member')
      .argument('<new>', 'path, or name of an open device'),
  )
    .addHelpText('after', examples(['raidctl replace vol sdx /dev/sdz', 'without reducing redundancy']))
    .action((array: string, old: string, device: string, options: JoinOptions) =>
      run((session) => replace(session, array, old, device, options)),
    );

  const spare = program.command('spare').description('manage spares');
  addChangeOptions(
    addOpenOptions(
      spare
        .command('add')
        .description('add a spare')
        .argument('<device>', 'path, or name of an open device')
        .option('--for <array>', 'the array that it is for (any)')
        .option('-f, --force', forceHelp),
    ),
  )
    .addHelpText('after', examples(['raidctl spare add /dev/sdz --for vol', 'it replaces a member of vol that fails']))
    .action((device: string, options: JoinOptions & { for?: string }) => run((session) => addSpare(session, device, options)));
  addChangeOptions(
    spare
      .command('remove')
      .description('remove a spare, and close it')
      .argument('<device>', 'path or name of a spare')
      .option('--keep-open', 'leave the device open in the daemon'),
  ).action((device: string, options: RemoveOptions) => run((session) => removeSpare(session, device, options)));
  spare
    .command('list', { isDefault: true })
    .description('show the spares')
    .action(() => run((session) => listSpares(session)));
}

/** Makes a command about a member of an array. */
function memberCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .argument('<array>', 'name or uuid')
    .argument('<device>', 'path or name of a member');
}

function addJoinOptions(command: Command): Command {
  return addChangeOptions(addOpenOptions(command))
    .option('-f, --force', forceHelp)
    .option('--wait', 'wait until the device is in sync');
}

async function add(session: Session, arrayName: string, argument: string, options: AddOptions): Promise<ExitCode | undefined> {
  const client = await session.client();
  const snapshot = await takeSnapshot(client);
  const array = findArray(snapshot.arrays, arrayName);
  const device = new DeviceFinder(snapshot, session).find(argument);
  requireFree(snapshot, device);
  const occupant = await occupantOf(client, device);
  const join = await joinStep(session, array, device, options);
  // A former member returns to its slot as soon as it is opened, unless its array waits for the user.
  const plan =
    occupant?.arrayUuid === array.uuid
      ? { steps: [...openSteps(device, options), unlessMember(array, device, join)], warnings: [] }
      : joinPlan(device, occupant, join, options);
  const isDone = await carryOut(session, plan, options, () => `${device.name} is being added to array ${array.name}\n`);
  return isDone && options.wait === true ? waitUntil(session, [array.name], { isPartOfMore: true }) : undefined;
}

/** Makes the call that adds the device: to an empty slot, or to a new slot of a level that supports that. */
async function joinStep(
  session: Session,
  array: RaidArrayInfo,
  { argument, name }: Device,
  { append, mirror }: AddOptions,
): Promise<Step> {
  if (append === true && mirror === true) throw new Failure(ExitCode.Usage, '--mirror and --append exclude each other');
  const modules = await (await session.client()).call('raidkit_get_modules');
  const added = modules.find(({ level }) => level === array.raid_level)?.added_slot ?? null;
  if (append !== true && mirror !== true) {
    if (added === 'copy' && array.ext.members.every((member) => member.name !== null))
      throw new Failure(ExitCode.Refused, `array ${array.name} has no empty slot for ${name}`, {
        hint: `to add one more copy in a new slot, use ${commandLine('raidctl add', array.name, argument)} --mirror`,
      });
    return callStep(`add ${name} to array ${array.name}`, 'bdev_raid_add_base_bdev', {
      raid_bdev: array.name,
      base_bdev: name,
    });
  }
  if (added !== (append === true ? 'space' : 'copy'))
    throw new Failure(
      ExitCode.Refused,
      `array ${array.name} is a ${array.raid_level}, which ${append === true ? 'cannot be appended to' : 'cannot have one more copy'}`,
      {
        hint:
          added === null
            ? 'its layout depends on the number of members'
            : `it can have ${added === 'copy' ? 'one more copy: --mirror' : 'more space: --append'}`,
      },
    );
  const what =
    append === true ? `append ${name} to array ${array.name}` : `add ${name} to array ${array.name} as one more copy`;
  return callStep(what, 'bdev_raid_grow_base_bdev', { raid_name: array.name, base_name: name });
}

/** Makes the plan of a command that adds a device to an array: the device must be opened and cleared. */
function joinPlan(device: Device, occupant: Occupant | null, join: Step, options: OpenOptions): Plan {
  const open = openSteps(device, options);
  if (occupant === null) return { steps: [...open, join], warnings: [] };
  const graver = [`${device.argument} has ${occupant.what}: its data will be lost`];
  return { steps: [wipeStep(device), ...open, join], warnings: [], graver };
}

/** Makes a step that is skipped if the device has become a member by itself meanwhile. */
function unlessMember(array: RaidArrayInfo, device: Device, step: Step): Step {
  return {
    ...step,
    async run(session) {
      const [now] = await (await session.client()).call('raidkit_get_arrays', { name: array.uuid });
      if (now?.ext.members.some(({ name }) => name === device.name) === true) return true;
      return step.run(session);
    },
  };
}

async function fail(session: Session, arrayName: string, argument: string, options: ChangeOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const array = findArray(snapshot.arrays, arrayName);
  const device = memberOf(session, snapshot, array, argument);
  const params = { name: array.name, member: device.name, ...forced(options) };
  const step = callStep(`fail ${device.name} of array ${array.name}`, 'raidkit_fail', params);
  const warnings = [`array ${array.name} continues without ${device.name}`];
  await carryOut(session, { steps: [step], warnings }, options, () => `${device.name} of array ${array.name} has failed\n`);
}

async function remove(session: Session, arrayName: string, argument: string, options: RemoveOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const array = findArray(snapshot.arrays, arrayName);
  const device = memberOf(session, snapshot, array, argument);
  const left = countCurrent(array) - 1;
  // An array that is not online cannot lose anything by this.
  const goesOn = array.state !== 'online' || array.ext.members.some(({ name, can_leave: can }) => name === device.name && can);
  const risk = goesOn
    ? `without ${device.name} array ${array.name} has ${left} of ${array.num_base_bdevs} members`
    : `array ${array.name} cannot do without ${device.name}: it goes offline, and its volume is unavailable until the device is back`;
  const steps = [
    callStep(`remove ${device.name} from array ${array.name}`, 'bdev_raid_remove_base_bdev', {
      name: device.name,
      ...forced(options),
    }),
    ...(options.keepOpen === true ? [] : closeSteps(device.bdev ?? undefined)),
  ];
  const plan = goesOn ? { steps, warnings: [risk] } : { steps, warnings: [], graver: [risk] };
  await carryOut(session, plan, options, () => `${device.name} has been removed from array ${array.name}\n`);
}

/** Left out unless it is set: SPDK does not know it. */
function forced({ force }: ChangeOptions): { force?: true } {
  return force === true ? { force } : {};
}

/** Removes a slot permanently, with its member if it has one. */
async function removeSlot(session: Session, arrayName: string, argument: string, options: RemoveOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const array = findArray(snapshot.arrays, arrayName);
  const [, digits] = /^slot (\d+)$/.exec(argument) ?? [];
  const slot = digits === undefined ? null : Number(digits);
  // If the slot has a member, the command treats it as if the member had been named.
  const member = slot === null ? argument : (array.ext.members.find((one) => one.slot === slot)?.name ?? null);
  const device = member === null ? null : memberOf(session, snapshot, array, member);
  const which = device === null ? { slot: Number(digits) } : { member: device.name };
  if (array.num_base_bdevs === 1)
    throw new Failure(ExitCode.Refused, `array ${array.name} has only one slot, which cannot be removed`, {
      hint: `raidctl destroy ${array.name} destroys the array`,
    });
  const left = array.num_base_bdevs - 1;
  // In other levels each member holds copies of parts of some others.
  const copies = array.raid_level === 'raid1' ? `${left} ${left === 1 ? 'copy' : 'copies'}` : `${left} members`;
  const steps = [
    callStep(`remove ${device?.name ?? argument} and its slot from array ${array.name}`, 'raidkit_remove_slot', {
      name: array.name,
      ...which,
    }),
    ...(options.keepOpen === true || device === null ? [] : closeSteps(device.bdev ?? undefined)),
  ];
  const warnings = [
    `array ${array.name} now has ${copies}${device === null ? '' : `, and ${device.name} is no longer a member`}`,
  ];
  await carryOut(session, { steps, warnings }, options, () => `array ${array.name} has ${copies}\n`);
}

export function memberOf(session: Session, snapshot: Snapshot, array: RaidArrayInfo, argument: string): Device {
  const device = new DeviceFinder(snapshot, session).find(argument);
  if (array.ext.members.some(({ name }) => name === device.name)) return device;
  const names = array.ext.members.flatMap(({ name }) => name ?? []);
  throw new Failure(ExitCode.NotFound, `${argument} is not a member of array ${array.name}`, {
    hint: `its members are: ${names.join(', ')}`,
  });
}

async function replace(
  session: Session,
  arrayName: string,
  old: string,
  argument: string,
  options: JoinOptions,
): Promise<ExitCode | undefined> {
  const client = await session.client();
  const snapshot = await takeSnapshot(client);
  const array = findArray(snapshot.arrays, arrayName);
  const member = memberOf(session, snapshot, array, old);
  const device = new DeviceFinder(snapshot, session).find(argument);
  requireFree(snapshot, device);
  const params = { name: array.name, member: member.name, bdev_name: device.name };
  const replaceStep = callStep(
    `copy ${member.name} to ${device.name}, which then replaces it in array ${array.name}`,
    'raidkit_replace',
    params,
  );
  const plan = joinPlan(device, await occupantOf(client, device), replaceStep, options);
  const isDone = await carryOut(session, plan, options, () => `${member.name} is being copied to ${device.name}\n`);
  return isDone && options.wait === true ? waitUntil(session, [array.name], { isPartOfMore: true }) : undefined;
}

async function addSpare(session: Session, argument: string, options: JoinOptions & { for?: string }): Promise<void> {
  const client = await session.client();
  const snapshot = await takeSnapshot(client);
  const array = options.for === undefined ? null : findArray(snapshot.arrays, options.for);
  const device = new DeviceFinder(snapshot, session).find(argument);
  requireFree(snapshot, device);
  const whose = array === null ? 'any array' : `array ${array.name}`;
  const params = { bdev_name: device.name, ...(array === null ? {} : { name: array.name }) };
  const addStep = callStep(`add ${device.name} as a spare for ${whose}`, 'raidkit_add_spare', params);
  const plan = joinPlan(device, await occupantOf(client, device), addStep, options);
  await carryOut(session, plan, options, () => `${device.name} is a spare for ${whose}\n`);
}

async function removeSpare(session: Session, argument: string, options: RemoveOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const device = new DeviceFinder(snapshot, session).find(argument);
  if (!snapshot.spares.some(({ bdev_name: name }) => name === device.name)) {
    throw new Failure(ExitCode.NotFound, `${argument} is not a spare`, { hint: 'raidctl spare list' });
  }
  const steps = [
    callStep(`remove the spare ${device.name}`, 'raidkit_remove_spare', { bdev_name: device.name }),
    ...(options.keepOpen === true ? [] : closeSteps(device.bdev ?? undefined)),
  ];
  await carryOut(session, { steps, warnings: [] }, options, () => `${device.name} is no longer a spare\n`);
}

async function listSpares(session: Session): Promise<void> {
  const client = await session.client();
  const spares = (await client.call('raidkit_get_spares')).map(({ bdev_name: device, name }) => ({ device, array: name }));
  const lines = spares.map(({ device, array }) => `${device}, for ${array ?? 'any array'}\n`);
  session.print({ version: 1, command: 'spares', spares }, lines.length === 0 ? 'there are no spares\n' : lines.join(''));
}
