import type { Command } from 'commander';
import type { ArrayDocument, Document } from '../documents.js';
import { exitCodeOf, worst } from '../exit-code.js';
import type { ExitCode } from '../exit-code.js';
import { otherFindings } from '../findings.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { chooseArrays, describeArray, takeSnapshot } from '../snapshot.js';
import { renderArray } from '../status-view.js';
import { examples, parseWhole } from './options.js';

interface StatusOptions {
  /** Interval in seconds, or true for the default. */
  watch?: number | true;
  count?: number;
}

const defaultIntervalSec = 2;

export function addStatus(program: Command, run: Run): void {
  program
    .command('status')
    .description('show arrays with their slots, devices, errors and background processes, and what to do')
    .argument('[array...]', 'names or uuids; all arrays if none is given')
    .option('-w, --watch [seconds]', `refresh every so many seconds (${defaultIntervalSec})`, parseWhole(1, 3600))
    .option('--count <looks>', 'with --watch: exit after so many refreshes', parseWhole(1, 1_000_000))
    .addHelpText(
      'after',
      examples(
        ['raidctl status', 'all arrays'],
        ['raidctl status vol --watch', 'one array, refreshed until Ctrl-C'],
        ['raidctl status --json', 'for programs'],
      ),
    )
    .action((names: string[], options: StatusOptions) => run((session) => status(session, names, options)));
}

async function status(
  session: Session,
  names: readonly string[],
  { watch, count = Infinity }: StatusOptions,
): Promise<ExitCode> {
  if (watch === undefined) {
    const look = await lookAt(session, names);
    session.print(look.document, look.text);
    return look.exitCode;
  }
  const intervalMs = (watch === true ? defaultIntervalSec : watch) * 1000;
  for (let looks = 1; ; looks++) {
    const look = await lookAt(session, names);
    if (session.isJson) session.print(look.document, '');
    else session.terminal.rewrite(look.text);
    if (looks >= count) return look.exitCode;
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}

async function lookAt(
  session: Session,
  names: readonly string[],
): Promise<{ document: Document; text: string; exitCode: ExitCode }> {
  const snapshot = await takeSnapshot(await session.client());
  const all = snapshot.arrays.map((array) => describeArray(snapshot, array));
  const chosen = chooseArrays(snapshot, names).map((array) => describeArray(snapshot, array));
  const spares = snapshot.spares.map(({ bdev_name: device, name }) => ({ device, array: name }));
  // An array that is a member is shown below its slot.
  const isMember = ({ name }: ArrayDocument): boolean =>
    chosen.some(({ slots }) => slots.some(({ device }) => device === name));
  const shown = chosen.filter((array) => !isMember(array));
  const { terminal } = session;
  const parts = shown.map((array) => renderArray(terminal, array, all));
  if (chosen.length === 0) parts.push('there are no arrays\n');
  if (spares.length > 0)
    parts.push(spares.map(({ device, array }) => `spare: ${device}, for ${array ?? 'any array'}\n`).join(''));
  if (names.length === 0) parts.push(...otherFindings(snapshot).map(({ what }) => `note: ${terminal.fold(what, 6)}\n`));
  return {
    document: { version: 1, command: 'status', arrays: chosen, spares },
    text: parts.join('\n'),
    exitCode: worst(chosen.map(({ health }) => exitCodeOf(health))),
  };
}
