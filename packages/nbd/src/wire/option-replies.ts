import {
  InfoType,
  OptionReply,
  greetingMagicHi,
  greetingMagicLo,
  optionMagicHi,
  optionMagicLo,
  optionReplyMagicHi,
  optionReplyMagicLo,
} from './constants.js';

/** Encodes what a server sends during the handshake. */

/** Returns the greeting: the first bytes that a server sends. */
export function greeting(handshakeFlags: number): Buffer {
  const bytes = Buffer.alloc(18);
  bytes.writeUInt32BE(greetingMagicHi, 0);
  bytes.writeUInt32BE(greetingMagicLo, 4);
  bytes.writeUInt32BE(optionMagicHi, 8);
  bytes.writeUInt32BE(optionMagicLo, 12);
  bytes.writeUInt16BE(handshakeFlags, 16);
  return bytes;
}

/** Returns one reply to an option. */
export function optionReply(option: number, type: number, data: Uint8Array | string = ''): Buffer {
  const payload = Buffer.from(data);
  const header = Buffer.alloc(20);
  header.writeUInt32BE(optionReplyMagicHi, 0);
  header.writeUInt32BE(optionReplyMagicLo, 4);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(payload.length, 16);
  return Buffer.concat([header, payload]);
}

/** An export as the reply to NBD_OPT_LIST describes it. */
export interface ListedExport {
  readonly name: string;
  readonly description: string;
}

/** An export as {@link infoReplies} describes it. */
export interface ExportFacts extends ListedExport {
  readonly sizeBytes: number;
  readonly preferredBytes: number;
}

/** Smallest request size that every export advertises, in bytes. */
export const minimumBytes = 1;
/** Largest request size that every export advertises, in bytes. */
export const maximumBytes = 32 * 1024 * 1024;

/** Returns the entry of one export in the reply to `Option.List`. */
export function serverReply(option: number, facts: ListedExport): Buffer {
  const name = Buffer.from(facts.name);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.length);
  return optionReply(option, OptionReply.Server, Buffer.concat([length, name, Buffer.from(facts.description)]));
}

/** Returns the reply to `Option.ExportName`. */
export function exportNameReply(sizeBytes: number, transmissionFlags: number, hasZeroes: boolean): Buffer {
  const bytes = Buffer.alloc(hasZeroes ? 134 : 10);
  writeSize(bytes, sizeBytes, 0);
  bytes.writeUInt16BE(transmissionFlags, 8);
  return bytes;
}

/**
 * Returns the replies about an export to `Option.Info` and `Option.Go`: `InfoType.Export`, which is always sent, and those in
 * `wanted`.
 */
export function infoReplies(
  option: number,
  facts: ExportFacts,
  transmissionFlags: number,
  wanted: readonly number[],
): Buffer[] {
  const info = Buffer.alloc(12);
  info.writeUInt16BE(InfoType.Export, 0);
  writeSize(info, facts.sizeBytes, 2);
  info.writeUInt16BE(transmissionFlags, 10);
  const replies = [optionReply(option, OptionReply.Info, info)];
  if (wanted.includes(InfoType.Name)) replies.push(textInfo(option, InfoType.Name, facts.name));
  if (wanted.includes(InfoType.Description)) replies.push(textInfo(option, InfoType.Description, facts.description));
  if (wanted.includes(InfoType.BlockSize)) {
    const sizes = Buffer.alloc(14);
    sizes.writeUInt16BE(InfoType.BlockSize, 0);
    sizes.writeUInt32BE(minimumBytes, 2);
    sizes.writeUInt32BE(facts.preferredBytes, 6);
    sizes.writeUInt32BE(maximumBytes, 10);
    replies.push(optionReply(option, OptionReply.Info, sizes));
  }
  return replies;
}

/** Returns the reply for one metadata context. */
export function metaContextReply(option: number, id: number, name: string): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(id);
  return optionReply(option, OptionReply.MetaContext, Buffer.concat([head, Buffer.from(name)]));
}

function textInfo(option: number, type: number, text: string): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return optionReply(option, OptionReply.Info, Buffer.concat([head, Buffer.from(text)]));
}

function writeSize(bytes: Buffer, size: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(size / 2 ** 32), at);
  bytes.writeUInt32BE(size % 2 ** 32, at + 4);
}
