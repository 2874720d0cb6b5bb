import type { Command } from 'commander';
import type { ParamsOf, RaidArrayInfo } from '@raidkit/client';
import { commandLine } from '../command-line.js';
import { DeviceFinder } from '../devices.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { plural } from '../format.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { describeRecord, findArray, takeSnapshot } from '../snapshot.js';
import { ofTargets, whoIsWrong } from '../work.js';
import type { Snapshot } from '../snapshot.js';
import { addChangeOptions, examples, parseWhole } from './options.js';
import { lookUntil } from './wait.js';

type SyncOptions = ChangeOptions & { wait?: boolean; source?: string; wrong?: string };

export function addProcesses(program: Command, run: Run): void {
  addChangeOptions(
    program
      .command('check')
      .description('compare copies or parity with the data; rewrite only unreadable blocks')
      .argument('<array>', 'name or uuid')
      .option('--wait', 'wait until it has ended; exit code 5 if there are mismatches'),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl check vol', 'in the background: raidctl status vol shows it'],
        ['raidctl check vol --wait', 'for use in a timer'],
      ),
    )
    .action((array: string, options: SyncOptions) => run((session) => sync(session, 'check', array, options)));
  addChangeOptions(
    program
      .command('repair')
      .description('check, and make copies and parity consistent with the data')
      .argument('<array>', 'name or uuid')
      .option('--source <device>', 'for copies: the member that is right (the majority)')
      .option('--wrong <device>', 'the member that is wrong at mismatches (parity, or the minority of copies)')
      .option('--wait', 'wait until it has ended; exit code 5 if mismatches are left'),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl repair vol', 'write parity again, or what most copies hold'],
        ['raidctl repair vol --source sdx', 'of two copies, the one on sdx is right'],
      ),
    )
    .action((array: string, options: SyncOptions) => run((session) => sync(session, 'repair', array, options)));

  const rebuild = program
    .command('rebuild')
    .description(
      'pause, resume, limit or cancel the background process of an array: rebuild, resync, resum, sum, check, repair, replace',
    );
  for (const [action, meaning] of [
    ['pause', 'pause it until resume'],
    ['resume', 'resume it'],
    ['cancel', 'cancel it; a device that was being rebuilt is removed'],
  ] as const) {
    addChangeOptions(rebuild.command(action).description(meaning).argument('<array>', 'name or uuid')).action(
      (array: string, options: ChangeOptions) => run((session) => control(session, array, options, action, { action })),
    );
  }
  addChangeOptions(
    rebuild
      .command('limit')
      .description('limit the rate of the running process')
      .argument('<array>', 'name or uuid')
      .argument('<MiB>', 'maximum MiB/s; 0 for no limit, "shared" for the limit of all arrays', parseRate)
      .option('--least <MiB>', 'MiB/s that it does at least, whatever users do; or "shared"', parseRate),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl rebuild limit vol 50', 'at most 50 MiB a second'],
        ['raidctl rebuild limit vol 0 --least 20', 'at least 20, whatever users do'],
      ),
    )
    .action((array: string, rate: number | null, options: ChangeOptions & { least?: number | null }) =>
      run((session) =>
        control(session, array, options, `limit to ${rate === null ? 'the shared limit' : `${rate} MiB/s`}`, {
          max_bandwidth_mb_sec: rate,
          ...(options.least === undefined ? {} : { min_bandwidth_mb_sec: options.least }),
        }),
      ),
    );

  program
    .command('history')
    .description('show the background processes of an array that have ended, the latest first')
    .argument('<array>', 'name or uuid')
    .action((array: string) => run((session) => history(session, array)));
}

const parseNumber = parseWhole(0, 0xffff_ffff);

function parseRate(text: string): number | null {
  return text === 'shared' ? null : parseNumber(text);
}

async function sync(
  session: Session,
  type: 'check' | 'repair',
  arrayName: string,
  options: SyncOptions,
): Promise<ExitCode | undefined> {
  const client = await session.client();
  const snapshot = await takeSnapshot(client);
  const array = findArray(snapshot.arrays, arrayName);
  const { source, wrong } = options;
  if (source !== undefined && wrong !== undefined) throw new Failure(ExitCode.Usage, '--source and --wrong exclude each other');
  const members = {
    ...(source === undefined ? {} : { source: memberName(session, snapshot, array, source) }),
    ...(wrong === undefined ? {} : { wrong: memberName(session, snapshot, array, wrong) }),
  };
  const warnings = [
    ...(source === undefined ? [] : [`at mismatches, the copies on ${source} overwrite the others`]),
    ...(wrong === undefined ? [] : [`at mismatches, the blocks of ${wrong} are rewritten`]),
  ];
  const step = callStep(`start a ${type} of array ${array.name}`, 'raidkit_start_process', {
    name: array.name,
    type,
    ...members,
  });
  const before = newest(array, type);
  const said = `the ${type} of array ${array.name} has started, or is queued\n`;
  const isDone = await carryOut(session, { steps: [step], warnings }, options, () => said);
  return isDone && options.wait === true ? outcome(session, array.uuid, type, before) : undefined;
}

