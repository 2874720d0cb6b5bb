/** Hours of the day in which checks run, in minutes since midnight, local time. The window may extend past midnight. */
export interface CheckWindow {
  readonly fromMinute: number;
  readonly toMinute: number;
}

/** Parses `HH:MM-HH:MM`; null if it is not valid or empty. */
export function parseWindow(text: string): CheckWindow | null {
  const match = /^(\d\d?):(\d\d)-(\d\d?):(\d\d)$/.exec(text);
  if (match === null) return null;
  const [fromHour = 0, fromMinute = 0, toHour = 0, toMinute = 0] = match.slice(1).map(Number);
  if (fromHour > 23 || toHour > 24 || fromMinute > 59 || toMinute > 59) return null;
  const window = { fromMinute: fromHour * 60 + fromMinute, toMinute: toHour * 60 + toMinute };
  return window.toMinute > 24 * 60 || window.fromMinute === window.toMinute ? null : window;
}

export function formatWindow({ fromMinute, toMinute }: CheckWindow): string {
  const time = (minutes: number): string =>
    `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;
  return `${time(fromMinute)}-${time(toMinute)}`;
}

/** Whether the time is within the window; always true for null. */
export function isWithin(window: CheckWindow | null, time: Date): boolean {
  if (window === null) return true;
  const minute = time.getHours() * 60 + time.getMinutes();
  const { fromMinute, toMinute } = window;
  return fromMinute < toMinute ? minute >= fromMinute && minute < toMinute : minute >= fromMinute || minute < toMinute;
}
