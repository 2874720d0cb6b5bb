import { RaidkitClient, defaultSocketPath } from '@raidkit/client';
import type { DaemonAddress } from '@raidkit/client';
import type { Document } from './documents.js';
import { Terminal } from './terminal.js';
import type { Streams } from './terminal.js';

/** Options that every command has. */
export interface CommonOptions {
  /** Path or HOST:PORT of the control socket; undefined for the default path. */
  socket?: string;
  json?: boolean;
  /** Seconds to wait for an answer; 0 for no limit. */
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

  /** Returns the connection to the daemon, which is made at the first call. */
  client(): Promise<RaidkitClient> {
    this.#client ??= RaidkitClient.connect(this.address, { timeoutMs: this.#options.timeout * 1000 });
    return this.#client;
  }

  /** Address of the daemon. */
  get address(): DaemonAddress {
    return parseAddress(this.#options.socket);
  }

  /** Whether the daemon is on another machine, so that paths are not of this one. */
  get isRemote(): boolean {
    const { address } = this;
    return 'host' in address && !/^(localhost|127\..*|::1)$/.test(address.host);
  }

  /** Prints a result: the document for programs or the text for people. */
  print(document: Document, text: string): void {
    this.terminal.write(this.isJson ? `${JSON.stringify(document)}\n` : text);
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => null);
    client?.close();
  }
}

/** Parses an address: HOST:PORT if it looks like one, else a path. */
export function parseAddress(text: string | undefined): DaemonAddress {
  if (text === undefined) return { path: defaultSocketPath() };
  const tcp = /^(\[[0-9a-fA-F:]+\]|[^/:]+):(\d+)$/.exec(text);
  if (tcp === null) return { path: text };
  return { host: (tcp[1] ?? '').replace(/^\[|\]$/g, ''), port: Number(tcp[2]) };
}
