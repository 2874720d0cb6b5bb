import type { MethodName, ParamsOf } from '@raidkit/client';
import type { Document } from './documents.js';
import { ExitCode } from './exit-code.js';
import { Failure, toFailure } from './failure.js';
import type { Session } from './session.js';

/** A step of a command. */
export interface Step {
  /** What it does, in the infinitive, for people: "open /dev/sdx as sdx". */
  readonly does: string;
  readonly method: MethodName | null;
  readonly params: Record<string, unknown> | null;
  run(session: Session): Promise<unknown>;
  /** Undoes the step when a later one fails. */
  undo?: (session: Session) => Promise<unknown>;
}

/** All steps of a command, known before the first one runs. */
export interface Plan {
  readonly steps: readonly Step[];
  /** Losses and risks: the user must agree to them on the terminal or with `--yes`. */
  readonly warnings: readonly string[];
  /** Other data that would be overwritten, or users that would be cut off: `--yes` does not suffice, `--force` does. */
  readonly graver?: readonly string[];
}

/** Options of every command that changes something. */
export interface ChangeOptions {
  yes?: boolean;
  force?: boolean;
  dryRun?: boolean;
}

/** Makes a step that is one call to the daemon. */
export function callStep<M extends MethodName>(
  does: string,
  method: M,
  params: ParamsOf<M> & object,
  undo?: Step['undo'],
): Step {
  return {
    does,
    method,
    params: { ...params },
    run: async (session) => (await session.client()).callAny(method, params),
    ...(undo === undefined ? {} : { undo }),
  };
}

/**
 * Carries out the plan, asking the user where that is needed, and prints what was done; `said` is the text for people. With
 * `--dry-run` prints what would be done. If a step fails, earlier steps are undone in reverse order where possible. Returns
 * whether it was done.
 */
export async function carryOut(
  session: Session,
  plan: Plan,
  options: ChangeOptions,
  said: () => Promise<string> | string,
): Promise<boolean> {
  const { steps, warnings, graver = [] } = plan;
  if (options.dryRun === true) {
    const lines = [
      ...[...graver, ...warnings].map((text) => `warning: ${text}\n`),
      ...steps.map(({ does }) => `would ${does}\n`),
    ];
    session.print(describe(plan, true, null), lines.join(''));
    return false;
  }
  await agree(session, graver, options.force === true, '--force');
  await agree(session, warnings, options.yes === true, '--yes');
  const results: unknown[] = [];
  for (const [index, step] of steps.entries()) {
    try {
      results.push(await step.run(session));
    } catch (error) {
      throw await takeBack(session, steps.slice(0, index), step, error);
    }
  }
  session.print(describe(plan, false, results), await said());
  return true;
}

async function agree(session: Session, risks: readonly string[], isAgreed: boolean, option: string): Promise<void> {
  if (risks.length === 0 || isAgreed) return;
  const { terminal } = session;
  if (session.isJson || !terminal.canAsk) {
    throw new Failure(ExitCode.Refused, risks.join('; '), { hint: `to do it, add ${option}` });
  }
  for (const risk of risks) terminal.write(`${terminal.colors.yellow('warning')}: ${risk}\n`);
  if (!(await terminal.ask('Continue?'))) throw new Failure(ExitCode.Refused, 'nothing was changed');
}

async function takeBack(session: Session, done: readonly Step[], failed: Step, error: unknown): Promise<Failure> {
  const { exitCode, hint, message, rpcCode } = toFailure(error);
  const left: string[] = [];
  for (const { does, undo } of [...done].reverse()) {
    if (undo === undefined) continue;
    await undo(session).catch(() => left.push(does));
  }
  const rest = left.length === 0 ? '' : ` (and earlier steps could not be undone: ${left.join('; ')})`;
  return new Failure(exitCode, `could not ${failed.does}: ${message}${rest}`, { hint, rpcCode, cause: error });
}

function describe({ steps, warnings, graver = [] }: Plan, isDryRun: boolean, results: readonly unknown[] | null): Document {
  return {
    version: 1,
    command: 'change',
    dry_run: isDryRun,
    warnings: [...graver, ...warnings],
    steps: steps.map(({ does, method, params }, index) => ({
      does,
      method,
      params,
      ...(results === null ? {} : { result: results[index] ?? null }),
    })),
  };
}