/** Start of the latest ended process of this type, in milliseconds since 1970; 0 for none. */
function newest(array: RaidArrayInfo, type: string): number {
  return Math.max(0, ...array.ext.history.filter((record) => record.type === type).map((record) => record.started_at));
}

/** Waits until the process has left a record, which it does however it ends; prints the result and returns an exit code. */
async function outcome(session: Session, uuid: string, type: 'check' | 'repair', before: number): Promise<ExitCode> {
  const array = await lookUntil(session, [uuid], (other) => newest(other, type) > before || other.state !== 'online');
  const record = array.find((other) => newest(other, type) > before)?.ext.history.find((entry) => entry.type === type);
  if (record === undefined) throw new Failure(ExitCode.Failed, `the array went offline before the ${type} had ended`);
  const left = type === 'check' ? record.mismatch_blocks : record.undecided_blocks;
  if (!session.isJson) {
    const found = left === 0 ? 'no mismatches are left' : `${plural(left, 'mismatched block')} left`;
    const error = record.error === null ? '' : ` with an error (${record.error})`;
    session.terminal.write(`the ${type} has ended${error}: ${found}\n`);
  }
  if (left > 0) return ExitCode.Degraded;
  return record.error === null ? ExitCode.Ok : ExitCode.Failed;
}

function memberName(session: Session, snapshot: Snapshot, array: RaidArrayInfo, argument: string): string {
  const { name } = new DeviceFinder(snapshot, session).find(argument);
  if (array.ext.members.some((member) => member.name === name)) return name;
  throw new Failure(ExitCode.NotFound, `${argument} is not a member of array ${array.name}`, {
    hint: commandLine('raidctl status', array.name),
  });
}

async function control(
  session: Session,
  arrayName: string,
  options: ChangeOptions,
  does: string,
  what: { action?: 'pause' | 'resume' | 'cancel'; max_bandwidth_mb_sec?: number | null; min_bandwidth_mb_sec?: number | null },
): Promise<void> {
  const { arrays } = await takeSnapshot(await session.client());
  const array = findArray(arrays, arrayName);
  const { health, process } = array.ext;
  if (process === null && health === 'rebuilding') {
    throw new Failure(ExitCode.Refused, `the rebuild of array ${array.name} has not started`, {
      hint: 'it is queued; try again',
    });
  }
  if (process === null) {
    throw new Failure(ExitCode.NotFound, `array ${array.name} has no background process`, {
      hint: `${commandLine('raidctl history', array.name)} shows those that have ended`,
    });
  }
  const subject = `the ${process.type} of array ${array.name}`;
  const step = callStep(`${does} ${subject}`, 'raidkit_control_process', {
    name: array.name,
    // The type that the user has confirmed is sent back as the daemon named it.
    type: process.type as NonNullable<ParamsOf<'raidkit_control_process'>['type']>,
    ...what,
  });
  const warnings = what.action === 'cancel' ? [`${subject} is cancelled at ${process.progress.percent} %`] : [];
  await carryOut(session, { steps: [step], warnings }, options, () => `${subject}: ${does} done\n`);
}

async function history(session: Session, arrayName: string): Promise<void> {
  const { arrays } = await takeSnapshot(await session.client());
  const array = findArray(arrays, arrayName);
  const processes = array.ext.history.map(describeRecord);
  const lines = array.ext.history.map((record, index) => {
    const { started_at: startedAt } = processes[index] ?? { started_at: '' };
    const counts = [
      record.mismatch_blocks > 0 ? `${plural(record.mismatch_blocks, 'mismatched block')}${whoIsWrong(record)}` : '',
      record.repaired_blocks > 0 ? `${record.repaired_blocks} rewritten` : '',
      record.undecided_blocks > 0 ? `${record.undecided_blocks} undecided` : '',
      record.unreadable_blocks > 0 ? `${record.unreadable_blocks} could not be read` : '',
      record.lost_blocks > 0 ? `${record.lost_blocks} lost` : '',
      record.unproven_blocks > 0 ? `${record.unproven_blocks} not verified` : '',
      record.error ?? '',
    ].filter((text) => text !== '');
    return `${startedAt}  ${record.type}${ofTargets(record)}  ${record.seconds.toFixed(1)} s  ${counts.length === 0 ? 'no mismatches' : counts.join(', ')}\n`;
  });
  session.print(
    { version: 1, command: 'history', array: array.name, processes },
    lines.length === 0 ? 'no background process has ended yet\n' : lines.join(''),
  );
}
