/** The numbers of the NBD protocol, as `doc/proto.md` of the NetworkBlockDevice/nbd project defines them. */

/** `NBDMAGIC` and `IHAVEOPT`, each as two big-endian halves. */
export const greetingMagicHi = 0x4e42444d;
export const greetingMagicLo = 0x41474943;
export const optionMagicHi = 0x49484156;
export const optionMagicLo = 0x454f5054;
/** Magic number of the server's reply to an option: 0x0003e889045565a9. */
export const optionReplyMagicHi = 0x0003e889;
export const optionReplyMagicLo = 0x045565a9;

export const requestMagic = 0x25609513;
export const extendedRequestMagic = 0x21e41c71;
export const simpleReplyMagic = 0x67446698;
export const structuredReplyMagic = 0x668e33ef;
export const extendedReplyMagic = 0x6e8a278c;

export const requestBytes = 28;
export const extendedRequestBytes = 32;

/** Handshake flags. The server sends them in 16 bits and the client answers in 32 bits; the bits have the same meaning. */
export const HandshakeFlag = { FixedNewstyle: 1, NoZeroes: 2 } as const;

export const Option = {
  ExportName: 1,
  Abort: 2,
  List: 3,
  StartTls: 5,
  Info: 6,
  Go: 7,
  StructuredReply: 8,
  ListMetaContext: 9,
  SetMetaContext: 10,
  ExtendedHeaders: 11,
} as const;

export const OptionReply = {
  Ack: 1,
  Server: 2,
  Info: 3,
  MetaContext: 4,
  ErrUnsup: 0x80000001,
  ErrInvalid: 0x80000003,
  ErrTlsReqd: 0x80000005,
  ErrUnknown: 0x80000006,
  ErrTooBig: 0x80000009,
  ErrExtHeaderReqd: 0x8000000a,
} as const;

export const InfoType = { Export: 0, Name: 1, Description: 2, BlockSize: 3 } as const;

export const TransmissionFlag = {
  HasFlags: 1 << 0,
  ReadOnly: 1 << 1,
  SendFlush: 1 << 2,
  SendFua: 1 << 3,
  SendTrim: 1 << 5,
  SendWriteZeroes: 1 << 6,
  SendDf: 1 << 7,
  CanMultiConn: 1 << 8,
  SendCache: 1 << 10,
  SendFastZero: 1 << 11,
} as const;

export const Command = {
  Read: 0,
  Write: 1,
  Disc: 2,
  Flush: 3,
  Trim: 4,
  Cache: 5,
  WriteZeroes: 6,
  BlockStatus: 7,
} as const;

export const CommandFlag = {
  Fua: 1 << 0,
  NoHole: 1 << 1,
  Df: 1 << 2,
  ReqOne: 1 << 3,
  FastZero: 1 << 4,
  PayloadLen: 1 << 5,
} as const;

/** NBD_REPLY_FLAG_DONE, set on the last chunk of a reply. */
export const chunkDone = 1;

export const ChunkType = {
  None: 0,
  OffsetData: 1,
  BlockStatus: 5,
  BlockStatusExt: 6,
  Error: 0x8001,
  ErrorOffset: 0x8002,
} as const;

/** Flags of an extent in `base:allocation`: NBD_STATE_HOLE and NBD_STATE_ZERO. */
export const ExtentFlag = { Hole: 1, Zero: 2 } as const;

/** The only metadata context that this server knows. */
export const allocationContext = 'base:allocation';
/** The context's id, which the server chooses. */
export const allocationContextId = 1;

/** Error numbers that the protocol defines. */
export const NbdErrno = {
  Ok: 0,
  Perm: 1,
  Io: 5,
  NoMem: 12,
  Inval: 22,
  NoSpace: 28,
  Overflow: 75,
  NotSup: 95,
  Shutdown: 108,
} as const;
