import { Status } from '@raidkit/bdev';
import { NbdError } from '../errors.js';
import type { ClientIdentity } from '../handshake/identity.js';
import type { NbdAddress } from '../transport/listen.js';

/** Allows clients to use an export. A rule applies to a client that meets all of the conditions given. */
export interface ClientRule {
  /** The client connected to this listener: `unix:PATH` or `tcp:HOST:PORT`, with the port that the listener really has. */
  readonly listener?: string;
  /** The client has proved that it has this user's key. */
  readonly tlsUser?: string;
  /** The client has proved that it has a certificate with this subject, the most general part first: `O=example,CN=client`. */
  readonly certificate?: string;
  /** The client may not write, unless another rule allows it. Default false. */
  readonly readOnly?: boolean;
}

/** What a client may do with an export. */
export type Access = 'none' | 'read' | 'write';

const mostRules = 1000;

/** Returns the name of a listener in rules: `unix:PATH` or `tcp:HOST:PORT`. */
export function listenerName(address: NbdAddress): string {
  return 'unix' in address ? `unix:${address.unix}` : `tcp:${address.host}:${address.port}`;
}

/** Returns the highest access that any of the rules grants; `write` if `rules` is null. */
export function accessOf(rules: readonly ClientRule[] | null, client: ClientIdentity): Access {
  if (rules === null) return 'write';
  let access: Access = 'none';
  for (const rule of rules) {
    if (!matches(rule, client)) continue;
    if (rule.readOnly !== true) return 'write';
    access = 'read';
  }
  return access;
}

function matches({ listener, tlsUser, certificate }: ClientRule, client: ClientIdentity): boolean {
  if (listener !== undefined && listener !== client.listener) return false;
  if (tlsUser !== undefined && tlsUser !== client.tlsUser) return false;
  return certificate === undefined || certificate === client.certificate;
}

/** Throws an `NbdError` if there are too many or no rules, or if a rule has no condition. */
export function checkRules(rules: readonly ClientRule[]): void {
  if (rules.length < 1 || rules.length > mostRules) {
    throw new NbdError(
      'ERR_NBD_INVALID',
      Status.Invalid,
      `an NBD export has 1 to ${mostRules} access rules, not ${rules.length}`,
    );
  }
  for (const [index, { listener, tlsUser, certificate }] of rules.entries()) {
    if (listener !== undefined || tlsUser !== undefined || certificate !== undefined) continue;
    const message = `rule ${index} of access to the NBD export names no listener, TLS user or certificate: omit the rules to let all clients use it`;
    throw new NbdError('ERR_NBD_INVALID', Status.Invalid, message);
  }
}
