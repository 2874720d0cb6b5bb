import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { RaidArrayInfo } from '@raidkit/client';
import { commandLine } from '../command-line.js';
import { ExitCode, exitCodeOf, worst } from '../exit-code.js';
import { Failure } from '../failure.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { chooseArrays, takeSnapshot } from '../snapshot.js';
import { showHealth } from '../status-view.js';
import { examples, parseWhole } from './options.js';

interface WaitOptions {
  for: 'idle' | 'online' | 'optimal';
  limit: number;
}

/** Milliseconds between two queries: short at first, since many conditions are met at once. */
const firstLookMs = 50;
const longestLookMs = 1000;

export function addWait(program: Command, run: Run): void {
  program
    .command('wait')
    .description('wait until background processes have ended, or until arrays are online or optimal')
    .argument('[array...]', 'names or uuids; all arrays if none is given')
    .option(
      '--for <what>',
      'idle: no background process runs or is queued; online; or optimal: every member in sync',
      parseWhat,
      'idle',
    )
    .option('--limit <seconds>', 'how long to wait; 0 for no limit', parseWhole(0, 10_000_000), 0)
    .addHelpText(
      'after',
      examples(
        ['raidctl wait vol', 'until its rebuild has ended'],
        ['raidctl wait vol --for online --limit 60', 'at most a minute; exit code 4 after that'],
      ),
    )
    .action((names: string[], options: WaitOptions) =>
      run((session) => waitUntil(session, names, { what: options.for, limitSec: options.limit })),
    );
}

function parseWhat(text: string): WaitOptions['for'] {
  if (text === 'idle' || text === 'online' || text === 'optimal') return text;
  throw new InvalidArgumentError(`It must be idle, online or optimal, not ${text}.`);
}

/** Waits, then prints the arrays' state and returns an exit code for it. */
export async function waitUntil(
  session: Session,
  names: readonly string[],
  {
    what = 'idle',
    limitSec = 0,
    isPartOfMore = false,
  }: { what?: WaitOptions['for']; limitSec?: number; isPartOfMore?: boolean } = {},
): Promise<ExitCode> {
  const arrays = await lookUntil(session, names, (array) => isDone(array, what), limitSec);
  const document = arrays.map((array) => ({ name: array.name, health: array.ext.health }));
  const lines = document.map(({ name, health }) => `array ${name} is ${showHealth(session.terminal, health)}\n`);
  // A command prints only one document.
  if (!isPartOfMore || !session.isJson) session.print({ version: 1, command: 'wait', arrays: document }, lines.join(''));
  return worst(document.map(({ health }) => exitCodeOf(health)));
}

/** Queries the arrays until `isTrue` holds for each. Throws a `Failure` when the time is over; 0 seconds: never. */
export async function lookUntil(
  session: Session,
  names: readonly string[],
  isTrue: (array: RaidArrayInfo) => boolean,
  limitSec = 0,
): Promise<RaidArrayInfo[]> {
  const client = await session.client();
  const until = limitSec === 0 ? Infinity : performance.now() + limitSec * 1000;
  for (let pauseMs = firstLookMs; ; pauseMs = Math.min(pauseMs * 2, longestLookMs)) {
    const arrays = chooseArrays(await takeSnapshot(client), names);
    const waitedFor = arrays.find((array) => !isTrue(array));
    if (waitedFor === undefined) return arrays;
    if (performance.now() + pauseMs > until) {
      const message = `array ${waitedFor.name} is still ${waitedFor.ext.health} after ${limitSec} s`;
      throw new Failure(ExitCode.Refused, message, { hint: commandLine('raidctl status', waitedFor.name) });
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

function isDone({ ext, state }: RaidArrayInfo, what: WaitOptions['for']): boolean {
  if (what === 'online') return state === 'online';
  if (what === 'optimal') return ext.health === 'optimal';
  // A process that waits for its turn does not exist yet.
  return (
    ext.process === null && ext.waits_for === null && ext.health !== 'rebuilding' && (ext.regions?.needs_resync ?? 0) === 0
  );
}
