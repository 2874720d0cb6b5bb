import type { ExitCode } from './exit-code.js';
import type { Session } from './session.js';

/** Does what a command is for. Resolves with how raidctl ends; nothing for 0. Throws a `Failure`, or anything, if it cannot. */
export type Action = (session: Session) => Promise<ExitCode | undefined> | Promise<void>;

/** Hands an action over, to be run in a session with the options that all commands have. */
export type Run = (action: Action) => Promise<void>;
