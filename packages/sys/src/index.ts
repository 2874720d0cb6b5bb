export { Aead, aeadTagBytes, loadAead } from './aead.js';
export type { AeadLibrary, AeadName } from './aead.js';
export {
  EventFdFlag,
  FallocateMode,
  FlockOperation,
  Ioctl,
  MemoryAdvice,
  MessageFlag,
  OfdLockType,
  RingOp,
  ShutdownHow,
  SocketFamily,
  SocketOption,
  pollIn,
  ringFsyncDataSync,
} from './constants.js';
export { loadSys, whyNoSys } from './load.js';
export type { RingFlush } from './flush-list.js';
export { Ring, openRing } from './ring.js';
export type { RingOptions, RingOwner } from './ring.js';
export { Sockets, readSocketAddress, socketAddressBytes } from './sockets.js';
export type { SocketAddress } from './sockets.js';
export { Sys } from './sys.js';
export type { SysDone } from './sys.js';
