import type { Command } from 'commander';
import type { RaidkitEvent, ResultOf } from '@raidkit/client';
import type { Run } from '../action.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import type { Session } from '../session.js';
import type { Terminal } from '../terminal.js';
import { examples, parseWhole } from './options.js';

interface EventsOptions {
  follow?: boolean;
  since: number;
  count: number;
}

/** How long one call waits for the next event, in milliseconds. */
const waitMs = 20_000;

export function addEvents(program: Command, run: Run): void {
  program
    .command('events')
    .description('show the events since the start of the daemon: the last 1024, the newest last')
    .argument('[array...]', 'arrays to show; all events if none is given')
    .option('-f, --follow', 'show further events as they happen, until Ctrl-C')
    .option('--since <id>', 'only events after this one', parseWhole(0, Number.MAX_SAFE_INTEGER), 0)
    .option('--count <events>', 'exit after so many events', parseWhole(1, 1_000_000), Infinity)
    .addHelpText(
      'after',
      examples(
        ['raidctl events', 'the events so far'],
        ['raidctl events vol --follow', 'the events of one array'],
        ['raidctl events --follow --json', 'for programs: a document for each batch'],
      ),
    )
    .action((names: string[], options: EventsOptions) => run((session) => events(session, names, options)));
}

async function events(session: Session, names: readonly string[], { count, follow, since }: EventsOptions): Promise<void> {
  const client = await session.client();
  let instance: string | null = null;
  let last = since;
  for (let left = count; left > 0;) {
    const mayWait: boolean = follow === true && instance !== null;
    const params: { since: number; wait_ms?: number } = { since: last, ...(mayWait ? { wait_ms: waitMs } : {}) };
    const page: ResultOf<'raidkit_get_events'> = await client.call(
      'raidkit_get_events',
      params,
      mayWait ? { timeoutMs: 3 * waitMs } : {},
    );
    if (instance !== null && page.instance !== instance)
      throw new Failure(ExitCode.Unreachable, 'the daemon has been restarted: its events start again');
    const shown = page.events.filter(({ array }) => names.length === 0 || (array !== null && names.includes(array)));
    const batch = shown.slice(0, left);
    if (batch.length > 0 || (instance === null && follow !== true)) print(session, batch);
    left -= batch.length;
    last = page.events.at(-1)?.id ?? last;
    instance = page.instance;
    if (follow !== true) return;
  }
}

function print(session: Session, batch: readonly RaidkitEvent[]): void {
  const { terminal } = session;
  const lines = batch.map((event) => `${event.time}  ${paint(terminal, event)}  ${event.message}\n`);
  const list = batch.map(({ array, device, event, id, message, severity, time }) => {
    return { id, time, event, severity, array, device, message };
  });
  session.print({ version: 1, command: 'events', events: list }, lines.length === 0 ? 'there are no events\n' : lines.join(''));
}

/** Colours and pads the event's name for its column. */
function paint({ colors }: Terminal, { event, severity }: RaidkitEvent): string {
  const name = event.padEnd('DeviceDisappeared'.length);
  if (severity === 'critical') return colors.red(colors.bold(name));
  return severity === 'warning' ? colors.yellow(name) : name;
}
