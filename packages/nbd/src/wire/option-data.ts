import { optionMagicHi, optionMagicLo } from './constants.js';

/** The data of options, taken apart. Each parser gives null for data that is not as the specification says. */

export interface InfoRequest {
  name: string;
  /** Values of `InfoType`, and unknown ones. */
  infos: number[];
}

export interface MetaContextRequest {
  name: string;
  queries: string[];
}

/** An option as the client sent it, put together again. */
export function optionBytes(option: number, data: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32BE(optionMagicHi, 0);
  header.writeUInt32BE(optionMagicLo, 4);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

/** Data of `Option.Info` and `Option.Go`. */
export function parseInfoRequest(data: Buffer): InfoRequest | null {
  if (data.length < 6) return null;
  const nameBytes = data.readUInt32BE(0);
  if (nameBytes > data.length - 6) return null;
  const count = data.readUInt16BE(4 + nameBytes);
  if (data.length !== 6 + nameBytes + 2 * count) return null;
  const infos = Array.from({ length: count }, (_, i) => data.readUInt16BE(6 + nameBytes + 2 * i));
  return { name: data.toString('utf8', 4, 4 + nameBytes), infos };
}

/** Data of `Option.ListMetaContext` and `Option.SetMetaContext`. */
export function parseMetaContextRequest(data: Buffer): MetaContextRequest | null {
  if (data.length < 8) return null;
  const nameBytes = data.readUInt32BE(0);
  if (nameBytes > data.length - 8) return null;
  const count = data.readUInt32BE(4 + nameBytes);
  // Each query has at least its length, so a lying count cannot make the loop long.
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
