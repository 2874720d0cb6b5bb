import { Command, CommandFlag, NbdErrno } from '../wire/constants.js';
import type { Negotiated } from '../handshake/negotiated.js';
import { ReplyStyle } from '../handshake/negotiated.js';
import type { NbdRequest } from '../commands/request.js';

/** Longest read and write that is served, in bytes. It is twice what is advertised, as in other servers. */
export const maxTransferBytes = 64 * 1024 * 1024;

/** Properties of an export that requests are checked against. */
export interface Rules {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly canTrim: boolean;
  /** Whether the device writes zeroes faster than data. */
  readonly hasFastZero: boolean;
  readonly blockSize: number;
}

/**
 * Returns the error that the specification requires for an invalid request; 0 if the request is valid. `Disc` counts as unknown
 * here, since the caller handles it.
 */
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
  // The sum is not exact above 2^53, but it then exceeds every size anyway.
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

/** The specification allows NBD_CMD_FLAG_FUA on every command. */
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

/**
 * An edge inside a block takes a read-modify-write, which is no faster than a write, so there must be at least one whole block.
 */
function isFastZero({ offset, end }: NbdRequest, { hasFastZero, blockSize }: Rules): boolean {
  return hasFastZero && Math.floor(end / blockSize) > Math.ceil(offset / blockSize);
}
