import { isAbsolute } from 'node:path';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { readSecretFile } from '../small-file.js';
import type { SinkOptions } from './sinks/sinks.js';

/** Minimum size in bytes of a key that signs bodies. */
const leastKeyBytes = 16;
/** Size limit of a key file, in bytes. */
const mostKeyBytes = 4096;

/** Options parsed by {@link addEventOptions}. */
export interface ParsedEventOptions {
  eventProgram?: string;
  eventWebhook?: URL;
  eventWebhookKey?: string;
  eventMail?: string;
  eventMailFrom?: string;
  eventSendmail?: string;
  remind: number;
}

/** Adds the command line's options for event sinks. */
export function addEventOptions(command: Command): void {
  command
    .option(
      '--event-program <path>',
      'program to run for each event, with the event, the array and the device, as mdadm does',
      parsePath,
    )
    .option('--event-webhook <url>', 'URL to post each event to, as JSON', parseUrl)
    .option('--event-webhook-key <file>', 'sign posted events with the key in this file (HMAC-SHA256)', parsePath)
    .option('--event-mail <address>', 'address to send mail to about warnings and critical events', parseAddress)
    .option('--event-mail-from <address>', 'sender of the mails (raidkitd on this machine)', parseAddress)
    .option('--event-sendmail <path>', 'program that sends mails (/usr/sbin/sendmail)', parsePath)
    .option('--remind <hours>', 'how often to report again that an array is degraded; 0 for never', parseHours, 24);
}

/** Reads the key. Ends the process, as commander does, if the options contradict each other. */
export function eventOptions(command: Command, options: ParsedEventOptions): { sinks: SinkOptions; remindMs: number } {
  const { eventMail: to, eventMailFrom: from, eventProgram: path, eventSendmail: sendmail, eventWebhook: url } = options;
  const { eventWebhookKey: keyFile, remind } = options;
  if (url === undefined && keyFile !== undefined) command.error('error: --event-webhook-key needs --event-webhook');
  if (to === undefined && (from !== undefined || sendmail !== undefined))
    command.error('error: --event-mail-from and --event-sendmail need --event-mail');
  const key = keyFile === undefined ? undefined : readKey(command, keyFile);
  return {
    sinks: {
      ...(path === undefined ? {} : { program: { path } }),
      ...(url === undefined ? {} : { webhook: { url, ...(key === undefined ? {} : { key }) } }),
      ...(to === undefined
        ? {}
        : { mail: { to, ...(from === undefined ? {} : { from }), ...(sendmail === undefined ? {} : { sendmail }) } }),
    },
    remindMs: remind * 3_600_000,
  };
}

/** Reads the file's bytes, without the newline at its end. */
function readKey(command: Command, path: string): Buffer {
  let key: Buffer;
  try {
    key = Buffer.from(readSecretFile(path, mostKeyBytes).trim());
  } catch (error) {
    return command.error(
      `error: --event-webhook-key ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  if (key.length < leastKeyBytes)
    command.error(`error: --event-webhook-key ${path}: a key has at least ${leastKeyBytes} bytes, not ${key.length}`);
  return key;
}

function parsePath(text: string): string {
  if (!isAbsolute(text)) throw new InvalidArgumentError('must be an absolute path.');
  return text;
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new InvalidArgumentError('must be an http: or https: URL.');
  return url;
}

function parseAddress(text: string): string {
  if (!/^[^\s<>"(),:;\\@-][^\s<>"(),:;\\@]*(@[^\s<>"(),:;\\@]+)?$/.test(text))
    throw new InvalidArgumentError('must be a plain mail address: NAME@HOST, or a local user.');
  return text;
}

function parseHours(text: string): number {
  const hours = Number(text);
  if (!Number.isFinite(hours) || hours < 0 || hours > 24 * 365)
    throw new InvalidArgumentError('must be a number of hours from 0 to 8760.');
  return hours;
}
