import type { Command } from 'commander';
import { commandLine } from '../command-line.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { formatBytes, plural } from '../format.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { renderTable } from '../table.js';
import { addChangeOptions, examples } from './options.js';

type ExportOptions = ChangeOptions & { name?: string; readOnly?: boolean; description?: string };

const columns = [
  { heading: 'NAME' },
  { heading: 'VOLUME' },
  { heading: 'SIZE', align: 'right' },
  { heading: 'MODE' },
  { heading: 'CLIENTS', align: 'right' },
  { heading: 'URI' },
] as const;

export function addExports(program: Command, run: Run): void {
  addChangeOptions(
    program
      .command('export')
      .description('serve a volume over NBD; volumes that come online are exported automatically, unless that is turned off')
      .argument('<volume>', 'name of an array, or of any other device')
      .option('--name <name>', 'name of the export (the name of the volume)')
      .option('--read-only', 'clients cannot write')
      .option('--description <text>', 'description for clients that list exports'),
  )
    .addHelpText('after', examples(['raidctl export vol --name vol-ro --read-only', 'another export, read-only']))
    .action((volume: string, options: ExportOptions) => run((session) => addExport(session, volume, options)));
  addChangeOptions(
    program
      .command('unexport')
      .description('remove an export; its clients are disconnected')
      .argument('<name>', 'name of the export'),
  ).action((name: string, options: ChangeOptions) => run((session) => unexport(session, name, options)));
  program
    .command('exports')
    .description('show the exports, and their NBD addresses')
    .action(() => run((session) => list(session)));
  addChangeOptions(
    program
      .command('attach')
      .description("attach a volume as a block device of this machine, with the kernel's nbd module and nbd-client")
      .argument('<volume>', 'name of an array, or of any other device')
      .option('--device <path>', '/dev/nbdN (the first that is free)'),
  ).action((volume: string, options: ChangeOptions & { device?: string }) =>
    run((session) => attach(session, volume, options)),
  );
  // Further arguments are refused below, with a hint at the command that was meant.
  const detach = program.command('detach').description('undo attach').argument('<device>', '/dev/nbdN').allowExcessArguments();
  addChangeOptions(detach).action((device: string, options: ChangeOptions) =>
    run(async (session) => {
      const [, member] = detach.args;
      if (member !== undefined)
        throw new Failure(ExitCode.Usage, 'detach undoes attach, and takes one block device of this machine', {
          hint: `to remove a member of a mirror with its slot, use ${commandLine('raidctl remove', device, member)} --mirror`,
        });
      const steps = [callStep(`detach ${device}`, 'nbd_stop_disk', { nbd_device: device })];
      await carryOut(session, { steps, warnings: [] }, options, () => `${device} is detached\n`);
    }),
  );
}

async function addExport(session: Session, volume: string, options: ExportOptions): Promise<void> {
  const client = await session.client();
  const name = options.name ?? volume;
  const params = {
    bdev_name: volume,
    name,
    ...(options.readOnly === true ? { read_only: true } : {}),
    ...(options.description === undefined ? {} : { description: options.description }),
  };
  const step = callStep(
    `serve ${volume} as ${name}${options.readOnly === true ? ', read-only' : ''}`,
    'raidkit_nbd_export',
    params,
  );
  await carryOut(session, { steps: [step], warnings: [] }, options, async () => {
    const exported = (await client.call('raidkit_nbd_get_exports')).find((other) => other.name === name);
    const uris = exported?.uris ?? [];
    if (uris.length === 0)
      return `${volume} is exported as ${name}, but raidkitd serves NBD at no address: start it with --nbd\n`;
    return `${volume} is exported as ${name}\n${uris.map((uri) => `  ${uri}\n`).join('')}`;
  });
}

async function unexport(session: Session, name: string, options: ChangeOptions): Promise<void> {
  const client = await session.client();
  const exported = (await client.call('raidkit_nbd_get_exports')).find((other) => other.name === name);
  const connections = exported?.connections ?? 0;
  const warnings = connections === 0 ? [] : [`${plural(connections, 'client')} of ${name} will be disconnected`];
  const step = callStep(`remove the export ${name}`, 'raidkit_nbd_unexport', { name });
  await carryOut(session, { steps: [step], warnings }, options, () => `${name} is no longer exported\n`);
}

async function attach(session: Session, volume: string, options: ChangeOptions & { device?: string }): Promise<void> {
  const client = await session.client();
  const params = { bdev_name: volume, ...(options.device === undefined ? {} : { nbd_device: options.device }) };
  const step = callStep(
    `attach ${volume} to the kernel${options.device === undefined ? '' : ` as ${options.device}`}`,
    'nbd_start_disk',
    params,
  );
  await carryOut(session, { steps: [step], warnings: [] }, options, async () => {
    const disks = (await client.call('nbd_get_disks', {})).filter((disk) => disk.bdev_name === volume);
    return disks.map((disk) => `${volume} is ${disk.nbd_device}\n`).join('');
  });
}

async function list(session: Session): Promise<void> {
  const exports = (await (await session.client()).call('raidkit_nbd_get_exports')).map((entry) => ({
    name: entry.name,
    volume: entry.bdev_name,
    read_only: entry.read_only,
    size_bytes: entry.size_bytes,
    connections: entry.connections,
    uris: entry.uris,
  }));
  const rows = exports.flatMap((entry) => {
    const [first = '', ...others] = entry.uris;
    const row = [
      entry.name,
      entry.volume,
      formatBytes(entry.size_bytes),
      entry.read_only ? 'read-only' : 'read-write',
      String(entry.connections),
      first,
    ];
    return [row, ...others.map((uri) => ['', '', '', '', '', uri])];
  });
  session.print(
    { version: 1, command: 'exports', exports },
    rows.length === 0 ? 'nothing is exported\n' : renderTable(session.terminal, columns, rows),
  );
}
