/** What raidctl ends with. Stable: scripts depend on it; docs/raidctl.md lists them. */
export const ExitCode = {
  /** Done; what was asked about is in order. */
  Ok: 0,
  /** It failed; or an array that was asked about has failed, is offline, or waits for members. */
  Failed: 1,
  /** The command line is wrong. */
  Usage: 2,
  /** An array, device, export or file that was named does not exist. */
  NotFound: 3,
  /** It was refused: by the daemon, by a person who was asked, or for want of `--yes` or `--force`. */
  Refused: 4,
  /** An array that was asked about serves its data with less redundancy than it should have. */
  Degraded: 5,
  /** The daemon cannot be reached, or does not answer. */
  Unreachable: 6,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** The exit code that a health of the daemon's stands for. */
export function exitCodeOf(health: string): ExitCode {
  if (health === 'optimal' || health === 'resyncing') return ExitCode.Ok;
  if (health === 'degraded' || health === 'rebuilding') return ExitCode.Degraded;
  return ExitCode.Failed;
}

/** The code for several arrays: that of the worst. */
export function worst(codes: readonly ExitCode[]): ExitCode {
  if (codes.includes(ExitCode.Failed)) return ExitCode.Failed;
  return codes.includes(ExitCode.Degraded) ? ExitCode.Degraded : ExitCode.Ok;
}
