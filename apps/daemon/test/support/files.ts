import { closeSync, ftruncateSync, openSync } from 'node:fs';

/** Makes a sparse file of so many bytes. */
export function makeFile(path: string, bytes: number): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
}

/** Bytes that do not repeat; other ones for another seed. */
export function noise(bytes: number, seed = 0): Buffer {
  const words = new Uint32Array(bytes / 4);
  let state = 0x12345678 + seed;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return Buffer.from(words.buffer);
}
