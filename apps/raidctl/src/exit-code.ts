/** raidctl's exit codes. They are stable because scripts depend on them; docs/raidctl.md lists them. */
export const ExitCode = {
  /** Success; what was queried is in order. */
  Ok: 0,
  /** The command failed; or a queried array has failed, is offline, or waits for members. */
  Failed: 1,
  /** The command line is wrong. */
  Usage: 2,
  /** An array, device, export or file that was named does not exist. */
  NotFound: 3,
  /** Refused by the daemon or by the user, or because `--yes` or `--force` was not given. */
  Refused: 4,
  /** A queried array serves its data with reduced redundancy. */
  Degraded: 5,
  /** The daemon cannot be reached, or does not answer. */
  Unreachable: 6,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Exit code for a health that the daemon reports. */
export function exitCodeOf(health: string): ExitCode {
  if (health === 'optimal' || health === 'resyncing') return ExitCode.Ok;
  if (health === 'degraded' || health === 'rebuilding') return ExitCode.Degraded;
  return ExitCode.Failed;
}

/** Exit code for several arrays: that of the worst. */
export function worst(codes: readonly ExitCode[]): ExitCode {
  if (codes.includes(ExitCode.Failed)) return ExitCode.Failed;
  return codes.includes(ExitCode.Degraded) ? ExitCode.Degraded : ExitCode.Ok;
}
