import type { Command } from 'commander';
import { commandLine } from '../command-line.js';
import { DeviceFinder } from '../devices.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { plural } from '../format.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { takeSnapshot } from '../snapshot.js';
import { addChangeOptions, examples } from './options.js';

export function addRescan(program: Command, run: Run): void {
  addChangeOptions(
    program
      .command('rescan')
      .description('scan for new devices now, and try pending calls again')
      .argument('[device...]', 'examine the superblocks of these open devices, and make them members'),
  )
    .addHelpText(
      'after',
      examples(
        ['raidctl rescan', 'after a disk was plugged in; raidkitd --scan sets where to scan'],
        ['raidctl rescan inner', 'make the volume inner a member of the array of its superblock'],
      ),
    )
    .action((names: string[], options: ChangeOptions) =>
      run((session) => (names.length === 0 ? rescan(session, options) : examine(session, names, options))),
    );
}

async function rescan(session: Session, options: ChangeOptions): Promise<void> {
  const client = await session.client();
  const step = {
    does: 'scan for devices, and try pending calls again',
    method: 'raidkit_rescan' as const,
    params: null,
    run: () => client.call('raidkit_rescan'),
  };
  await carryOut(session, { steps: [step], warnings: [] }, options, async () => {
    const { arrays, configuration } = await takeSnapshot(client);
    const found = configuration.found ?? [];
    const isOpen = found.filter(({ bdev_name: name }) => name !== null).length;
    const lines = [
      configuration.found === null
        ? 'raidkitd does not scan: it was started without --scan\n'
        : `${plural(found.length, 'device')} with superblocks found, ${isOpen} of them open\n`,
      ...found.flatMap(({ array, path, reason }) =>
        reason === null ? [] : [`${path} (array ${array ?? 'unknown'}): ${reason}\n`],
      ),
      ...(configuration.pending.length === 0
        ? []
        : [`${plural(configuration.pending.length, 'call')} pending: raidctl doctor\n`]),
      ...arrays.map(({ ext, name }) => `array ${name} is ${ext.health}\n`),
    ];
    return lines.join('');
  });
}

async function examine(session: Session, names: readonly string[], options: ChangeOptions): Promise<void> {
  const snapshot = await takeSnapshot(await session.client());
  const finder = new DeviceFinder(snapshot, session);
  const devices = names.map((name) => finder.find(name));
  for (const { argument, bdev } of devices) {
    if (bdev === null)
      throw new Failure(ExitCode.NotFound, `${argument} is not open`, {
        hint: `${commandLine('raidctl open', argument)} opens and examines it`,
      });
  }
  const volumes = devices.filter(({ name }) => snapshot.arrays.some((array) => array.name === name));
  const warnings = volumes.map(
    ({ name }) => `data that clients have written on ${name} determines of which array it becomes a member`,
  );
  const steps = devices.map(({ name }) => callStep(`examine the superblock of ${name}`, 'bdev_examine', { name }));
  await carryOut(session, { steps, warnings }, options, () =>
    devices.map(({ name }) => `${name} has been examined\n`).join(''),
  );
}
