import { z } from 'zod';
import {
  arraySchema,
  bdevSchema,
  configurationSchema,
  eventPageSchema,
  exportSchema,
  scheduleSchema,
  spareSchema,
} from './results.js';

/*
 * What raidkitd answers over HTTP, beside its dashboard. Within a version fields are only added. docs/http-api.schema.json is
 * generated from this.
 */

/** Fields of a device that the dashboard shows. */
export const statusBdevSchema = bdevSchema.pick({
  name: true,
  aliases: true,
  product_name: true,
  block_size: true,
  num_blocks: true,
  uuid: true,
  claimed: true,
  driver_specific: true,
});

/** `/api/status`: the present state of the daemon, its arrays and devices. */
export const statusPageSchema = z.looseObject({
  version: z.literal(1),
  time: z.string().describe('ISO 8601'),
  daemon: z.looseObject({
    version: z.string(),
    is_ready: z.boolean(),
    stuck: z.string().nullable().describe('why the data path does not answer; null if it does'),
  }),
  actions: z.array(z.string()).describe('methods that /api/call takes; none without --http-token-file'),
  snapshot: z
    .looseObject({
      arrays: z.array(arraySchema),
      bdevs: z.array(statusBdevSchema),
      spares: z.array(spareSchema),
      exports: z.array(exportSchema),
      configuration: configurationSchema,
      schedule: scheduleSchema,
    })
    .nullable()
    .describe('null while the daemon starts, or its data path does not answer'),
});

const rate = z.number().min(0);
const latency = z.number().min(0).nullable().describe('mean; null if there was nothing to measure');

/** I/O of an array between a sample and the previous one. */
export const arrayLoadSchema = z.looseObject({
  name: z.string(),
  read_bytes_per_sec: rate,
  write_bytes_per_sec: rate,
  read_ops_per_sec: rate,
  write_ops_per_sec: rate,
  read_latency_ms: latency,
  write_latency_ms: latency,
});

/** `/api/history?since=ID`: I/O of arrays in the last ten minutes, the oldest sample first. */
export const loadPageSchema = z.looseObject({
  instance: z.string().describe('changes with each start of the daemon: ids start again'),
  interval_sec: z.number(),
  last_id: z.number().int().min(0),
  samples: z.array(
    z.looseObject({
      id: z.number().int().min(1),
      time: z.string().describe('ISO 8601'),
      arrays: z.array(arrayLoadSchema),
    }),
  ),
});

/** The resources, by path. */
export const httpResources = {
  '/api/status': statusPageSchema,
  '/api/history': loadPageSchema,
  '/api/events': eventPageSchema,
} as const;

export type StatusPage = z.infer<typeof statusPageSchema>;
export type StatusSnapshot = NonNullable<StatusPage['snapshot']>;
export type LoadPage = z.infer<typeof loadPageSchema>;
export type LoadSample = LoadPage['samples'][number];
export type ArrayLoad = z.infer<typeof arrayLoadSchema>;
