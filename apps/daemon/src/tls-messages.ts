import type { TlsCredentials, TlsHandover } from '@raidkit/nbd';

/** What the thread that does TLS is started with. */
export interface TlsData {
  credentials: TlsCredentials;
}

/** From a reactor's thread to the one that does TLS for it. */
export type ToTls =
  | { type: 'client'; client: TlsHandover }
  /** For clients that come from now on. */
  | { type: 'renew'; credentials: TlsCredentials }
  /** No other client comes. The thread ends when those that are there have gone. */
  | { type: 'close' };

/** And back. */
export interface FromTls {
  type: 'failed';
  peer: string;
  reason: string;
}
