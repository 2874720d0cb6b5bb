import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Caller, RpcState } from './rpc/dispatcher.js';
import { RpcError } from './rpc/errors.js';

const call = z.object({ method: z.string(), params: z.record(z.string(), z.unknown()).optional() });

/** SPDK's configuration file; what it has for subsystems that are not ours is looked over. */
const configSchema = z.object({
  subsystems: z.array(z.object({ subsystem: z.string(), config: z.array(call).nullable().optional() })),
});

type Call = z.infer<typeof call>;

export type Config = z.infer<typeof configSchema>;

/** Reads a configuration file. Throws, naming the file and the place in it, if it is not one. */
export function readConfig(path: string): Config {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`the configuration ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  const result = configSchema.safeParse(json);
  if (result.success) return result.data;
  throw new Error(`the configuration ${path} is not as it should be: ${z.prettifyError(result.error)}`);
}

/** Where a configuration is replayed. */
export interface ReplayTarget extends Caller {
  state: RpcState;
  /** Methods that can be called in this state, and all methods. */
  current: readonly string[];
  known: readonly string[];
  reactors: number;
}

/**
 * Replays the calls that are due in the target's state, in order, each awaited. Throws at the first that fails, naming it;
 * a spare that cannot be one any more is logged.
 * SPDK's subsystems that have nothing to do with block devices are left out, and logged.
 */
export async function replayConfig(config: Config, target: ReplayTarget, log: Logger): Promise<void> {
  const current = new Set(target.current);
  const known = new Set(target.known);
  for (const { subsystem, config: calls } of config.subsystems) {
    for (const [index, { method, params }] of (calls ?? []).entries()) {
      if (!known.has(method)) {
        if (subsystem === 'bdev' && !harmless.has(method)) {
          throw new Error(`subsystem ${subsystem}, call ${index + 1}: there is no method ${method}`);
        }
        log.info({ call: `${subsystem}: ${method}` }, 'a call of the configuration is not for this daemon');
        continue;
      }
      if (!current.has(method) || (target.state === 'runtime' && wasDueAtStartup(method))) continue;
      try {
        await target.call(method, placed(params, target.reactors));
      } catch (error) {
        const text = error instanceof RpcError ? `${error.message} (code ${error.code})` : String(error);
        if (isOptional(method)) {
          log.error({ call: `${subsystem}: ${method}`, params }, `a call of the configuration is left out: ${text}`);
          continue;
        }
        throw new Error(`subsystem ${subsystem}, call ${index + 1}, ${method}: ${text}`, { cause: error });
      }
    }
  }
}

/** What was saved with more reactors comes to those that there are. */
function placed(params: Call['params'], reactors: number): Call['params'] {
  const wanted = params?.reactor;
  return typeof wanted === 'number' && wanted >= reactors ? { ...params, reactor: wanted % reactors } : params;
}

/** Options of SPDK modules that are not here, which every saved SPDK configuration has. */
const harmless = new Set(['bdev_nvme_set_options', 'bdev_nvme_set_hotplug', 'bdev_iscsi_set_options', 'iobuf_set_options']);

/** A spare may have taken a member's place since it was saved, and then it is none. Volumes are served all the same. */
function isOptional(method: string): boolean {
  return method === 'raidkit_add_spare';
}

/** Methods of both states are replayed once, before the devices. */
function wasDueAtStartup(method: string): boolean {
  return method === 'bdev_set_options' || method === 'bdev_raid_set_options';
}
