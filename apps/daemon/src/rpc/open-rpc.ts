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

/** A method in OpenRPC's form. */
interface MethodObject {
  name: string;
  paramStructure: 'by-name';
  params: Content[];
  result: Content;
  /** Another name that old clients use. */
  'x-alias'?: string;
  /** States of the daemon in which it can be called. */
  'x-states': readonly string[];
}

/** Answer of `rpc.discover`: every method, with the schemas that check calls. */
export interface OpenRpcDocument {
  openrpc: '1.3.2';
  info: { title: string; description: string; version: string; license: { name: string } };
  methods: MethodObject[];
}

const description =
  'The control socket of raidkitd. Results are described as far as clients can rely on them: they may have further fields. Errors have a reason in data.reason, and the parameter that it is about in data.field.';

/** Makes the document of these methods. */
export function openRpcDocument(methods: readonly RpcMethod[]): OpenRpcDocument {
  return {
    openrpc: '1.3.2',
    info: { title: 'raidkitd', description, version: packageVersion(), license: { name: 'MIT' } },
    methods: methods.map(describe),
  };
}

/** Adds methods of the layers in front of the one that made the document. */
export function withMethods(document: OpenRpcDocument, methods: readonly RpcMethod[]): OpenRpcDocument {
  return { ...document, methods: [...document.methods, ...methods.map(describe)] };
}

/** Descriptions are made once, because that takes long and may happen on the data path's thread. */
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

/** Describes an answer if the client package has a schema for it; docs/rpc.md describes the others. */
function describeResult(name: string): Schema {
  const known: Readonly<Record<string, { result: z.ZodType }>> = clientMethods;
  const method = Object.hasOwn(known, name) ? known[name] : undefined;
  return method === undefined ? {} : toSchema(method.result);
}

/** Makes a JSON Schema of what a client sends or reads, without checks that it cannot express (such as valid Unicode). */
function toSchema(type: z.ZodType): Schema {
  const schema = z.toJSONSchema(type, { io: 'input', unrepresentable: 'any', target: 'draft-7' });
  delete schema.$schema;
  return schema;
}
