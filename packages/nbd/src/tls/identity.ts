import type { TLSSocket } from 'node:tls';

/** Who a client has proved to be, by TLS; each null for what it has not. */
export interface TlsIdentity {
  /** The user whose key it has. */
  readonly tlsUser: string | null;
  /** The subject of its certificate, from the most general part on: `O=example,CN=client`. */
  readonly certificate: string | null;
}

export const noIdentity: TlsIdentity = { tlsUser: null, certificate: null };

/** Longest identity that is told, in bytes of JSON. */
export const maxIdentityBytes = 4000;

/** Users whose keys were given out last in a handshake that is not over. */
const offered = new WeakMap<TLSSocket, string>();

/** A client says that it is this user, whose key is known. It has still to prove that it has the key. */
export function noteOffer(socket: TLSSocket, user: string): void {
  offered.set(socket, user);
}

/**
 * Who the client at the other end has proved to be. A key that was asked for counts only if the connection stands on it: without
 * session tickets, which servers here do not give, a session that was resumed in TLS 1.3 is one with a key, and the key that was
 * given out last is its.
 */
export function identityOf(socket: TLSSocket): TlsIdentity {
  const standsOnKey = socket.getProtocol() === 'TLSv1.3' ? socket.isSessionReused() : socket.getCipher().name.includes('PSK');
  const subject = socket.authorized ? socket.getPeerX509Certificate()?.subject : undefined;
  return {
    tlsUser: standsOnKey ? (offered.get(socket) ?? null) : null,
    certificate: subject === undefined ? null : subject.replaceAll('\n', ','),
  };
}

/** The message by which the TLS terminator tells it to the server, before the first byte of the client's: length (4), and as many bytes of JSON. */
export function identityMessage(identity: TlsIdentity): Buffer {
  let text = Buffer.from(JSON.stringify(identity));
  // No rule can name a client with so long a name.
  if (text.length > maxIdentityBytes) text = Buffer.from(JSON.stringify(noIdentity));
  const message = Buffer.alloc(4 + text.length);
  message.writeUInt32BE(text.length);
  text.copy(message, 4);
  return message;
}

/** What {@link identityMessage} has behind the length. Throws a SyntaxError for anything else. */
export function parseIdentity(text: Buffer): TlsIdentity {
  const { tlsUser, certificate } = JSON.parse(text.toString('utf8')) as TlsIdentity;
  return { tlsUser, certificate };
}
