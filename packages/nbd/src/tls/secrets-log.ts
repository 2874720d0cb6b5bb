import { secretBytes } from './key-schedule.js';

/** Labels of the lines with traffic secrets (NSS key log format). */
const client = Buffer.from('CLIENT_TRAFFIC_SECRET_0 ');
const server = Buffer.from('SERVER_TRAFFIC_SECRET_0 ');

/**
 * Extracts the two secrets that protect application data from the key log of a handshake. It uses bytes throughout, because a
 * string cannot be wiped.
 */
export class SecretsLog {
  client: Uint8Array | null = null;
  server: Uint8Array | null = null;

  /** Processes one line and wipes it. */
  take(line: Buffer): void {
    if (startsWith(line, client)) this.client = lastWord(line);
    else if (startsWith(line, server)) this.server = lastWord(line);
    line.fill(0);
  }

  wipe(): void {
    this.client?.fill(0);
    this.server?.fill(0);
    this.client = this.server = null;
  }
}

function startsWith(line: Buffer, label: Buffer): boolean {
  return line.length > label.length && line.compare(label, 0, label.length, 0, label.length) === 0;
}

/** Decodes the hexadecimal digits after the last space. */
function lastWord(line: Buffer): Uint8Array {
  let end = line.length;
  while (end > 0 && (line[end - 1] ?? 0) <= 0x20) end--;
  const start = line.lastIndexOf(0x20, end - 1) + 1;
  const bytes = secretBytes((end - start) >> 1);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (digit(line, start + 2 * i) << 4) | digit(line, start + 2 * i + 1);
  return bytes;
}

function digit(line: Buffer, at: number): number {
  const code = line[at] ?? 0;
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57;
}
