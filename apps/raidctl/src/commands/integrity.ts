import type { Command } from 'commander';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { findArray, takeSnapshot } from '../snapshot.js';
import { addChangeOptions, examples } from './options.js';

interface EnableOptions extends ChangeOptions {
  whenRoom?: boolean;
}

export function addIntegrity(program: Command, run: Run): void {
  const integrity = program.command('integrity').description('turn the checksums of an existing array on and off');
  addChangeOptions(
    integrity
      .command('enable')
      .description('turn on checksums: existing data gets them in the background, and is not verified before')
      .argument('<array>', 'name or uuid')
      .option(
        '--when-room',
        'if members have no room for them, turn them on as soon as members are larger; growth of the array reserves the room',
      ),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl integrity enable vol', 'refused if a member has no room behind its data; the error says how much it lacks'],
        ['raidctl integrity enable vol --when-room', 'then replace its members by larger ones, or enlarge them'],
      ),
    )
    .action((array: string, options: EnableOptions) => run((session) => enable(session, array, options)));
  addChangeOptions(
    integrity
      .command('disable')
      .description('turn off checksums; the array can then grow into their room')
      .argument('<array>', 'name or uuid'),
  ).action((array: string, options: ChangeOptions) => run((session) => disable(session, array, options)));
}

async function enable(session: Session, arrayName: string, options: EnableOptions): Promise<void> {
  const { name } = findArray((await takeSnapshot(await session.client())).arrays, arrayName);
  const params = { name, ...(options.whenRoom === true ? { when_room: true } : {}) };
  const step = callStep(`turn on checksums of array ${name}`, 'raidkit_integrity_enable', params);
  await carryOut(session, { steps: [step], warnings: [] }, options, async () => {
    const { checksums } = findArray((await takeSnapshot(await session.client())).arrays, name).ext;
    return checksums === 'awaiting-room'
      ? `array ${name} gets checksums as soon as its members have room for them\n`
      : `array ${name} has checksums; existing data gets them now: raidctl status shows the progress\n`;
  });
}

async function disable(session: Session, arrayName: string, options: ChangeOptions): Promise<void> {
  const { name } = findArray((await takeSnapshot(await session.client())).arrays, arrayName);
  const step = callStep(`turn off checksums of array ${name}`, 'raidkit_integrity_disable', { name });
  const warnings = [`blocks of members of ${name} are no longer verified: silent corruption is not detected`];
  await carryOut(session, { steps: [step], warnings }, options, () => `array ${name} has no checksums\n`);
}
