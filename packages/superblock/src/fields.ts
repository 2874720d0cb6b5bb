/** Fields that the superblock and the structures behind it have in common. Numbers are little-endian. */

/** Values above 2^53 are rounded, but never to below it, so every limit check rejects them. */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** Returns the UUID whose 16 bytes are stored in print order. */
export function readUuid(bytes: Uint8Array, at: number): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset + at, 16).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export function writeUuid(bytes: Uint8Array, at: number, uuid: string): void {
  bytes.set(Buffer.from(uuid.replaceAll('-', ''), 'hex'), at);
}

/** Returns the 8 bytes of an incarnation as hexadecimal digits, in print order. */
export function readIncarnation(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, 8).toString('hex');
}

/** Writes 16 hexadecimal digits as 8 bytes in print order. */
export function writeIncarnation(bytes: Uint8Array, at: number, incarnation: string): void {
  bytes.set(Buffer.from(incarnation, 'hex'), at);
}
