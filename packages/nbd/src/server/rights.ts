import { NbdError } from '../errors.js';
import type { TlsIdentity } from '../tls/identity.js';
import type { NbdAddress } from '../transport/listen.js';

/** Who a client is, as far as exports are concerned. Plain data. */
export interface ClientIdentity extends TlsIdentity {
  /** By which it came in, as {@link listenerName} has it. */
  readonly listener: string;
}

/** Clients that may use an export: all of whom everything is true that is given. */
export interface ClientRule {
  /** `unix:PATH` or `tcp:HOST:PORT`, with the port that there is. */
  readonly listener?: string;
  /** They have proved to have this user's key. */
  readonly tlsUser?: string;
  /** They have proved to have a certificate of this subject, from the most general part on: `O=example,CN=client`. */
  readonly certificate?: string;
  /** They may not write. Default false. */
  readonly readOnly?: boolean;
}

/** What a client may do with an export. */
export type Access = 'none' | 'read' | 'write';

const mostRules = 1000;

export function listenerName(address: NbdAddress): string {
  return 'unix' in address ? `unix:${address.unix}` : `tcp:${address.host}:${address.port}`;
}

/** The most that one of the rules allows; everything if there are none. */
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

/** Throws for rules that say nothing. */
export function checkRules(rules: readonly ClientRule[]): void {
  if (rules.length < 1 || rules.length > mostRules) {
    throw new NbdError(
      'ERR_NBD_INVALID',
      22,
      `an NBD export has 1 to ${mostRules} rules of who may use it, not ${rules.length}`,
    );
  }
  for (const [index, { listener, tlsUser, certificate }] of rules.entries()) {
    if (listener !== undefined || tlsUser !== undefined || certificate !== undefined) continue;
    const message = `rule ${index} of who may use the NBD export names no listener, TLS user or certificate: leave the rules out to let all clients use it`;
    throw new NbdError('ERR_NBD_INVALID', 22, message);
  }
}
