import type { Command } from 'commander';
import type { RaidArrayInfo } from '@raidkit/client';
import { commandLine } from '../command-line.js';
import { closeSteps } from '../devices.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions, Step } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { findArray, takeSnapshot } from '../snapshot.js';
import type { Snapshot } from '../snapshot.js';
import { plural } from '../format.js';
import { addChangeOptions, examples } from './options.js';

type EndOptions = ChangeOptions & { keepOpen?: boolean };
type AssembleOptions = ChangeOptions & { force?: boolean; readOnly?: boolean };

export function addArrays(program: Command, run: Run): void {
  addChangeOptions(
    program
      .command('assemble')
      .description(
        'start an array that waits for members, without the absent ones; or one that was found and does not start automatically',
      )
      .argument('<array>', 'name or uuid')
      .option('-f, --force', 'even after an unclean stop without a journal, or after a split brain')
      .option('--read-only', 'read-only: nothing is written to the members'),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl open /dev/sdx /dev/sdy', 'first: an array whose members are all present starts automatically'],
        ['raidctl assemble vol', 'start it without the absent members'],
        ['raidctl assemble vol --read-only', 'look before deciding'],
      ),
    )
    .action((array: string, options: AssembleOptions) => run((session) => assemble(session, array, options)));
  addChangeOptions(
    program
      .command('trust')
      .description('use parity that may be inconsistent after a crash, instead of returning errors')
      .argument('<array>', 'name or uuid'),
  ).action((array: string, options: ChangeOptions) => run((session) => trust(session, array, options)));
  addChangeOptions(
    program
      .command('clear')
      .description('reset the error counts of the members of an array')
      .argument('<array>', 'name or uuid'),
  ).action((array: string, options: ChangeOptions) => run((session) => clear(session, array, options)));
  addChangeOptions(
    program
      .command('stop')
      .description('stop an array, keep its superblocks, and close its devices: raidctl open starts it again')
      .argument('<array>', 'name or uuid')
      .option('--keep-open', 'leave the devices open in the daemon')
      .option('-f, --force', 'also if another array of which it is a member goes offline'),
  ).action((array: string, options: EndOptions) => run((session) => stop(session, array, options)));
  addChangeOptions(
    program
      .command('destroy')
      .description('destroy an array: its superblocks are cleared, and its data is no longer accessible')
      .argument('<array>', 'name or uuid')
      .option('--keep-open', 'leave the devices open in the daemon')
      .option('-f, --force', 'also if another array of which it is a member goes offline'),
  ).action((array: string, options: EndOptions) => run((session) => destroy(session, array, options)));
}

async function assemble(session: Session, arrayName: string, options: AssembleOptions): Promise<void> {
  const client = await session.client();
  const { arrays, configuration } = await takeSnapshot(client);
  const isFound = (configuration.found ?? []).some(({ array, uuid }) => array === arrayName || uuid === arrayName);
  if (isFound && !arrays.some(({ name, uuid }) => name === arrayName || uuid === arrayName)) {
    if (options.force === true || options.readOnly === true)
      throw new Failure(ExitCode.Refused, `the members of array ${arrayName} are not open yet`, {
        hint: `use raidctl open DEVICES first, then ${commandLine('raidctl assemble', arrayName)} with these options`,
      });
    const open = callStep(`open the members of array ${arrayName} that were found`, 'raidkit_start_found', { name: arrayName });
    await carryOut(session, { steps: [open], warnings: [] }, options, () => `the members of array ${arrayName} are open\n`);
    return;
  }
  const array = findArray(arrays, arrayName);
  const absent = array.ext.members.filter(({ state }) => state !== 'current').length;
  const warnings: string[] = [];
  if (options.readOnly !== true)
    warnings.push(`array ${array.name} is started without ${plural(absent, 'member')}: writes that only these have are lost`);
  const params = {
    name: array.name,
    ...(options.force === true ? { force: true } : {}),
    ...(options.readOnly === true ? { read_only: true } : {}),
  };
  const how = `${options.force === true ? ', by force' : ''}${options.readOnly === true ? ', read-only' : ''}`;
  const step = callStep(`start array ${array.name} without its absent members${how}`, 'raidkit_assemble', params);
  await carryOut(session, { steps: [step], warnings }, options, async () => {
    const [now] = await client.call('raidkit_get_arrays', { name: array.uuid });
    return `array ${array.name} is ${now?.state ?? 'gone'}\n`;
  });
}

