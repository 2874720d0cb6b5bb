import type { Command } from 'commander';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { formatBytes, formatSeconds } from '../format.js';
import { renderTable } from '../table.js';
import { examples } from './options.js';

const columns = [
  { heading: 'EXPORT' },
  { heading: 'CLIENT' },
  { heading: 'LISTENER' },
  { heading: 'WHO' },
  { heading: 'MODE' },
  { heading: 'FOR', align: 'right' },
  { heading: 'REQUESTS', align: 'right' },
  { heading: 'BUFFERS', align: 'right' },
] as const;

export function addClients(program: Command, run: Run): void {
  program
    .command('clients')
    .description('show the connected NBD clients: their export, since when they are connected, and their requests in flight')
    .argument('[export...]', 'exports whose clients to show; all if none is given')
    .addHelpText('after', examples(['raidctl clients vol', 'who would be disconnected']))
    .action((names: string[]) => run((session) => clients(session, names)));
}

async function clients(session: Session, names: readonly string[]): Promise<void> {
  const all = await (await session.client()).call('raidkit_nbd_get_clients');
  const shown = all
    .filter((one) => names.length === 0 || names.includes(one.export))
    .map((one) => ({
      export: one.export,
      peer: one.peer,
      listener: one.listener,
      tls_user: one.tls_user,
      certificate: one.certificate,
      read_only: one.read_only,
      seconds: one.seconds,
      requests: one.requests,
      bytes: one.bytes,
    }));
  const rows = shown.map((one) => [
    one.export,
    one.peer,
    one.listener,
    one.tls_user ?? one.certificate ?? '',
    one.read_only ? 'read-only' : 'read-write',
    formatSeconds(one.seconds),
    String(one.requests),
    formatBytes(one.bytes),
  ]);
  session.print(
    { version: 1, command: 'clients', clients: shown },
    rows.length === 0 ? 'no client is connected\n' : renderTable(session.terminal, columns, rows),
  );
}
