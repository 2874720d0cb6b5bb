/* Findings and actions, for other programs than raidctl that show them. Uses nothing of Node. */
export type { Finding } from './documents.js';
export { findingsOf, otherFindings, statusOf } from './findings.js';
export { formatBytes, formatCount, formatSeconds, plural } from './format.js';
export type { Snapshot } from './snapshot-type.js';
