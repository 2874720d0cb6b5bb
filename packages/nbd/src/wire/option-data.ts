import { optionMagicHi, optionMagicLo } from './constants.js';

/** Parsers of option data. They return null for data that violates the specification. */

export interface InfoRequest {
  name: string;
  /** Values of `InfoType`, possibly unknown ones. */
  infos: number[];
}

export interface MetaContextRequest {
  name: string;
  queries: string[];
}

/** Returns the option as the client sent it, header included. */
export function optionBytes(option: number, data: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32BE(optionMagicHi, 0);
  header.writeUInt32BE(optionMagicLo, 4);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

/** Parses the data of `Option.Info` and `Option.Go`. */
export function parseInfoRequest(data: Buffer): InfoRequest | null {
  if (data.length < 6) return null;
  const nameBytes = data.readUInt32BE(0);
  if (nameBytes > data.length - 6) return null;
  const count = data.readUInt16BE(4 + nameBytes);
  if (data.length !== 6 + nameBytes + 2 * count) return null;
  const infos = Array.from({ length: count }, (_, i) => data.readUInt16BE(6 + nameBytes + 2 * i));
  return { name: data.toString('utf8', 4, 4 + nameBytes), infos };
}

/** Parses the data of `Option.ListMetaContext` and `Option.SetMetaContext`. */
export function parseMetaContextRequest(data: Buffer): MetaContextRequest | null {
  if (data.length < 8) return null;
  const nameBytes = data.readUInt32BE(0);
  if (nameBytes > data.length - 8) return null;
  const count = data.readUInt32BE(4 + nameBytes);
  // Each query takes at least the 4 bytes of its length, so this check limits the loop whatever count the client sends.
  if (count > (data.length - 8 - nameBytes) / 4) return null;
  const queries: string[] = [];
  let at = 8 + nameBytes;
  for (let i = 0; i < count; i++) {
    if (data.length - at < 4) return null;
    const bytes = data.readUInt32BE(at);
    if (bytes > data.length - at - 4) return null;
    queries.push(data.toString('utf8', at + 4, at + 4 + bytes));
    at += 4 + bytes;
  }
  if (at !== data.length) return null;
  return { name: data.toString('utf8', 4, 4 + nameBytes), queries };
}
