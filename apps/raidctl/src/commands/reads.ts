import { Option } from 'commander';
import type { Command } from 'commander';
import type { ParamsOf } from '@raidkit/client';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { findArray, takeSnapshot } from '../snapshot.js';
import { memberOf } from './members.js';
import { addChangeOptions, collectName, examples } from './options.js';

export type ReadPolicy = NonNullable<ParamsOf<'raidkit_set_read_policy'>['policy']>;

const policies: readonly ReadPolicy[] = ['least-outstanding', 'round-robin'];

interface ReadsOptions extends ChangeOptions {
  policy?: ReadPolicy;
  prefer?: string[];
  writeMostly?: string[];
  normal?: string[];
}

/** Makes the option for the read policy. */
export function policyOption(flag: string): Option {
  return new Option(`${flag} <policy>`, 'which copy to read: the one with the fewest requests, or each in turn').choices(
    policies,
  );
}

export function addReads(program: Command, run: Run): void {
  addChangeOptions(
    program
      .command('reads')
      .description('set which copies of an array are read; this is recorded on its members')
      .argument('<array>', 'name or uuid')
      .addOption(policyOption('--policy'))
      .option('--prefer <device>', 'prefer this member for reads; repeatable', collectName)
      .option('--write-mostly <device>', 'read this member only if no other one can be read; repeatable', collectName)
      .option('--normal <device>', 'read this member like any other; repeatable', collectName),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl reads vol --policy round-robin', 'each copy in turn'],
        ['raidctl reads vol --prefer sdx', 'from sdx, as long as it can be read'],
        ['raidctl reads vol --write-mostly nbd0', 'a remote member: it is only written'],
      ),
    )
    .action((array: string, options: ReadsOptions) => run((session) => setReads(session, array, options)));
}

async function setReads(session: Session, arrayName: string, options: ReadsOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const array = findArray(snapshot.arrays, arrayName);
  const names = (wanted: readonly string[] | undefined): string[] =>
    (wanted ?? []).map((argument) => memberOf(session, snapshot, array, argument).name);
  const lists = { prefer: names(options.prefer), write_mostly: names(options.writeMostly), normal: names(options.normal) };
  const given = Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0));
  if (options.policy === undefined && Object.keys(given).length === 0)
    throw new Failure(ExitCode.Usage, 'nothing to change', {
      hint: 'give --policy, --prefer, --write-mostly or --normal; raidctl status shows the present policy',
    });
  const params = { name: array.name, ...given, ...(options.policy === undefined ? {} : { policy: options.policy }) };
  const step = callStep(`change the read policy of array ${array.name}`, 'raidkit_set_read_policy', params);
  await carryOut(
    session,
    { steps: [step], warnings: [] },
    options,
    () => `the read policy of array ${array.name} has been changed\n`,
  );
}
