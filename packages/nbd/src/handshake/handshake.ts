import {
  HandshakeFlag,
  Option,
  OptionReply,
  allocationContext,
  allocationContextId,
  optionMagicHi,
  optionMagicLo,
} from '../wire/constants.js';
import type { ClientIdentity } from './identity.js';
import type { TlsMode } from '../tls/credentials.js';
import { maxIdentityBytes, noIdentity, parseIdentity } from '../tls/identity.js';
import { Negotiated, ReplyStyle } from './negotiated.js';
import { optionBytes, parseInfoRequest, parseMetaContextRequest } from '../wire/option-data.js';
import { exportNameReply, greeting, infoReplies, metaContextReply, optionReply, serverReply } from '../wire/option-replies.js';
import type { ExportFacts, ListedExport } from '../wire/option-replies.js';

/** Longest option data that is processed, in bytes. */
export const maxOptionBytes = 4096;
/** Longest option data that is read and discarded, in bytes. A client that sends more is dropped. */
const maxDiscardedBytes = 1024 * 1024;

/** An export as the handshake sees it. */
export interface HandshakeExport extends ExportFacts {
  transmissionFlags(isChunked: boolean): number;
}

/** What the handshake needs of the server. */
export interface HandshakeHost<E extends HandshakeExport> {
  /** Returns the export with this name if the client may use it. The empty name means the default export. */
  find(name: string, client: ClientIdentity): E | null;
  /** Returns whether another server has an export that this one lacks and that the client may use. */
  isOnPeer(name: string, client: ClientIdentity): boolean;
  /** Returns the exports of all servers that the client may use. */
  list(client: ClientIdentity): readonly ListedExport[];
  readonly tls: TlsMode;
  /** Number of options that one client may send. */
  readonly maxOptions: number;
}

/** State of a handshake between two options, with which another server can continue it. Plain data. */
export interface HandshakeProgress {
  readonly clientFlags: number;
  readonly isTls: boolean;
  readonly client: ClientIdentity;
  readonly replyStyle: ReplyStyle;
  readonly allocationExport: string | null;
  /**
   * Number of options so far. An option that two servers have processed counts twice, so that a client cannot move between
   * servers for ever.
   */
  readonly options: number;
}

/** What the caller must do after a step. */
export type HandshakeResult<E> =
  | { type: 'continue' }
  /** The handshake is over. The client sends requests to this export next. */
  | { type: 'transmission'; export: E }
  /**
   * Another server must continue, once the replies so far are sent. It starts with this option, which has not been answered.
   */
  | { type: 'leave'; exportName: string; option: Buffer }
  /**
   * TLS begins once the replies so far are sent. Bytes that came before TLS must not be processed as if they came through it.
   */
  | { type: 'startTls' }
  /** Close the connection once the replies so far are sent. */
  | { type: 'finish' }
  /** Close the connection at once. */
  | { type: 'drop'; reason: string };

type State = 'clientFlags' | 'identityLength' | 'identity' | 'optionHeader' | 'optionData' | 'discard';

const proceed = { type: 'continue' } as const;

/**
 * The handshake of one client (fixed newstyle), without a socket. It takes exactly the bytes that it wants, and passes its
 * output to `say`.
 */
export class Handshake<E extends HandshakeExport> {
  readonly negotiated = new Negotiated();
  /** Number of bytes that {@link feed} must be given next; each call changes it. */
  wantedBytes = 4;

  readonly #host: HandshakeHost<E>;
  readonly #say: (bytes: Buffer) => void;
  #state: State = 'clientFlags';
  #clientFlags = 0;
  #isTls = false;
  #client: ClientIdentity;
  #option = 0;
  #discardLeft = 0;
  #options = 0;

  /**
   * `say` is called with the greeting before the constructor returns, and later during {@link feed}. There is no greeting if
   * `progress` continues a handshake that another server began.
   */
  constructor(
    host: HandshakeHost<E>,
    listener: string,
    say: (bytes: Buffer) => void,
    progress: HandshakeProgress | null = null,
  ) {
    this.#host = host;
    this.#say = say;
    this.#client = progress?.client ?? { listener, ...noIdentity };
    if (progress === null) {
      say(greeting(HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes));
      return;
    }
    this.#clientFlags = progress.clientFlags;
    this.#isTls = progress.isTls;
    this.#options = progress.options;
    this.negotiated.replyStyle = progress.replyStyle;
    this.negotiated.allocationExport = progress.allocationExport;
    this.#expectOption();
  }

