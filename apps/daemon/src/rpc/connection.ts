import type { Socket } from 'node:net';
import type { Logger } from '@raidkit/bdev';
import type { LogLimit } from '@raidkit/nbd';
import { z } from 'zod';
import type { Caller } from './dispatcher.js';
import { RpcCode, RpcError, errnoRefusal, toRpcError } from './errors.js';
import { JsonStream } from './json-stream.js';
import type { StreamItem } from './json-stream.js';

/** Size limit of a request, in bytes (SPDK: 256 KiB). */
const maxRequestBytes = 1024 * 1024;
/** Number of calls or batches of one client that may run at a time; others wait. */
const maxInFlight = 128;
/** Bytes of unread answers above which no further call of this client is started (SPDK: 32 MiB). */
const maxUnreadBytes = 32 * 1024 * 1024;

/** Number of characters of a client's input that are logged in one line. */
const mostLoggedCharacters = 500;

/** Largest number of calls in a batch. */
const mostInBatch = 4096;

const batchIsFull = `the answers to batches exceed ${maxUnreadBytes / 1024 / 1024} MiB: it was not carried out; send fewer calls at once`;

type Id = string | number | null;

const requestSchema = z.strictObject({
  jsonrpc: z.literal('2.0').optional(),
  method: z.string(),
  params: z.union([z.record(z.string(), z.unknown()), z.array(z.unknown()), z.null()]).optional(),
  id: z.union([z.string(), z.number(), z.null()]).optional(),
});

/**
 * Serves one client until either side closes. Answers are sent as calls end, each with its id and on its own line.
 *
 * @param fewMessages limits log messages that clients cause, for all clients of a listener
 */
export function serveConnection(socket: Socket, caller: Caller, log: Logger, fewMessages: LogLimit): void {
  const stream = new JsonStream(maxRequestBytes);
  let inFlight = 0;
  /** Characters of answers to batches that are still incomplete. */
  let batchedLength = 0;
  /** The client sent invalid JSON: it gets the answers to what it sent before, and nothing else. */
  let isBroken = false;

  const send = (text: string): void => {
    if (socket.writable) socket.write(`${text}\n`);
  };
  const endIfIdle = (): void => {
    if (inFlight === 0) socket.destroySoon();
  };

  /** Carries out one request and returns the answer as JSON; null if there is none. `isFull`: refuses it instead. */
  const answer = async (value: unknown, hasDuplicateKey: boolean, isFull = false): Promise<string | null> => {
    const request = requestSchema.safeParse(value);
    if (!request.success) return failure(null, new RpcError(RpcCode.InvalidRequest, 'Invalid request'));
    const { method, params, id = null } = request.data;
    try {
      if (isFull) throw errnoRefusal(12, batchIsFull);
      const result = await caller.call(method, params, hasDuplicateKey);
      // A notification that succeeded has no answer.
      return id === null ? null : JSON.stringify({ jsonrpc: '2.0', id, result });
    } catch (error) {
      const { code, data } = toRpcError(error);
      fewMessages.log('info', { method: brief(method), code, field: data.field }, `a call is refused: ${brief(data.reason)}`);
      return failure(id, error);
    }
  };

  const handle = async ({ value, duplicateKey }: StreamItem & { ok: true }): Promise<void> => {
    const hasDuplicateKey = duplicateKey !== null;
    if (!Array.isArray(value) || value.length === 0) {
      const one = await answer(value, hasDuplicateKey);
      if (one !== null) send(one);
      return;
    }
    if (value.length > mostInBatch) {
      const reason = `a batch has at most ${mostInBatch} calls: none of these was carried out`;
      send(failure(null, new RpcError(RpcCode.InvalidRequest, 'Invalid request', { reason })));
      return;
    }
    // Runs calls one after another, because later calls of a batch depend on earlier ones.
    const answers: string[] = [];
    let length = 0;
    for (const request of value as unknown[]) {
      // Answers are counted because a request of 30 bytes may have an answer of a million.
      const one = await answer(request, hasDuplicateKey, batchedLength > maxUnreadBytes);
      if (one === null) continue;
      answers.push(one);
      length += one.length;
      batchedLength += one.length;
    }
    batchedLength -= length;
    if (answers.length > 0) send(`[${answers.join(',')}]`);
  };

  /** Starts received calls while limits allow; the rest waits, and the socket is paused. */
  const work = (): void => {
    while (!isBroken && inFlight < maxInFlight && socket.writableLength < maxUnreadBytes) {
      const item = stream.next();
      if (item === null) {
        socket.resume();
        return;
      }
      if (!item.ok) {
        fewMessages.log('warn', {}, `an RPC client sent invalid JSON: ${brief(item.message)}; its connection is closed`);
        isBroken = true;
        break;
      }
      inFlight++;
      void handle(item).finally(() => {
        inFlight--;
        work();
      });
    }
    if (isBroken) endIfIdle();
    else socket.pause();
  };

  socket.on('data', (piece: Buffer) => {
    stream.push(piece);
    work();
  });
  socket.on('drain', work);
  socket.on('error', (error) => log.debug({ err: error }, 'an RPC connection failed'));
}

/** Shortens a text for the log: a name, or a message that quotes it, may have a million characters. */
function brief(text: string): string {
  return text.length > mostLoggedCharacters ? `${text.slice(0, mostLoggedCharacters)}…` : text;
}

function failure(id: Id, error: unknown): string {
  const { code, message, data } = toRpcError(error);
  return JSON.stringify({ jsonrpc: '2.0', id, error: { code, message, data } });
}
