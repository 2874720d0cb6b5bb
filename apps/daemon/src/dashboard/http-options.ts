import { isIP } from 'node:net';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { parseAddress } from '../listen-address.js';
import { isLoopback } from '../loopback.js';
import type { HttpAddress } from '../monitor/http-server.js';
import { HttpToken, readHttpToken } from './token.js';

/** Options parsed by {@link addHttpOptions}. */
export interface ParsedHttpOptions {
  http: HttpAddress[];
  httpPublic: boolean;
  httpName: string[];
  httpTokenFile?: string;
}

/** Options for HTTP: addresses and access. */
export interface HttpOptions {
  http: HttpAddress[];
  /** The token that an HTTP request needs to change something; undefined: no request can. */
  httpToken: HttpToken | undefined;
  /** Path of the file with the token. */
  httpTokenFile: string | undefined;
  /** Names under which browsers may know the daemon. */
  httpNames: string[];
}

/** Adds the command line's options for HTTP. */
export function addHttpOptions(command: Command): void {
  command
    .option(
      '--http <address>',
      'serve the dashboard, /metrics, /healthz and /readyz at unix:PATH or [tcp:]HOST:PORT; repeatable',
      (text, before: HttpAddress[]) => [...before, parseHttp(text)],
      [],
    )
    .option('--http-public', 'allow --http on addresses that other machines can reach: all of them can read it', false)
    .option(
      '--http-name <name>',
      'a host name under which browsers may open the dashboard, besides addresses and localhost; repeatable',
      (text, before: string[]) => [...before, parseName(text)],
      [],
    )
    .option(
      '--http-token-file <file>',
      'let clients that send the token in this file start and stop checks, and add and remove spares, over HTTP',
    );
}

/** Reads the token. Ends the process, as commander does, if the options contradict each other. */
export function httpOptions(command: Command, options: ParsedHttpOptions): HttpOptions {
  const { http, httpName: httpNames, httpPublic, httpTokenFile: tokenFile } = options;
  if (http.length === 0 && (tokenFile !== undefined || httpNames.length > 0))
    command.error('error: --http-token-file and --http-name need --http');
  const reachable = http.find((address) => 'host' in address && !isLoopback(address.host));
  if (reachable !== undefined && 'host' in reachable && !httpPublic)
    command.error(
      `error: --http ${reachable.host}:${reachable.port} can be reached from other machines, without authentication: name a loopback address, or add --http-public`,
    );
  const httpToken = tokenFile === undefined ? undefined : readToken(command, tokenFile);
  return { http, httpNames, httpToken, httpTokenFile: tokenFile };
}

function readToken(command: Command, path: string): HttpToken {
  try {
    return new HttpToken(readHttpToken(path));
  } catch (error) {
    return command.error(`error: --http-token-file: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function parseHttp(text: string): HttpAddress {
  return parseAddress(text.startsWith('unix:') || text.startsWith('tcp:') ? text : `tcp:${text}`);
}

function parseName(text: string): string {
  if (isIP(text) !== 0 || !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(text))
    throw new InvalidArgumentError('must be a host name, without a port.');
  return text.toLowerCase();
}
