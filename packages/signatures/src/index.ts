export { findSignature } from './find-signature.js';
export { signatures } from './signatures.js';
export type { Signature } from './signatures.js';
