export { shareClaims } from './claims.js';
export type { ClaimTable } from './claims.js';
export { DeviceNews, rescanAll, watchDevices } from './device-news.js';
export type { EngineOp, IoEngine } from './engine.js';
export { identityOf, openLinuxBdev, rescan, useEngine } from './open-linux-bdev.js';
export type { LinuxBdevOptions } from './open-linux-bdev.js';
export { PortableEngine } from './portable-engine.js';
export { RingEngine } from './ring-engine.js';
export type { DirectIo } from './usable-file.js';
