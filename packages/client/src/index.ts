export { RaidkitClient } from './client.js';
export type { CallOptions, ConnectOptions, DaemonAddress } from './client.js';
export { ClientError, clientErrorCodes } from './errors.js';
export type { ClientErrorCode, RpcFailure } from './errors.js';
export * from './http-results.js';
export { methods } from './methods.js';
export type { MethodName, ParamsOf, ResultOf } from './methods.js';
export * from './results.js';
export { defaultSocketPath } from './socket-path.js';
