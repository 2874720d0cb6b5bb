import { methods as clientMethods } from '@raidkit/client';
import { z } from 'zod';
import { packageVersion } from '../version.js';
import type { RpcMethod } from './dispatcher.js';

type Schema = z.core.JSONSchema.BaseSchema;

interface Content {
  name: string;
  required?: boolean;
  schema: Schema;
}

/** A method, as OpenRPC has it. */
interface MethodObject {
  name: string;
  paramStructure: 'by-name';
  params: Content[];
  result: Content;
  /** Another name that old clients use. */
  'x-alias'?: string;
  /** Before the daemon is up, after that, or both. */
  'x-states': readonly string[];
}

/** What `rpc.discover` answers: every method, with the schemas that calls are checked with. */
export interface OpenRpcDocument {
  openrpc: '1.3.2';
  info: { title: string; description: string; version: string; license: { name: string } };
  methods: MethodObject[];
}

const description =
  'The control socket of raidkitd. Results are described as far as clients can rely on them: further fields may be there. Errors have a reason in data.reason, and the parameter that it is about in data.field.';

/** The document of these methods. */
export function openRpcDocument(methods: readonly RpcMethod[]): OpenRpcDocument {
  return {
    openrpc: '1.3.2',
    info: { title: 'raidkitd', description, version: packageVersion(), license: { name: 'MIT' } },
    methods: methods.map(describe),
  };
}

/** The document with further methods, of the layers in front of the one that made it. */
export function withMethods(document: OpenRpcDocument, methods: readonly RpcMethod[]): OpenRpcDocument {
  return { ...document, methods: [...document.methods, ...methods.map(describe)] };
}

/** Schemas take long to make, and it may be the data path's thread that makes them: once. */
const described = new WeakMap<RpcMethod, MethodObject>();

function describe(method: RpcMethod): MethodObject {
  const before = described.get(method);
  if (before !== undefined) return before;
  const made = makeObject(method);
  described.set(method, made);
  return made;
}

function makeObject({ alias, name, params, states = ['runtime'] }: RpcMethod): MethodObject {
  return {
    name,
    paramStructure: 'by-name',
    params: params === null ? [] : describeParams(params),
    result: { name: 'result', schema: describeResult(name) },
    ...(alias === undefined ? {} : { 'x-alias': alias }),
    'x-states': states,
  };
}

function describeParams(params: z.ZodType): Content[] {
  const { properties = {}, required = [] } = toSchema(params);
  return Object.entries(properties)
    .map(([name, schema]): Content => {
      const content = typeof schema === 'boolean' ? {} : schema;
      return { name, ...(required.includes(name) ? { required: true } : {}), schema: content };
    })
    .sort((a, b) => Number(b.required ?? false) - Number(a.required ?? false));
}

/** Describes what the client's package knows; whatever else is answered is described in docs/rpc.md. */
function describeResult(name: string): Schema {
  const known: Readonly<Record<string, { result: z.ZodType }>> = clientMethods;
  const method = Object.hasOwn(known, name) ? known[name] : undefined;
  return method === undefined ? {} : toSchema(method.result);
}

/** What a client sends or reads; what is checked besides (valid Unicode, say) is not in it. */
function toSchema(type: z.ZodType): Schema {
  const schema = z.toJSONSchema(type, { io: 'input', unrepresentable: 'any', target: 'draft-7' });
  delete schema.$schema;
  return schema;
}
