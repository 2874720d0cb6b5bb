import { Command, CommandFlag, NbdErrno } from '../wire/constants.js';
import type { Negotiated } from '../handshake/negotiated.js';
import { ReplyStyle } from '../handshake/negotiated.js';
import type { NbdRequest } from '../commands/request.js';

/** Largest read and write that is served, in bytes: twice what is advertised, as other servers do. */
export const maxTransferBytes = 64 * 1024 * 1024;

/** What a request is checked against. */
export interface Rules {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly canTrim: boolean;
  /** Whether zeroes can be written faster than data. */
  readonly hasFastZero: boolean;
  readonly blockSize: number;
}

/** The error that the specification names for what is wrong with a request; 0 if nothing is. `Disc` is not for here. */
export function requestErrno(request: NbdRequest, rules: Rules, negotiated: Negotiated): number {
  const { command, flags, offset, lengthBytes } = request;
  if (isUnknown(command, rules, negotiated)) return NbdErrno.Inval;
  if (isWriting(command) && rules.isReadOnly) return NbdErrno.Perm;
  if ((flags & ~allowedFlags(command, negotiated)) !== 0) return NbdErrno.Inval;
  if (command === Command.Flush) return offset === 0 && lengthBytes === 0 ? NbdErrno.Ok : NbdErrno.Inval;
  if (lengthBytes === 0) return NbdErrno.Inval;
  const isTransfer = command === Command.Read || command === Command.Write;
  if (isTransfer && lengthBytes > maxTransferBytes) {
    return (flags & CommandFlag.Df) !== 0 ? NbdErrno.Overflow : NbdErrno.Inval;
  }
  // A sum above 2^53 is not exact, but above every size all the same.
  if (offset + lengthBytes > rules.sizeBytes) {
    return command === Command.Write || command === Command.WriteZeroes ? NbdErrno.NoSpace : NbdErrno.Inval;
  }
  if (command === Command.WriteZeroes && (flags & CommandFlag.FastZero) !== 0 && !isFastZero(request, rules)) {
    return NbdErrno.NotSup;
  }
  return NbdErrno.Ok;
}

function isUnknown(command: number, rules: Rules, negotiated: Negotiated): boolean {
  if (command > Command.BlockStatus || command === Command.Disc) return true;
  if (command === Command.Trim) return !rules.canTrim && !rules.isReadOnly;
  return command === Command.BlockStatus && negotiated.allocationExport === null;
}

function isWriting(command: number): boolean {
  return command === Command.Write || command === Command.Trim || command === Command.WriteZeroes;
}

/** Forced unit access is allowed with everything. */
function allowedFlags(command: number, negotiated: Negotiated): number {
  switch (command) {
    case Command.Read:
      return negotiated.replyStyle === ReplyStyle.Simple ? CommandFlag.Fua : CommandFlag.Fua | CommandFlag.Df;
    case Command.Write:
      return negotiated.replyStyle === ReplyStyle.Extended ? CommandFlag.Fua | CommandFlag.PayloadLen : CommandFlag.Fua;
    case Command.WriteZeroes:
      return CommandFlag.Fua | CommandFlag.NoHole | CommandFlag.FastZero;
    case Command.BlockStatus:
      return CommandFlag.Fua | CommandFlag.ReqOne;
    default:
      return CommandFlag.Fua;
  }
}

/** Read-modify-write of an edge is no faster than a write, so there must be at least one whole block. */
function isFastZero({ offset, end }: NbdRequest, { hasFastZero, blockSize }: Rules): boolean {
  return hasFastZero && Math.floor(end / blockSize) > Math.ceil(offset / blockSize);
}
