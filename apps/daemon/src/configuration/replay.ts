import type { Logger } from 'pino';
import type { Caller, RpcState } from '../rpc/dispatcher.js';
import type { RpcError } from '../rpc/errors.js';
import { toRpcError } from '../rpc/errors.js';
import { baseOf } from './call-keys.js';
import type { PlacedCall } from './config-file.js';

/** The daemon into which a configuration is replayed. */
export interface ReplayTarget extends Caller {
  readonly state: RpcState;
  /** Methods that can be called in the present state, and all methods. */
  readonly current: ReadonlySet<string>;
  readonly known: ReadonlySet<string>;
  readonly reactors: number;
  /** Whether the replay must stop. */
  hasEnded(): boolean;
}

/** A call that was refused. */
export interface FailedCall {
  readonly call: PlacedCall;
  readonly error: RpcError;
}

/**
 * Replays the calls for the target's state, in order and one at a time, and returns those that were refused. A call whose base
 * device is made by a later call is tried again after it, since SPDK saves calls in any order.
 */
export async function replay(calls: readonly PlacedCall[], target: ReplayTarget, log: Logger): Promise<FailedCall[]> {
  let left = dueCalls(calls, target, log);
  for (;;) {
    const failed = await tryEach(left, target);
    // Another round makes sense only if some calls succeeded and others may have depended on them.
    if (failed.length === left.length || !failed.some(({ call }) => baseOf(call) !== null)) return failed;
    left = failed.map(({ call }) => call);
  }
}

async function tryEach(calls: readonly PlacedCall[], target: ReplayTarget): Promise<FailedCall[]> {
  const failed: FailedCall[] = [];
  for (const call of calls) {
    if (target.hasEnded()) break;
    try {
      await target.call(call.method, placed(call.params, target.reactors));
    } catch (error) {
      failed.push({ call, error: toRpcError(error) });
    }
  }
  return failed;
}

/** Selects the calls to make now. Calls for subsystems that have nothing to do with block devices are left out and logged. */
function dueCalls(calls: readonly PlacedCall[], { state, current, known }: ReplayTarget, log: Logger): PlacedCall[] {
  return calls.filter(({ subsystem, method }) => {
    if (!known.has(method)) {
      // An unknown method of ours is refused before anything is opened, in whatever subsystem it is listed.
      if (isOurs(method)) return state === 'startup';
      if (subsystem === 'bdev' && !harmless.has(method)) return state === 'runtime';
      if (state === 'startup')
        log.info({ call: `${subsystem}: ${method}` }, 'a call of the configuration is not for this daemon');
      return false;
    }
    return current.has(method) && !(state === 'runtime' && wasDueAtStartup(method));
  });
}

/** Whether a method's name is one of raidkit's, not SPDK's. */
export function isOurs(method: string): boolean {
  return method.startsWith('raidkit_');
}

/** Maps a reactor number that was saved with more reactors to one that exists. */
function placed(params: PlacedCall['params'], reactors: number): PlacedCall['params'] {
  const wanted = params?.reactor;
  return typeof wanted === 'number' && wanted >= reactors ? { ...params, reactor: wanted % reactors } : params;
}

/** Options of SPDK modules that raidkit does not have, but which every saved SPDK configuration contains. */
const harmless = new Set(['bdev_nvme_set_options', 'bdev_nvme_set_hotplug', 'bdev_iscsi_set_options', 'iobuf_set_options']);

/** Whether a method that both states allow is replayed in the startup state, before the devices. */
export function wasDueAtStartup(method: string): boolean {
  return method === 'bdev_set_options' || method === 'bdev_raid_set_options';
}
