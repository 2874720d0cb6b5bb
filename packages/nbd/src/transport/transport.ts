/** What a connection has to send, as its transport sees it. */
export interface Outgoing {
  readonly isEmpty: boolean;
  /** A send has begun and not ended. */
  readonly isSending: boolean;
  /** Bytes of the send in flight; 0 if there is none. */
  readonly sendingBytes: number;
  /** Begins to send up to so many ranges and bytes. Returns the number of ranges. */
  beginSend(maxRanges: number, maxBytes: number): number;
  /** Returns the address of the `index`-th oldest range. */
  rangeAddr(index: number): number;
  /** Returns the size in bytes of the `index`-th oldest range. */
  rangeBytes(index: number): number;
}

/** What a transport needs of the connection whose bytes it moves. */
export interface TransportedConnection {
  /** The client's address, for log lines. */
  readonly peer: string;
  /** Where input goes. */
  readonly inputAddr: number;
  /** Number of bytes that the connection waits for; 0 while it can take nothing. */
  readonly wantedBytes: number;
  /** Number of bytes that may be received at {@link inputAddr}. */
  readonly roomBytes: number;
  /** Whether input goes to the connection's own memory, and not to a buffer of a request. */
  readonly isInputOwn: boolean;
  /** The connection discards what it receives. */
  readonly isDraining: boolean;
  readonly sendQueue: Outgoing;
  received(bytes: number): void;
  /** The client sends no more. */
  receivedEnd(): void;
  /** Part of the send queue has been sent. */
  sent(): void;
  /** Closes the connection at once, without replies. */
  abort(reason: string): void;
  /** The transport is closed. */
  closed(): void;
}

/**
 * What a connection needs of the code that moves its bytes. In the other direction, the transport uses the connection's
 * `inputAddr`, `wantedBytes`, `roomBytes`, `received` and `receivedEnd` for input, `sendQueue.beginSend` and `sent` for output,
 * and calls `closed` at the end. All calls are made in the runtime's thread. The connection may call these methods from inside
 * its own.
 */
export interface Transport {
  /**
   * The send queue has something to send. The transport sends it after the work of this turn, so that replies are sent
   * together.
   */
  onOutput(): void;
  /** `wantedBytes` was 0 and no longer is, so bytes may be received again. */
  onInput(): void;
  /** The send queue has been sent: the transport must close, and then call the connection's `closed`. */
  onFinish(): void;
  /** The transport must close at once, whatever is queued, and then call the connection's `closed`. */
  onAbort(): void;
  /**
   * The client continues with another server. Returns the socket's descriptor, which the transport must not close or use any
   * more, and the bytes that it has received and not delivered. No send or receive is in flight. Called only if the server has
   * peers.
   */
  release(): { fd: number; undelivered: Uint8Array };
  /**
   * Starts TLS: its handshake comes next, and all bytes after that go through it. The first input through TLS is the
   * `identityMessage` that names the client. No send or receive is in flight. Returns false if TLS cannot start, for
   * example because bytes that came before it have not been delivered.
   */
  startTls(): boolean;
}