async function trust(session: Session, arrayName: string, options: ChangeOptions): Promise<void> {
  const { arrays } = await takeSnapshot(await session.client());
  const { name } = findArray(arrays, arrayName);
  const step = callStep(`trust the parity of array ${name}`, 'raidkit_trust_parity', { name });
  const warnings = ['blocks that cannot be verified are reconstructed from parity, which may be wrong'];
  await carryOut(session, { steps: [step], warnings }, options, () => `the parity of array ${name} is trusted\n`);
}

async function clear(session: Session, arrayName: string, options: ChangeOptions): Promise<void> {
  const { arrays } = await takeSnapshot(await session.client());
  const { name } = findArray(arrays, arrayName);
  const step = callStep(`reset the error counts of array ${name}`, 'raidkit_clear_errors', { name });
  await carryOut(
    session,
    { steps: [step], warnings: [] },
    options,
    () => `the error counts of array ${name} have been reset\n`,
  );
}

async function stop(session: Session, arrayName: string, options: EndOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const array = findArray(snapshot.arrays, arrayName);
  const warnings = clientWarnings(snapshot, array);
  if (!array.superblock)
    warnings.push(`array ${array.name} has no superblocks: only creating it again with the same parameters restores it`);
  const steps = [
    callStep(`stop array ${array.name}`, 'raidkit_stop', { name: array.name }),
    ...closing(snapshot, array, options),
  ];
  const losses = lossesOfOthers(snapshot, array);
  const plan = { steps, warnings: [...warnings, ...losses.warnings], graver: losses.graver };
  await carryOut(session, plan, options, () => `array ${array.name} has been stopped\n`);
}

async function destroy(session: Session, arrayName: string, options: EndOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const array = findArray(snapshot.arrays, arrayName);
  const warnings = [
    ...clientWarnings(snapshot, array),
    `the data of array ${array.name} (${array.uuid}) is no longer accessible`,
  ];
  const params = { name: array.name, clear_sb: array.superblock };
  const steps = [
    callStep(`destroy array ${array.name}${array.superblock ? ', and clear its superblocks' : ''}`, 'bdev_raid_delete', params),
    ...closing(snapshot, array, options),
  ];
  const losses = lossesOfOthers(snapshot, array);
  const plan = { steps, warnings: [...warnings, ...losses.warnings], graver: losses.graver };
  await carryOut(session, plan, options, () => `array ${array.name} has been destroyed\n`);
}

/** Warnings about arrays that have this array as a member. */
function lossesOfOthers({ arrays }: Snapshot, { name }: RaidArrayInfo): { warnings: string[]; graver: string[] } {
  const losses: { warnings: string[]; graver: string[] } = { warnings: [], graver: [] };
  for (const outer of arrays) {
    const member = outer.ext.members.find((one) => one.name === name);
    if (member === undefined || outer.state !== 'online') continue;
    const what = `array ${name} is the member in slot ${member.slot} of array ${outer.name}`;
    if (member.can_leave) losses.warnings.push(`${what}, which continues without it`);
    else losses.graver.push(`${what}, which cannot do without it and goes offline`);
  }
  return losses;
}

function clientWarnings({ exports }: Snapshot, { name }: RaidArrayInfo): string[] {
  const connections = exports.filter((other) => other.bdev_name === name).reduce((sum, other) => sum + other.connections, 0);
  return connections === 0 ? [] : [`${plural(connections, 'client')} of array ${name} will be disconnected`];
}

function closing({ bdevs }: Snapshot, { ext }: RaidArrayInfo, { keepOpen }: EndOptions): Step[] {
  if (keepOpen === true) return [];
  return ext.members.flatMap(({ name }) => closeSteps(bdevs.find((bdev) => bdev.name === name)));
}
