import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import type { ConfigCall, RaidkitClient } from '@raidkit/client';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { ExitCode } from '../exit-code.js';
import { Failure, toFailure } from '../failure.js';
import { plural } from '../format.js';
import { addChangeOptions, examples } from './options.js';
import { carryOut } from '../plan.js';
import type { ChangeOptions, Step } from '../plan.js';

export function addConfig(program: Command, run: Run): void {
  const config = program.command('config').description('the configuration of the daemon as calls');
  config
    .command('show')
    .description('show them')
    .action(() => run((session) => show(session)));
  addChangeOptions(
    config
      .command('export')
      .description('write it to a file for raidkitd -c, or to standard output')
      .argument('[file]', 'replaced atomically if it exists'),
  )
    .addHelpText('after', examples(['raidctl config export /etc/raidkit.json', 'then: raidkitd -c /etc/raidkit.json']))
    .action((file: string | undefined, options: ChangeOptions) => run((session) => exportTo(session, file, options)));
  config
    .command('check')
    .description('check that a file of raidkit or SPDK is a configuration whose calls raidkitd knows')
    .argument('<file>', 'JSON')
    .addHelpText('after', examples(['raidctl config check spdk.json', 'exit code 1 if a call is not known']))
    .action((file: string) => run((session) => check(session, file)));
  addChangeOptions(
    config.command('import').description('carry out the calls of a file of raidkit or SPDK').argument('<file>', 'JSON'),
  )
    .addHelpText('after', examples(['raidctl config import spdk.json -n', 'only show them']))
    .action((file: string, options: ChangeOptions) => run((session) => importFrom(session, file, options)));
}

/** SPDK's configuration format; nested lists group related calls. */
const callSchema = z.object({ method: z.string(), params: z.record(z.string(), z.unknown()).optional() });
const fileSchema = z.object({
  subsystems: z.array(
    z.object({
      subsystem: z.string(),
      config: z
        .array(z.union([callSchema, z.array(callSchema)]))
        .nullable()
        .optional(),
    }),
  ),
});

type FileCall = z.infer<typeof callSchema>;

/** Returns the calls for raidkitd, and the names of other subsystems. Throws a `Failure` if the file is not a configuration. */
function readCalls(file: string): { calls: FileCall[]; others: string[] } {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Failure(ExitCode.NotFound, `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  let found;
  try {
    found = fileSchema.safeParse(JSON.parse(text));
  } catch (error) {
    throw new Failure(ExitCode.Failed, `${file} is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!found.success) throw new Failure(ExitCode.Failed, `${file} is not a configuration: ${z.prettifyError(found.error)}`);
  const { subsystems } = found.data;
  const isOurs = (subsystem: string): boolean => subsystem === 'bdev';
  return {
    calls: subsystems.filter(({ subsystem }) => isOurs(subsystem)).flatMap(({ config }) => (config ?? []).flat()),
    others: subsystems
      .filter(({ config, subsystem }) => !isOurs(subsystem) && (config ?? []).length > 0)
      .map(({ subsystem }) => subsystem),
  };
}

async function check(session: Session, file: string): Promise<ExitCode> {
  const { calls: all, others } = readCalls(file);
  const known = new Set(await (await session.client()).call('rpc_get_methods', { include_aliases: true }));
  const problems = [
    ...all.flatMap(({ method }, index) => (known.has(method) ? [] : [`call ${index + 1}: raidkitd has no method ${method}`])),
    ...others.map((subsystem) => `raidkitd has no subsystem ${subsystem}: its calls are skipped`),
  ];
  const good = all.filter(({ method }) => known.has(method)).length;
  const text = [`${plural(good, 'call')} of ${file} can be carried out\n`, ...problems.map((problem) => `${problem}\n`)];
  session.print({ version: 1, command: 'config check', calls: good, problems }, text.join(''));
  return problems.length === 0 ? ExitCode.Ok : ExitCode.Failed;
}

/** Makes one call after another. Calls that depend on others are retried as long as any call succeeds. */
async function importFrom(session: Session, file: string, options: ChangeOptions): Promise<void> {
  const { calls: all } = readCalls(file);
  const does = (call: FileCall): string =>
    `call ${call.method}${typeof call.params?.name === 'string' ? ` for ${call.params.name}` : ''}`;
  const step: Step = {
    does: `carry out ${plural(all.length, 'call')} of ${file}: ${all.map(does).join('; ')}`,
    method: null,
    params: { file },
    async run() {
      const client = await session.client();
      let left = all.map((call) => ({ call, reason: '' }));
      for (let before = Infinity; left.length > 0 && left.length < before;) {
        before = left.length;
        const failed: typeof left = [];
        for (const { call } of left) {
          const reason = await client.callAny(call.method, call.params).then(
            () => null,
            (error: unknown) => toFailure(error).message,
          );
          if (reason !== null) failed.push({ call, reason });
        }
        left = failed;
      }
      if (left.length === 0) return true;
      const reasons = left.map(({ call, reason }) => `${does(call)}: ${reason}`).join('; ');
      throw new Failure(ExitCode.Failed, `${left.length} of ${all.length} failed, the others are done: ${reasons}`);
    },
  };
  const warnings = ['the calls add to the present configuration'];
  await carryOut(session, { steps: [step], warnings }, options, () => `${plural(all.length, 'call')} of ${file} are done\n`);
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

/** Replaces the file atomically: a reader finds the old or the new text, also after a crash. */
function writeWhole(file: string, text: string): void {
  const folder = dirname(file);
  const temporary = join(folder, `.${basename(file)}.${process.pid}`);
  try {
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      // writeFileSync writes everything or throws; a single write may be short when the disk is full.
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
