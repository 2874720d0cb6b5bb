export * from './documents.js';
export { ExitCode } from './exit-code.js';
