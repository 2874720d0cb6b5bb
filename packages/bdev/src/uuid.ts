import type { Runtime } from './runtime/runtime.js';

const form = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The nil uuid. */
export const nullUuid = '00000000-0000-0000-0000-000000000000';

/** Whether the text is a uuid. Any version and variant is accepted, because people number their test devices. */
export function isUuid(text: string): boolean {
  return form.test(text);
}

/** Returns a random uuid of version 4. */
export function newUuid(runtime: Runtime): string {
  const bytes = Buffer.from(runtime.randomBytes(16));
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
