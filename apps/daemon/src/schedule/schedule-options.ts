import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { ScheduleOptions } from './check-schedule.js';
import { parseWindow } from './check-window.js';
import type { CheckWindow } from './check-window.js';

/** Default number of days between checks. */
const defaultDays = 30;

/** Options parsed by {@link addScheduleOptions}. */
export interface ParsedScheduleOptions {
  checkEvery?: number | true;
  checkWindow?: CheckWindow;
  checkLimit?: number;
}

/** Adds the command line's options for the schedule of checks. */
export function addScheduleOptions(command: Command): void {
  command
    .option('--check-every [days]', `check every array so many days after its last check (${defaultDays})`, parseDays)
    .option(
      '--check-window <HH:MM-HH:MM>',
      'hours in which scheduled checks run, local time; they continue the next day',
      parseHours,
    )
    .option('--check-limit <MiB>', 'limit of scheduled checks, in MiB of the array a second', parseLimit);
}

/**
 * Returns the schedule; undefined if there is none. Ends the process, as commander does, if the options contradict each other.
 */
export function scheduleOptions(command: Command, options: ParsedScheduleOptions): ScheduleOptions | undefined {
  const { checkEvery, checkLimit = null, checkWindow = null } = options;
  if (checkEvery !== undefined)
    return { everyDays: checkEvery === true ? defaultDays : checkEvery, window: checkWindow, limitMbSec: checkLimit };
  if (checkWindow !== null || checkLimit !== null) command.error('error: --check-window and --check-limit need --check-every');
  return undefined;
}

function parseDays(text: string): number {
  const days = Number(text);
  if (!Number.isFinite(days) || days <= 0 || days > 3650)
    throw new InvalidArgumentError('must be a number of days, more than 0 and at most 3650.');
  return days;
}

function parseHours(text: string): CheckWindow {
  const window = parseWindow(text);
  if (window === null) throw new InvalidArgumentError('must be HH:MM-HH:MM, two times of the day, like 01:00-05:30.');
  return window;
}

function parseLimit(text: string): number {
  const mebibytes = Number(text);
  if (!Number.isInteger(mebibytes) || mebibytes < 1 || mebibytes > 1_000_000)
    throw new InvalidArgumentError('must be a whole number of MiB from 1 to 1000000.');
  return mebibytes;
}
