/* What is wrong, and what to do about it, for others than raidctl that show it. Needs nothing of Node. */
export type { Finding } from './documents.js';
export { findingsOf, otherFindings, statusOf } from './findings.js';
export { formatBytes, formatCount, formatSeconds, plural } from './format.js';
export type { Snapshot } from './snapshot-type.js';
