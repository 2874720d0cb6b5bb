import { z } from 'zod';
import type { Caller } from '../rpc/dispatcher.js';
import { RpcError, toRpcError } from '../rpc/errors.js';

/**
 * Methods that a client with the token may call over HTTP: those whose effect can be undone, and those that make redundancy
 * consistent again. None of them ends an array, removes a member or decides which copy is lost. None writes to an unclaimed
 * device, except to make it a spare, which core refuses if the device carries data that it recognizes.
 */
export const httpActions = [
  'raidkit_start_process',
  'raidkit_control_process',
  'raidkit_add_spare',
  'raidkit_remove_spare',
  'raidkit_send_test_event',
] as const;

const requestSchema = z.strictObject({
  method: z.enum(httpActions),
  params: z.record(z.string(), z.json()).optional(),
});

/** Parameters that decide whose data is lost where members disagree. */
const decisive = ['source', 'wrong'] as const;

/** The answer to an action. */
export interface ActionAnswer {
  /** HTTP status code. */
  status: number;
  body: { result: unknown } | { error: { code: number; message: string; data: object } };
}

/** Carries out the action in a request's body, if it is allowed. */
export async function act(caller: Caller, body: string): Promise<ActionAnswer> {
  const request = requestSchema.safeParse(parse(body));
  if (!request.success) {
    const allowed = `{"method", "params"} with one of the methods ${httpActions.join(', ')}`;
    const error = new RpcError(-32_600, 'Invalid request', { reason: `the body must be ${allowed}`, allowed });
    return { status: 400, body: refusal(error) };
  }
  const { method, params } = request.data;
  const field = decisive.find((name) => params !== undefined && Object.hasOwn(params, name));
  if (field !== undefined) {
    const reason = `${field} decides whose data is discarded where members disagree: use raidctl, not HTTP`;
    return { status: 400, body: refusal(new RpcError(-32_602, 'Invalid parameters', { reason, field })) };
  }
  try {
    return { status: 200, body: { result: await caller.call(method, params) } };
  } catch (error) {
    return { status: 409, body: refusal(toRpcError(error)) };
  }
}

function refusal({ code, data, message }: RpcError): { error: { code: number; message: string; data: object } } {
  return { error: { code, message, data } };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
