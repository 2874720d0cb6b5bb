import type { Caller } from './dispatcher.js';
import { RpcError } from './errors.js';
import type { OpenRpcDocument } from './open-rpc.js';

/** Methods that change nothing, whatever their parameters. A new method is not among them unless it is added here. */
export const readOnlyMethods: ReadonlySet<string> = new Set([
  'rpc.discover',
  'rpc_get_methods',
  'spdk_get_version',
  'framework_get_config',
  'framework_get_subsystems',
  'framework_wait_init',
  'log_get_flags',
  'log_get_level',
  'log_get_print_level',
  'notify_get_types',
  'notify_get_notifications',
  'bdev_get_bdevs',
  'bdev_get_histogram',
  'bdev_get_iostat',
  'bdev_wait_for_examine',
  'bdev_raid_get_bdevs',
  'nbd_get_disks',
  'raidkit_examine',
  'raidkit_get_arrays',
  'raidkit_get_configuration',
  'raidkit_get_events',
  'raidkit_get_latency',
  'raidkit_get_modules',
  'raidkit_get_schedule',
  'raidkit_get_spares',
  'raidkit_nbd_get_clients',
  'raidkit_nbd_get_exports',
  'thread_get_stats',
  'raidkit_get_reactors',
  'raidkit_get_disk_health',
]);

/** EPERM. */
const notPermitted = -1;

/** Passes on calls that change nothing, and refuses all others. */
export class ReadOnlyCaller implements Caller {
  readonly #inner: Caller;

  constructor(inner: Caller) {
    this.#inner = inner;
  }

  async call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    const known = (await this.#inner.call('rpc_get_methods', { include_aliases: true })) as string[];
    // An unknown method is answered as on any other socket.
    if (known.includes(name) && !readOnlyMethods.has(name)) throw refusal(`${name} may change something`);
    if (name === 'bdev_get_iostat' && resets(params)) throw refusal('bdev_get_iostat with a reset_mode changes what it shows');
    const answer = await this.#inner.call(name, params, hasDuplicateKey);
    if (name === 'rpc.discover') {
      const document = answer as OpenRpcDocument;
      return { ...document, methods: document.methods.filter((method) => readOnlyMethods.has(method.name)) };
    }
    return name === 'rpc_get_methods' ? (answer as string[]).filter((one) => readOnlyMethods.has(one)) : answer;
  }
}

function resets(params: unknown): boolean {
  const mode = typeof params === 'object' && params !== null && 'reset_mode' in params ? params.reset_mode : undefined;
  return mode !== undefined && mode !== 'none';
}

function refusal(what: string): RpcError {
  return new RpcError(notPermitted, `${what}, and this control socket is read-only`);
}
