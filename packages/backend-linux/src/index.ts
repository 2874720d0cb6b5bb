export type { EngineOp, IoEngine } from './engine.js';
export { openLinuxBdev, rescan, useEngine } from './open-linux-bdev.js';
export type { LinuxBdevOptions } from './open-linux-bdev.js';
export { PortableEngine } from './portable-engine.js';
export { RingEngine } from './ring-engine.js';
export type { DirectIo } from './usable-file.js';
