import type { Logger } from 'pino';
import type { Caller, RpcState } from '../rpc/dispatcher.js';
import type { RpcError } from '../rpc/errors.js';
import { toRpcError } from '../rpc/errors.js';
import { baseOf } from './call-keys.js';
import type { PlacedCall } from './config-file.js';

/** Where a configuration is replayed. */
export interface ReplayTarget extends Caller {
  readonly state: RpcState;
  /** Methods that can be called in this state, and all methods. */
  readonly current: ReadonlySet<string>;
  readonly known: ReadonlySet<string>;
  readonly reactors: number;
  /** Nothing more is to be called. */
  hasEnded(): boolean;
}

/** A call that was refused. */
export interface FailedCall {
  readonly call: PlacedCall;
  readonly error: RpcError;
}

/**
 * Replays the calls that are due in the target's state, in order, each awaited; gives those that were refused. One that stands
 * on a device which a later call makes is tried again after it: SPDK saves them in any order.
 */
export async function replay(calls: readonly PlacedCall[], target: ReplayTarget, log: Logger): Promise<FailedCall[]> {
  let left = dueCalls(calls, target, log);
  for (;;) {
    const failed = await tryEach(left, target);
    // Once more only if some succeeded and others may have been waiting for these.
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

/** The calls to make now. Those of subsystems that have nothing to do with block devices are left out, and logged. */
function dueCalls(calls: readonly PlacedCall[], { state, current, known }: ReplayTarget, log: Logger): PlacedCall[] {
  return calls.filter(({ subsystem, method }) => {
    if (!known.has(method)) {
      // Refused before anything is opened: it is for this daemon, wherever it stands.
      if (isOurs(method)) return state === 'startup';
      if (subsystem === 'bdev' && !harmless.has(method)) return state === 'runtime';
      if (state === 'startup')
        log.info({ call: `${subsystem}: ${method}` }, 'a call of the configuration is not for this daemon');
      return false;
    }
    return current.has(method) && !(state === 'runtime' && wasDueAtStartup(method));
  });
}

/** Whether a method is of ours by its name, and not one of SPDK's. */
export function isOurs(method: string): boolean {
  return method.startsWith('raidkit_');
}

/** What was saved with more reactors comes to those that there are. */
function placed(params: PlacedCall['params'], reactors: number): PlacedCall['params'] {
  const wanted = params?.reactor;
  return typeof wanted === 'number' && wanted >= reactors ? { ...params, reactor: wanted % reactors } : params;
}

/** Options of SPDK modules that are not here, which every saved SPDK configuration has. */
const harmless = new Set(['bdev_nvme_set_options', 'bdev_nvme_set_hotplug', 'bdev_iscsi_set_options', 'iobuf_set_options']);

/** Methods of both states are replayed once, before the devices. */
export function wasDueAtStartup(method: string): boolean {
  return method === 'bdev_set_options' || method === 'bdev_raid_set_options';
}
