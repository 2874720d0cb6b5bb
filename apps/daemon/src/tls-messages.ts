import type { TlsCredentials, TlsHandover } from '@raidkit/nbd';

/** Start data of a thread that does TLS. */
export interface TlsData {
  credentials: TlsCredentials;
}

/** Messages from a reactor's thread to its TLS thread. */
export type ToTls =
  | { type: 'client'; client: TlsHandover }
  /** Credentials for clients that connect from now on. */
  | { type: 'renew'; credentials: TlsCredentials }
  /** There will be no more clients. The thread ends when the present ones have gone. */
  | { type: 'close' };

/** Messages from the TLS thread to the reactor's thread. */
export interface FromTls {
  type: 'failed';
  peer: string;
  reason: string;
}
