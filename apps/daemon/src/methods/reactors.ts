import { method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import type { Service } from '../service.js';

/** raidkit's own method that shows the load of each reactor. */
export function reactorMethods({ arrays, exports, load, reactor, registry }: Service): RpcMethod[] {
  return [
    method({
      name: 'raidkit_get_reactors',
      params: null,
      run() {
        const { awakeMs, asleepMs } = load();
        const { connections, errors, otherRequests, readBytes, readRequests, writeRequests, writtenBytes } = exports.traffic();
        return Promise.resolve([
          {
            reactor: reactor.index,
            awake_sec: awakeMs / 1000,
            asleep_sec: asleepMs / 1000,
            connections,
            read_requests: readRequests,
            write_requests: writeRequests,
            other_requests: otherRequests,
            failed_requests: errors,
            bytes_read: readBytes,
            bytes_written: writtenBytes,
            queue_depth: registry.ios.outstanding,
            devices: registry.list().length,
            arrays: arrays.list().length,
          },
        ]);
      },
    }),
  ];
}
