import type { Command } from 'commander';
import type { Finding } from '../documents.js';
import { ExitCode } from '../exit-code.js';
import { findingsOf, otherFindings } from '../findings.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { takeSnapshot } from '../snapshot.js';
import type { Terminal } from '../terminal.js';

const order = ['failed', 'degraded', 'notice'] as const;

export function addDoctor(program: Command, run: Run): void {
  program
    .command('doctor')
    .description('go through everything that is wrong, and say what to do and how; changes nothing')
    .action(() => run((session) => doctor(session)));
}

async function doctor(session: Session): Promise<ExitCode> {
  const snapshot = await takeSnapshot(await session.client());
  const all = [...snapshot.arrays.flatMap((array) => findingsOf(snapshot, array)), ...otherFindings(snapshot)];
  const findings = order.flatMap((severity) => all.filter((finding) => finding.severity === severity));
  const text =
    findings.length === 0
      ? 'nothing is known to be wrong\n'
      : findings.map((finding, index) => render(session.terminal, finding, index + 1)).join('\n');
  session.print({ version: 1, command: 'doctor', findings }, text);
  if (findings.some(({ severity }) => severity === 'failed')) return ExitCode.Failed;
  return findings.some(({ severity }) => severity === 'degraded') ? ExitCode.Degraded : ExitCode.Ok;
}

function render({ colors }: Terminal, { action, array, commands, severity, what }: Finding, number: number): string {
  const paint = severity === 'failed' ? colors.red : severity === 'degraded' ? colors.yellow : colors.cyan;
  const lines = [
    `${number}. ${paint(severity)}${array === null ? '' : ` ${colors.bold(array)}`}: ${what}`,
    ...(action === null ? [] : [`   ${action}`]),
    ...commands.map((command) => `     ${command}`),
  ];
  return lines.map((line) => `${line}\n`).join('');
}