  /** The state with which another server can continue. Valid between two options. */
  get progress(): HandshakeProgress {
    const { replyStyle, allocationExport } = this.negotiated;
    const common = { client: this.#client, replyStyle, allocationExport, options: this.#options };
    return { clientFlags: this.#clientFlags, isTls: this.#isTls, ...common };
  }

  /** Processes {@link wantedBytes} bytes. `data` is not kept. */
  feed(data: Buffer): HandshakeResult<E> {
    switch (this.#state) {
      case 'clientFlags':
        return this.#onClientFlags(data);
      case 'identityLength':
        this.#state = 'identity';
        this.wantedBytes = Math.min(data.readUInt32BE(0), maxIdentityBytes);
        return proceed;
      case 'identity':
        return this.#identity(data);
      case 'optionHeader':
        return this.#optionHeader(data);
      case 'optionData':
        this.#expectOption();
        return this.#handle(data);
      case 'discard':
        this.#discard(data.length);
        return proceed;
    }
  }

  #onClientFlags(data: Buffer): HandshakeResult<E> {
    const flags = data.readUInt32BE(0);
    if ((flags & ~(HandshakeFlag.FixedNewstyle | HandshakeFlag.NoZeroes)) !== 0) {
      return { type: 'drop', reason: 'unknown client flags' };
    }
    if (this.#host.tls === 'require' && (flags & HandshakeFlag.FixedNewstyle) === 0) {
      return { type: 'drop', reason: 'TLS is required, but the client is too old for it' };
    }
    this.#clientFlags = flags;
    this.#expectOption();
    return proceed;
  }

  #optionHeader(data: Buffer): HandshakeResult<E> {
    if (data.readUInt32BE(0) !== optionMagicHi || data.readUInt32BE(4) !== optionMagicLo) {
      return { type: 'drop', reason: 'an option without the magic number' };
    }
    if (++this.#options > this.#host.maxOptions) return { type: 'drop', reason: 'too many options' };
    this.#option = data.readUInt32BE(8);
    const bytes = data.readUInt32BE(12);
    if (bytes > maxOptionBytes) {
      if (bytes > maxDiscardedBytes || this.#option === Option.ExportName) {
        return { type: 'drop', reason: `an option with ${bytes} bytes of data` };
      }
      this.#state = 'discard';
      this.#discardLeft = bytes;
      this.#discard(0);
      return proceed;
    }
    if (bytes === 0) {
      this.#expectOption();
      return this.#handle(Buffer.alloc(0));
    }
    this.#state = 'optionData';
    this.wantedBytes = bytes;
    return proceed;
  }

  #expectOption(): void {
    this.#state = 'optionHeader';
    this.wantedBytes = 16;
  }

