export { FallocateMode, FlockOperation, Ioctl, OfdLockType } from './constants.js';
export { loadSys, whyNoSys } from './load.js';
export { Sys } from './sys.js';
export type { SysDone } from './sys.js';
