import type { TlsIdentity } from '../tls/identity.js';

/** Identity of a client, as far as rights on exports depend on it. Plain data. */
export interface ClientIdentity extends TlsIdentity {
  /** Name of the listener that the client connected to, as `listenerName` returns it. */
  readonly listener: string;
}