  #discard(bytes: number): void {
    this.#discardLeft -= bytes;
    this.wantedBytes = Math.min(this.#discardLeft, maxOptionBytes);
    if (this.#discardLeft > 0) return;
    this.#expectOption();
    if (this.#mustStartTls) this.#reply(OptionReply.ErrTlsReqd);
    else this.#reply(OptionReply.ErrTooBig, `option data of more than ${maxOptionBytes} bytes`);
  }

  /**
   * TLS has begun. All bytes from now on come through it; the first of them are the TLS terminator's message with the client's
   * identity.
   */
  tlsStarted(): void {
    this.#state = 'identityLength';
    this.wantedBytes = 4;
  }

  #identity(data: Buffer): HandshakeResult<E> {
    try {
      this.#client = { listener: this.#client.listener, ...parseIdentity(data) };
    } catch {
      return { type: 'drop', reason: 'TLS has started, and the client has no name' };
    }
    this.#expectOption();
    return proceed;
  }

  #handle(data: Buffer): HandshakeResult<E> {
    if (this.#mustStartTls && this.#option !== Option.StartTls && this.#option !== Option.Abort) {
      // NBD_OPT_EXPORT_NAME has no error reply.
      if (this.#option === Option.ExportName) return { type: 'drop', reason: 'TLS is required' };
      this.#reply(OptionReply.ErrTlsReqd, 'TLS is required');
      return proceed;
    }
    switch (this.#option) {
      case Option.ExportName:
        return this.#exportName(data);
      case Option.Abort:
        this.#reply(OptionReply.Ack);
        return { type: 'finish' };
      case Option.List:
        if (this.#isEmpty(data)) this.#list();
        return proceed;
      case Option.StartTls:
        return this.#startTls(data);
      case Option.Info:
      case Option.Go:
        return this.#info(data);
      case Option.StructuredReply:
        if (this.#isEmpty(data)) this.#structuredReply();
        return proceed;
      case Option.ExtendedHeaders:
        if (!this.#isEmpty(data)) return proceed;
        this.negotiated.replyStyle = ReplyStyle.Extended;
        this.#reply(OptionReply.Ack);
        return proceed;
      case Option.ListMetaContext:
      case Option.SetMetaContext:
        return this.#metaContext(data);
      default:
        this.#reply(OptionReply.ErrUnsup);
        return proceed;
    }
  }

  #exportName(data: Buffer): HandshakeResult<E> {
    const name = data.toString('utf8');
    const found = this.#host.find(name, this.#client);
    if (found === null) {
      // NBD_OPT_EXPORT_NAME has no error reply.
      return this.#host.isOnPeer(name, this.#client) ? this.#leave(name, data) : { type: 'drop', reason: 'no such export' };
    }
    this.#say(
      exportNameReply(
        found.sizeBytes,
        found.transmissionFlags(this.#isChunked),
        (this.#clientFlags & HandshakeFlag.NoZeroes) === 0,
      ),
    );
    return this.#enter(found);
  }

  #startTls(data: Buffer): HandshakeResult<E> {
    if (this.#host.tls === 'off' || (this.#clientFlags & HandshakeFlag.FixedNewstyle) === 0) {
      this.#reply(OptionReply.ErrUnsup);
      return proceed;
    }
    if (this.#isTls) {
      this.#reply(OptionReply.ErrInvalid, 'TLS is in use');
      return proceed;
    }
    if (!this.#isEmpty(data)) return proceed;
    // An attacker may have sent the options that were negotiated before TLS.
    this.negotiated.reset();
    this.#isTls = true;
    this.#reply(OptionReply.Ack);
    this.wantedBytes = 0;
    return { type: 'startTls' };
  }

  #list(): void {
    const replies = this.#host.list(this.#client).map((found) => serverReply(this.#option, found));
    this.#say(Buffer.concat([...replies, optionReply(this.#option, OptionReply.Ack)]));
  }

  #info(data: Buffer): HandshakeResult<E> {
    const request = parseInfoRequest(data);
    if (request === null) {
      this.#reply(OptionReply.ErrInvalid, 'malformed request');
      return proceed;
    }
    const found = this.#host.find(request.name, this.#client);
    if (found === null) return this.#notHere(request.name, data);
    const infos = infoReplies(this.#option, found, found.transmissionFlags(this.#isChunked), request.infos);
    this.#say(Buffer.concat([...infos, optionReply(this.#option, OptionReply.Ack)]));
    return this.#option === Option.Go ? this.#enter(found) : proceed;
  }

  #enter(found: E): HandshakeResult<E> {
    // A metadata context that was selected for another export does not apply.
    if (this.negotiated.allocationExport !== found.name) this.negotiated.allocationExport = null;
    return { type: 'transmission', export: found };
  }

  #notHere(name: string, data: Buffer): HandshakeResult<E> {
    if (this.#host.isOnPeer(name, this.#client)) return this.#leave(name, data);
    this.#reply(OptionReply.ErrUnknown, 'no such export');
    return proceed;
  }

  #leave(exportName: string, data: Buffer): HandshakeResult<E> {
    this.wantedBytes = 0;
    return { type: 'leave', exportName, option: optionBytes(this.#option, data) };
  }

  #structuredReply(): void {
    if (this.negotiated.replyStyle === ReplyStyle.Extended) {
      this.#reply(OptionReply.ErrExtHeaderReqd, 'extended headers are in use');
      return;
    }
    this.negotiated.replyStyle = ReplyStyle.Structured;
    this.#reply(OptionReply.Ack);
  }

  #metaContext(data: Buffer): HandshakeResult<E> {
    const isSet = this.#option === Option.SetMetaContext;
    // NBD_OPT_SET_META_CONTEXT cancels an earlier selection even if it fails.
    if (isSet) this.negotiated.allocationExport = null;
    const request = parseMetaContextRequest(data);
    if (request === null) {
      this.#reply(OptionReply.ErrInvalid, 'malformed request');
      return proceed;
    }
    if (isSet && !this.#isChunked) {
      this.#reply(OptionReply.ErrInvalid, 'structured replies must be negotiated first');
      return proceed;
    }
    const found = this.#host.find(request.name, this.#client);
    if (found === null) return this.#notHere(request.name, data);
    const { queries } = request;
    const isWildcard = !isSet && (queries.length === 0 || queries.includes('base:'));
    const isWanted = isWildcard || queries.includes(allocationContext);
    const replies: Buffer[] = [];
    if (isWanted) replies.push(metaContextReply(this.#option, isSet ? allocationContextId : 0, allocationContext));
    replies.push(optionReply(this.#option, OptionReply.Ack));
    if (isSet && isWanted) this.negotiated.allocationExport = found.name;
    this.#say(Buffer.concat(replies));
    return proceed;
  }

  get #mustStartTls(): boolean {
    return this.#host.tls === 'require' && !this.#isTls;
  }

  get #isChunked(): boolean {
    return this.negotiated.replyStyle !== ReplyStyle.Simple;
  }

  #isEmpty(data: Buffer): boolean {
    if (data.length === 0) return true;
    this.#reply(OptionReply.ErrInvalid, 'this option has no data');
    return false;
  }

  #reply(type: number, message = ''): void {
    this.#say(optionReply(this.#option, type, message));
  }
}
