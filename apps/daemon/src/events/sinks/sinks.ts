import type { Logger } from 'pino';
import type { JsonObject } from '@raidkit/bdev';
import type { RaidkitEvent } from '../event.js';
import { mailSink } from './mail.js';
import type { MailOptions } from './mail.js';
import { programSink } from './program.js';
import type { ProgramOptions } from './program.js';
import { SinkQueue } from './sink-queue.js';
import type { SinkState } from './sink-queue.js';
import { webhookSink } from './webhook.js';
import type { WebhookOptions } from './webhook.js';

/** The configured sinks. */
export interface SinkOptions {
  program?: ProgramOptions;
  webhook?: WebhookOptions;
  mail?: MailOptions;
}

/** All sinks, each with its own queue, so that a slow one does not delay the others. */
export class EventSinks {
  readonly #queues: readonly SinkQueue[];

  constructor({ mail, program, webhook }: SinkOptions, log: Logger) {
    const sinks = [
      ...(program === undefined ? [] : [programSink(program)]),
      ...(webhook === undefined ? [] : [webhookSink(webhook)]),
      ...(mail === undefined ? [] : [mailSink(mail)]),
    ];
    this.#queues = sinks.map((sink) => new SinkQueue(sink, log));
  }

  add(event: RaidkitEvent): void {
    for (const queue of this.#queues) queue.add(event);
  }

  end(): void {
    for (const queue of this.#queues) queue.end();
  }

  states(): SinkState[] {
    return this.#queues.map((queue) => queue.describe());
  }

  /** The answer of `raidkit_get_event_sinks`. */
  describe(): JsonObject[] {
    return this.states().map(({ lastError, ...state }) => ({ ...state, last_error: lastError }));
  }
}
