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
  const integrity = program
    .command('integrity')
    .description('turn checksums of what members hold on and off, for an array that is there');
  addChangeOptions(
    integrity
      .command('enable')
      .description('give an array checksums: what is there gets them in the background, and is not proven before')
      .argument('<array>', 'name or uuid')
      .option('--when-room', 'if members have no room for them: as soon as they are larger; growth leaves it'),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl integrity enable vol', 'refused if a member has no room behind its data, with how much it lacks'],
        ['raidctl integrity enable vol --when-room', 'then replace its members by larger ones, or enlarge them'],
      ),
    )
    .action((array: string, options: EnableOptions) => run((session) => enable(session, array, options)));
  addChangeOptions(
    integrity
      .command('disable')
      .description('take the checksums of an array away; what they had is room for growth')
      .argument('<array>', 'name or uuid'),
  ).action((array: string, options: ChangeOptions) => run((session) => disable(session, array, options)));
}

async function enable(session: Session, arrayName: string, options: EnableOptions): Promise<void> {
  const { name } = findArray((await takeSnapshot(await session.client())).arrays, arrayName);
  const params = { name, ...(options.whenRoom === true ? { when_room: true } : {}) };
  const step = callStep(`give array ${name} checksums`, 'raidkit_integrity_enable', params);
  await carryOut(session, { steps: [step], warnings: [] }, options, async () => {
    const { checksums } = findArray((await takeSnapshot(await session.client())).arrays, name).ext;
    return checksums === 'awaiting-room'
      ? `array ${name} gets checksums as soon as its members have room for them\n`
      : `array ${name} has checksums; what is there already gets them now: raidctl status shows how far that is\n`;
  });
}

async function disable(session: Session, arrayName: string, options: ChangeOptions): Promise<void> {
  const { name } = findArray((await takeSnapshot(await session.client())).arrays, arrayName);
  const step = callStep(`take the checksums of array ${name} away`, 'raidkit_integrity_disable', { name });
  const warnings = [`what members of ${name} hold is not verified any more: a disk that lies is not found`];
  await carryOut(session, { steps: [step], warnings }, options, () => `array ${name} has no checksums\n`);
}
