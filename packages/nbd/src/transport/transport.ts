/**
 * What a connection needs of the code that moves its bytes. The other direction is the connection's own methods: `inputAddr`,
 * `wantedBytes`, `roomBytes`, `received`, `receivedEnd` for bytes that come in; `sendQueue.beginSend` and `sent` for bytes that
 * go out; `closed` at the very end. All calls are in the thread of the runtime; calls from here may come from inside calls of
 * the connection's methods.
 */
export interface Transport {
  /** There is something in the send queue. To be sent once this turn's work is done, so that replies go out together. */
  onOutput(): void;
  /** `wantedBytes` was 0 and is not any more: bytes may be received again. */
  onInput(): void;
  /** Everything in the send queue has been sent: close, and call the connection's `closed`. */
  onFinish(): void;
  /** Close at once, whatever waits, and call the connection's `closed`. */
  onAbort(): void;
  /**
   * The client goes on elsewhere: lets go of the socket without closing it, and gives its descriptor and what has come in
   * and was not delivered. Nothing is being sent, nor received. Only asked for if the server knows of an elsewhere.
   */
  release(): { fd: number; undelivered: Uint8Array };
  /**
   * From now on bytes come and go through TLS, whose handshake begins; the first that come say who the client has proved to be
   * (`identityMessage`). Nothing is being sent, nor received. False if that cannot
   * be, or bytes have come in the clear that were not delivered.
   */
  startTls(): boolean;
}
