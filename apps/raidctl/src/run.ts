import { Command, CommanderError, Option } from 'commander';
import { ExitCode } from './exit-code.js';
import { toFailure } from './failure.js';
import { Session } from './session.js';
import type { CommonOptions } from './session.js';
import { visible } from './terminal.js';
import type { Streams } from './terminal.js';
import { commands } from './commands/index.js';
import type { Run } from './action.js';
import { packageVersion } from './version.js';

const seconds = (text: string): number => {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new CommanderError(
    1,
    'raidctl.invalidTimeout',
    `error: --timeout must be a number of seconds, 0 for no limit, not ${text}`,
  );
};

const exitHelp = `
Exit codes: 0 done, and optimal; 1 failed; 2 wrong command line; 3 not found; 4 refused;
5 an array is degraded; 6 the daemon cannot be reached.`;

/** Makes the command line with all commands; `run` is called with the chosen command's action. */
export function makeProgram(run: Run, { stdout, stderr }: Pick<Streams, 'stdout' | 'stderr'> = process): Command {
  const program = new Command('raidctl')
    .description('Creates, monitors and repairs the RAID arrays of raidkitd')
    .version(packageVersion())
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: (text) => stdout.write(text), writeErr: (text) => stderr.write(text) })
    .addOption(new Option('-s, --socket <address>', "the daemon's control socket: a path, or HOST:PORT").env('RAIDKIT_SOCKET'))
    .option('--json', 'print a document for programs (docs/raidctl.schema.json) instead of text')
    .option('--timeout <seconds>', 'how long to wait for an answer of the daemon; 0 for no limit', seconds, 60)
    .addHelpText('after', exitHelp);
  for (const add of commands) add(program, run);
  return program;
}

/** Runs the command line `argv` (as in `process.argv`), and resolves with the exit code. */
export async function main(process: Streams & { readonly argv: readonly string[] }): Promise<ExitCode> {
  let exitCode: ExitCode = ExitCode.Ok;
  const program = makeProgram(async (action) => {
    const session = new Session(process, program.opts<CommonOptions>());
    try {
      const code = await action(session);
      if (typeof code === 'number') exitCode = code;
    } catch (error) {
      exitCode = report(process, session, error);
    } finally {
      await session.close();
    }
  }, process);
  try {
    await program.parseAsync([...process.argv]);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'raidctl.invalidTimeout') process.stderr.write(`${error.message}\n`);
    return error.exitCode === 0 ? ExitCode.Ok : ExitCode.Usage;
  }
  return exitCode;
}

/** Prints an error: as a document on standard output with `--json`, else as text on standard error. */
function report({ stderr }: Pick<Streams, 'stderr'>, session: Session, error: unknown): ExitCode {
  const { exitCode, hint, message, rpcCode } = toFailure(error);
  if (session.isJson) {
    session.print({ version: 1, command: 'error', error: { exit_code: exitCode, message, hint, rpc_code: rpcCode } }, '');
  } else {
    stderr.write(visible(`raidctl: ${message}\n${hint === null ? '' : `  ${hint}\n`}`));
  }
  return exitCode;
}
