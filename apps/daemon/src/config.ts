import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Dispatcher } from './rpc/dispatcher.js';
import { RpcError } from './rpc/errors.js';

const call = z.object({ method: z.string(), params: z.record(z.string(), z.unknown()).optional() });

/** SPDK's configuration file; what it has for subsystems that are not ours is looked over. */
const configSchema = z.object({
  subsystems: z.array(z.object({ subsystem: z.string(), config: z.array(call).nullable().optional() })),
});

export type Config = z.infer<typeof configSchema>;

/** Reads a configuration file. Throws, naming the file and the place in it, if it is not one. */
export function readConfig(path: string): Config {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`the configuration ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  const result = configSchema.safeParse(json);
  if (result.success) return result.data;
  throw new Error(`the configuration ${path} is not as it should be: ${z.prettifyError(result.error)}`);
}

/**
 * Replays the calls that are due in the dispatcher's state, in order, each awaited. Throws at the first that fails, naming it.
 * SPDK's subsystems that have nothing to do with block devices are left out, with a word to `skip`.
 */
export async function replayConfig(config: Config, dispatcher: Dispatcher, skip: (what: string) => void): Promise<void> {
  const current = new Set(dispatcher.names({ current: true, includeAliases: true }));
  const known = new Set(dispatcher.names({ current: false, includeAliases: true }));
  for (const { subsystem, config: calls } of config.subsystems) {
    for (const [index, { method, params }] of (calls ?? []).entries()) {
      if (!known.has(method)) {
        if (subsystem === 'bdev' && !harmless.has(method)) {
          throw new Error(`subsystem ${subsystem}, call ${index + 1}: there is no method ${method}`);
        }
        skip(`${subsystem}: ${method}`);
        continue;
      }
      if (!current.has(method) || (dispatcher.state === 'runtime' && wasDueAtStartup(method))) continue;
      try {
        await dispatcher.call(method, params);
      } catch (error) {
        const text = error instanceof RpcError ? `${error.message} (code ${error.code})` : String(error);
        throw new Error(`subsystem ${subsystem}, call ${index + 1}, ${method}: ${text}`, { cause: error });
      }
    }
  }
}

/** Options of SPDK modules that are not here, which every saved SPDK configuration has. */
const harmless = new Set(['bdev_nvme_set_options', 'bdev_nvme_set_hotplug', 'bdev_iscsi_set_options', 'iobuf_set_options']);

/** Methods of both states are replayed once, before the devices. */
function wasDueAtStartup(method: string): boolean {
  return method === 'bdev_set_options' || method === 'bdev_raid_set_options';
}
