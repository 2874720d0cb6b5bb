import { RaidkitClient, defaultSocketPath } from '@raidkit/client';
import type { DaemonAddress } from '@raidkit/client';
import type { Document } from './documents.js';
import { Terminal } from './terminal.js';
import type { Streams } from './terminal.js';

/** Options that every command has. */
export interface CommonOptions {
  /** Path, or HOST:PORT; undefined: where a daemon listens that was not told where. */
  socket?: string;
  json?: boolean;
  /** Seconds that the daemon has for an answer; 0 for as long as it takes. */
  timeout: number;
}

/** One run of raidctl: the daemon that it talks to, and where it prints. */
export class Session {
  readonly terminal: Terminal;
  readonly isJson: boolean;
  readonly #options: CommonOptions;
  #client: Promise<RaidkitClient> | null = null;

  constructor(streams: Streams, options: CommonOptions) {
    this.terminal = new Terminal(streams);
    this.isJson = options.json === true;
    this.#options = options;
  }

  /** The connection, made when it is first asked for. */
  client(): Promise<RaidkitClient> {
    this.#client ??= RaidkitClient.connect(this.address, { timeoutMs: this.#options.timeout * 1000 });
    return this.#client;
  }

  /** Where the daemon is looked for. */
  get address(): DaemonAddress {
    return parseAddress(this.#options.socket);
  }

  /** The daemon is on another machine: paths are those of that one. */
  get isRemote(): boolean {
    const { address } = this;
    return 'host' in address && !/^(localhost|127\..*|::1)$/.test(address.host);
  }

  /** Prints what was found: the document for programs, the text for people. */
  print(document: Document, text: string): void {
    this.terminal.write(this.isJson ? `${JSON.stringify(document)}\n` : text);
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => null);
    client?.close();
  }
}

/** A path, unless it looks like HOST:PORT. */
export function parseAddress(text: string | undefined): DaemonAddress {
  if (text === undefined) return { path: defaultSocketPath() };
  const tcp = /^(\[[0-9a-fA-F:]+\]|[^/:]+):(\d+)$/.exec(text);
  if (tcp === null) return { path: text };
  return { host: (tcp[1] ?? '').replace(/^\[|\]$/g, ''), port: Number(tcp[2]) };
}
