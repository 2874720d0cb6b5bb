export { startDaemon } from './daemon.js';
export type { Daemon, DaemonOptions } from './daemon.js';
export type { NbdAddress } from './exports.js';
export { defaultLevelPackages } from './level-modules.js';
export type { RpcAddress } from './rpc/listen.js';
