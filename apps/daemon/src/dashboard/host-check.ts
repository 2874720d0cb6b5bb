import { isIP } from 'node:net';

/**
 * Whether a browser that sends this `Host` used the daemon's address, and not a name that an attacker made point here (DNS
 * rebinding). Accepted are numeric addresses, `localhost`, and names given on the command line.
 *
 * @param host the header, with or without a port; undefined if there is none
 *
 * @param names in lower case
 */
export function isOwnHost(host: string | undefined, names: ReadonlySet<string>): boolean {
  if (host === undefined) return false;
  const url = URL.canParse(`http://${host}`) ? new URL(`http://${host}`) : null;
  // A header with a path, a user or the like is not valid.
  if (url?.href !== `http://${url?.host ?? ''}/`) return false;
  const name = url.hostname.toLowerCase().replace(/^\[|\]$/g, '');
  return isIP(name) !== 0 || name === 'localhost' || name.endsWith('.localhost') || names.has(name);
}

/**
 * Whether a request that changes something comes from a page of this server or from no page. Browsers send headers about this;
 * other programs do not.
 */
export function isOwnOrigin(headers: NodeJS.Dict<string | string[]>): boolean {
  const { host, origin, 'sec-fetch-site': site } = headers;
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return false;
  if (origin === undefined) return true;
  if (typeof origin !== 'string' || typeof host !== 'string' || !URL.canParse(origin)) return false;
  return new URL(origin).host === host.toLowerCase();
}
