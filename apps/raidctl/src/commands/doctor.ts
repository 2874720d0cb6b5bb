import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { checkupFindings, takeCheckup } from '../checkup.js';
import { commandLine } from '../command-line.js';
import type { Finding } from '../documents.js';
import { ExitCode } from '../exit-code.js';
import { toFailure } from '../failure.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import type { Terminal } from '../terminal.js';
import { examples } from './options.js';

export function addDoctor(program: Command, run: Run): void {
  program
    .command('doctor')
    .description('show everything that is wrong, and how to fix it; changes nothing')
    .addHelpText(
      'after',
      `${examples(['raidctl doctor', 'exit code 0: nothing worse than a notice'])}
Exit codes: 0 nothing, or notices only; 5 an array has less redundancy than it should have; 1 an array has
failed, is offline, or waits for members; 6 the daemon cannot be reached.`,
    )
    .action(() => run((session) => doctor(session)));
}

async function doctor(session: Session): Promise<ExitCode> {
  let findings: Finding[];
  try {
    findings = checkupFindings(await takeCheckup(await session.client()), Date.now());
  } catch (error) {
    const failure = toFailure(error);
    if (failure.exitCode !== ExitCode.Unreachable) throw error;
    say(session, [unreachable(session, failure.message)]);
    return ExitCode.Unreachable;
  }
  say(session, findings);
  if (findings.some(({ severity }) => severity === 'failed')) return ExitCode.Failed;
  return findings.some(({ severity }) => severity === 'degraded') ? ExitCode.Degraded : ExitCode.Ok;
}

function say(session: Session, findings: Finding[]): void {
  const text =
    findings.length === 0
      ? 'no problems found\n'
      : findings.map((finding, index) => render(session.terminal, finding, index + 1)).join('\n');
  session.print({ version: 1, command: 'doctor', findings }, text);
}

/** Finding about a daemon that does not answer. */
function unreachable({ address }: Session, what: string): Finding {
  const finding = (action: string, ...commands: string[]): Finding => ({
    severity: 'failed',
    array: null,
    what,
    action,
    commands,
  });
  if ('host' in address) return finding('check that it runs there, with -r 127.0.0.1:PORT, and that ssh -L forwards that port');
  if (!existsSync(address.path))
    return finding(
      'that socket does not exist: start raidkitd, or give the path of its socket',
      'systemctl start raidkitd',
      'raidctl --socket PATH doctor',
    );
  if (what.includes('permission denied') || what.includes('EACCES'))
    return finding(
      'you have no permission for the socket: use its owner, or a member of its group',
      commandLine('ls -l', address.path),
      'sudo raidctl doctor',
    );
  return finding(
    'the socket exists, but there is no answer: the daemon has exited, or is stuck; see its log',
    'systemctl status raidkitd',
    'journalctl -u raidkitd -n 50',
  );
}

function render(terminal: Terminal, { action, array, commands, severity, what }: Finding, number: number): string {
  const { colors } = terminal;
  const paint = severity === 'failed' ? colors.red : severity === 'degraded' ? colors.yellow : colors.cyan;
  const whole = array === null ? [] : [array];
  const mark = `${number}. `;
  const title = `${paint(severity)}${array === null ? '' : ` ${colors.bold(array)}`}: ${what}`;
  const lines = [
    `${mark}${terminal.fold(title, mark.length, whole)}`,
    ...(action === null ? [] : [`   ${terminal.fold(action, 3, whole)}`]),
    ...commands.map((command) => `     ${command}`),
  ];
  return lines.map((line) => `${line}\n`).join('');
}
