import { hostname } from 'node:os';
import type { RaidkitEvent } from '../event.js';
import { oneLine, runProgram } from './run-program.js';
import type { Sink } from './sink.js';

/** A mail address that events are sent to. */
export interface MailOptions {
  to: string;
  /** Default: `raidkitd` on this machine. */
  from?: string;
  /** Path of a program that takes a message on standard input. Default `/usr/sbin/sendmail`. */
  sendmail?: string;
}

/** Sends mail through `sendmail` for critical events, warnings and test messages. Tried three times. */
export function mailSink({ from = `raidkitd@${hostname()}`, sendmail = '/usr/sbin/sendmail', to }: MailOptions): Sink {
  return {
    name: 'mail',
    where: to,
    tries: 3,
    wants: ({ event, severity }) => severity !== 'info' || event === 'TestMessage',
    async tell(event, signal) {
      const input = await compose(event, { from, to });
      // `-i`: a line with a single dot does not end the message.
      await runProgram({ path: sendmail, args: ['-i', '-f', from, '--', to], input, limitMs: 60_000, signal });
    },
  };
}

async function compose(event: RaidkitEvent, { from, to }: { from: string; to: string }): Promise<Buffer> {
  // Loaded only by a daemon that sends mail.
  const { createTransport } = await import('nodemailer');
  const transport = createTransport({ streamTransport: true, buffer: true, newline: 'unix' });
  const about = event.array === null ? '' : ` on array ${event.array}`;
  const lines = [
    event.message,
    '',
    `event:    ${event.event} (${event.severity})`,
    `array:    ${event.array ?? '-'}`,
    `device:   ${event.device ?? '-'}`,
    `time:     ${event.time}`,
    `machine:  ${hostname()}`,
    '',
    'raidctl status shows the present state; raidctl doctor says what to do.',
  ];
  const { message } = await transport.sendMail({
    from,
    to,
    subject: oneLine(`raidkit: ${event.event}${about} (${hostname()})`),
    text: `${lines.join('\n')}\n`,
  });
  if (!Buffer.isBuffer(message)) throw new Error('the message could not be composed');
  return message;
}
