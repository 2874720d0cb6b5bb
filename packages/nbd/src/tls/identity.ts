import type { TLSSocket } from 'node:tls';

/** What a client has proved with TLS about its identity. A field is null if it has proved nothing of the kind. */
export interface TlsIdentity {
  /** The user whose pre-shared key it has. */
  readonly tlsUser: string | null;
  /** The subject of its certificate, the most general part first: `O=example,CN=client`. */
  readonly certificate: string | null;
}

export const noIdentity: TlsIdentity = { tlsUser: null, certificate: null };

/** Longest identity in a message, in bytes of JSON. */
export const maxIdentityBytes = 4000;

/** The user whose key was looked up last, for each socket. */
const offered = new WeakMap<TLSSocket, string>();

/** Notes that a client claims to be this user, whose key is known. It has not yet proved that it has the key. */
export function noteOffer(socket: TLSSocket, user: string): void {
  offered.set(socket, user);
}

/**
 * Returns what the client has proved. A key that was looked up counts only if the connection really uses it. Servers here give
 * no session tickets, so a session that is resumed in TLS 1.3 is one with a pre-shared key, namely the one that was looked up
 * last.
 */
export function identityOf(socket: TLSSocket): TlsIdentity {
  const standsOnKey = socket.getProtocol() === 'TLSv1.3' ? socket.isSessionReused() : socket.getCipher().name.includes('PSK');
  const subject = socket.authorized ? socket.getPeerX509Certificate()?.subject : undefined;
  return {
    tlsUser: standsOnKey ? (offered.get(socket) ?? null) : null,
    certificate: subject === undefined ? null : subject.replaceAll('\n', ','),
  };
}

/**
 * Returns the message with which the TLS terminator tells the server who the client is, before the client's first byte: a
 * length in 4 bytes and as many bytes of JSON.
 */
export function identityMessage(identity: TlsIdentity): Buffer {
  let text = Buffer.from(JSON.stringify(identity));
  // No rule names such a client, because no rule is that long.
  if (text.length > maxIdentityBytes) text = Buffer.from(JSON.stringify(noIdentity));
  const message = Buffer.alloc(4 + text.length);
  message.writeUInt32BE(text.length);
  text.copy(message, 4);
  return message;
}

/** Parses what follows the length in {@link identityMessage}. Throws a SyntaxError if it is not JSON. */
export function parseIdentity(text: Buffer): TlsIdentity {
  const { tlsUser, certificate } = JSON.parse(text.toString('utf8')) as TlsIdentity;
  return { tlsUser, certificate };
}
