import type { ExitCode } from './exit-code.js';
import type { Session } from './session.js';

/**
 * Carries out a command. Resolves with raidctl's exit code, or nothing for 0. Throws a `Failure` or any other error if it
 * fails.
 */
export type Action = (session: Session) => Promise<ExitCode | undefined> | Promise<void>;

/** Runs an action in a session with the options that all commands have. */
export type Run = (action: Action) => Promise<void>;
