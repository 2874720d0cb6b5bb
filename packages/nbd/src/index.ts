export { NbdError } from './errors.js';
export type { NbdErrorCode } from './errors.js';
export type { AllocationMap, NbdExportStats } from './export.js';
export { NbdConnection } from './protocol/connection.js';
export { ExtentFlag } from './protocol/constants.js';
export type { Transport } from './protocol/transport.js';
export { NbdServer } from './server.js';
export type { AddExportOptions, NbdExportInfo, NbdListener, NbdServerOptions } from './server.js';
export type { NbdAddress } from './transport/listen.js';
