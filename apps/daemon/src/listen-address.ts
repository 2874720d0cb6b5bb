import { InvalidArgumentError } from 'commander';

/** A Unix socket's path, or a TCP address. */
export type ListenAddress = { unix: string } | { host: string; port: number };

/** Parses `unix:PATH` or `tcp:[HOST:]PORT`; throws an `InvalidArgumentError` otherwise. The default host is 127.0.0.1. */
export function parseAddress(text: string): ListenAddress {
  if (text.startsWith('unix:') && text.length > 5) return { unix: text.slice(5) };
  const tcp = /^tcp:(?:(\[[0-9a-fA-F:]+\]|[^:]+):)?(\d+)$/.exec(text);
  if (tcp === null) throw new InvalidArgumentError('must be unix:PATH or tcp:HOST:PORT.');
  return { host: (tcp[1] ?? '127.0.0.1').replace(/^\[|\]$/g, ''), port: parsePort(tcp[2] ?? '') };
}

/** Parses a port number; 0 stands for any free port. */
export function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port > 65_535) throw new InvalidArgumentError('a port is a number from 0 to 65535.');
  return port;
}
