import type { Command } from 'commander';
import type { EventSink } from '@raidkit/client';
import type { Document } from '../documents.js';
import { ExitCode } from '../exit-code.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { renderTable } from '../table.js';
import { examples, parseWhole } from './options.js';

type Result = Extract<Document, { command: 'selftest' }>['sinks'][number];

const pollMs = 50;

const columns = [{ heading: 'SINK' }, { heading: 'WHERE' }, { heading: 'RESULT' }] as const;

export function addSelftest(program: Command, run: Run): void {
  program
    .command('selftest')
    .description('send a test message to every receiver of events, and show whether it arrived')
    .option('--message <text>', 'text of the message')
    .option('--limit <seconds>', 'how long to wait for a receiver', parseWhole(1, 3600), 30)
    .addHelpText(
      'after',
      examples(['raidctl selftest', 'exit code 0: the program, the webhook and the mail program have accepted it']),
    )
    .action((options: { message?: string; limit: number }) => run((session) => selftest(session, options)));
}

async function selftest(session: Session, { limit, message }: { message?: string; limit: number }): Promise<ExitCode> {
  const client = await session.client();
  const before = await client.call('raidkit_get_event_sinks');
  await client.call('raidkit_send_test_event', message === undefined ? {} : { message });
  const until = performance.now() + limit * 1000;
  let now = await client.call('raidkit_get_event_sinks');
  while (now.some(({ waiting }) => waiting > 0) && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, pollMs));
    now = await client.call('raidkit_get_event_sinks');
  }
  const sinks = now.map((sink) =>
    resultOf(
      sink,
      before.find(({ name }) => name === sink.name),
    ),
  );
  const rows = sinks.map(({ error, name, result, where }) => [name, where, error === null ? result : `${result}: ${error}`]);
  const text =
    sinks.length === 0
      ? 'raidkitd answers, but has no receiver of events: start it with --event-program, --event-webhook or --event-mail\n'
      : renderTable(session.terminal, columns, rows);
  session.print({ version: 1, command: 'selftest', sinks }, text);
  return sinks.every(({ result }) => result === 'told') ? ExitCode.Ok : ExitCode.Failed;
}

function resultOf({ dropped, last_error: error, name, waiting, where }: EventSink, before: EventSink | undefined): Result {
  const result = waiting > 0 ? 'waiting' : dropped > (before?.dropped ?? 0) ? 'failed' : 'told';
  return { name, where, result, error: result === 'told' ? null : error };
}
