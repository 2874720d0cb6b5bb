import { inTime, isStarting } from '../monitor/snapshot.js';
import type { Caller } from '../rpc/dispatcher.js';
import { packageVersion } from '../version.js';

interface Bdev {
  name: string;
  aliases: unknown;
  product_name: string;
  block_size: number;
  num_blocks: number;
  uuid: string;
  claimed: boolean;
  driver_specific: unknown;
}

/** Options of {@link makeStatus}. */
export interface StatusOptions {
  isReady: boolean;
  /** Methods that may be called over HTTP; empty if none. */
  actions: readonly string[];
}

/** Makes what the page shows except charts and events, in the form of `statusPageSchema` (`@raidkit/client`). */
export async function makeStatus(caller: Caller, { actions, isReady }: StatusOptions): Promise<object> {
  let stuck: string | null = null;
  const snapshot = await takeSnapshot(caller).catch((error: unknown) => {
    if (!isStarting(error)) stuck = error instanceof Error ? error.message : String(error);
    return null;
  });
  return {
    version: 1,
    time: new Date().toISOString(),
    daemon: { version: packageVersion(), is_ready: isReady, stuck },
    actions,
    snapshot,
  };
}

/** Calls the daemon's methods in parallel; of devices only what the page needs is kept. */
async function takeSnapshot(caller: Caller): Promise<object> {
  const ask = (method: string): Promise<unknown> => inTime(caller.call(method, undefined));
  const [arrays, bdevs, spares, exports, configuration, schedule] = await Promise.all([
    ask('raidkit_get_arrays'),
    ask('bdev_get_bdevs'),
    ask('raidkit_get_spares'),
    ask('raidkit_nbd_get_exports'),
    ask('raidkit_get_configuration'),
    ask('raidkit_get_schedule'),
  ]);
  return { arrays, bdevs: (bdevs as Bdev[]).map(describeDevice), spares, exports, configuration, schedule };
}

function describeDevice(bdev: Bdev): Bdev {
  const { aliases, block_size, claimed, driver_specific, name, num_blocks, product_name, uuid } = bdev;
  return { name, aliases, product_name, block_size, num_blocks, uuid, claimed, driver_specific };
}
