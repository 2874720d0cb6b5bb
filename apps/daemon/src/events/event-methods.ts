import { z } from 'zod';
import { invalidParams, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import type { EventLog } from './event-log.js';
import type { EventSinks } from './sinks/sinks.js';

/** Longest time that a call waits for an event, in milliseconds. */
const mostWaitMs = 60_000;
/** Number of events in one answer. */
const mostEvents = 1024;
/** Methods that are answered outside of the data path. */
export const monitorMethods: readonly string[] = [
  'raidkit_clear_errors',
  'raidkit_get_disk_health',
  'raidkit_get_events',
  'raidkit_get_event_sinks',
  'raidkit_get_schedule',
  'raidkit_send_test_event',
];
const both = ['startup', 'runtime'] as const;

/** raidkit's own methods for events. */
export function eventMethods(events: EventLog, sinks: EventSinks): RpcMethod[] {
  return [
    method({
      name: 'raidkit_get_events',
      states: both,
      params: z.strictObject({
        since: z.int().min(0).optional(),
        max: z.int().min(1).max(mostEvents).optional(),
        wait_ms: z.int().min(0).max(mostWaitMs).optional(),
      }),
      badParams: invalidParams,
      async run({ since = 0, max = mostEvents, wait_ms: waitMs = 0 }) {
        const page = await events.waitForPage(since, max, waitMs);
        return { instance: page.instance, last_id: page.lastId, events: page.events };
      },
    }),
    method({
      name: 'raidkit_get_event_sinks',
      states: both,
      params: null,
      run: () => Promise.resolve(sinks.describe()),
    }),
    method({
      name: 'raidkit_send_test_event',
      states: both,
      params: z.strictObject({ message: z.string().max(1000).optional() }),
      badParams: invalidParams,
      run({ message = 'a test message of raidkitd: events are delivered here' }) {
        const report = { event: 'TestMessage', severity: 'info', array: null, device: null, message } as const;
        return Promise.resolve(events.add(report));
      },
    }),
  ];
}
