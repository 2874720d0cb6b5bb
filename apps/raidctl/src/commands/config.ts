import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import type { ConfigCall, RaidkitClient } from '@raidkit/client';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { addChangeOptions, examples } from './options.js';
import { carryOut } from '../plan.js';
import type { ChangeOptions, Step } from '../plan.js';

export function addConfig(program: Command, run: Run): void {
  const config = program.command('config').description('the calls that would make what the daemon has now');
  config
    .command('show')
    .description('show them')
    .action(() => run((session) => show(session)));
  addChangeOptions(
    config
      .command('export')
      .description('write them as a file for raidkitd -c, or to standard output')
      .argument('[file]', 'replaced in one step if it exists'),
  )
    .addHelpText('after', examples(['raidctl config export /etc/raidkit.json', 'then: raidkitd -c /etc/raidkit.json']))
    .action((file: string | undefined, options: ChangeOptions) => run((session) => exportTo(session, file, options)));
}

async function calls(client: RaidkitClient): Promise<ConfigCall[]> {
  return client.call('framework_get_config', { name: 'bdev' });
}

async function show(session: Session): Promise<void> {
  const all = await calls(await session.client());
  const lines = all.map(({ method, params = {} }) => {
    const values = Object.entries(params).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    return `${[method, ...values].join(' ')}\n`;
  });
  session.print(
    { version: 1, command: 'config', calls: all.map(({ method, params = {} }) => ({ method, params })) },
    lines.join(''),
  );
}

async function exportTo(session: Session, file: string | undefined, options: ChangeOptions): Promise<void> {
  const config = await calls(await session.client());
  const text = `${JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }, null, 2)}\n`;
  if (file === undefined) {
    session.terminal.write(text);
    return;
  }
  const step: Step = {
    does: `write ${config.length} calls to ${file}`,
    method: null,
    params: { file },
    run() {
      writeWhole(file, text);
      return Promise.resolve(true);
    },
  };
  await carryOut(session, { steps: [step], warnings: [] }, options, () => `${file} has ${config.length} calls\n`);
}

/** Whoever reads the file, also after a crash, finds the old text or the new one. */
function writeWhole(file: string, text: string): void {
  const folder = dirname(file);
  const temporary = join(folder, `.${basename(file)}.${process.pid}`);
  try {
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      // All of it, or an error: a disk that is full takes a part first.
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
