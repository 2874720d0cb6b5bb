import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import metaSchema from '@open-rpc/meta-schema';
import { methods as clientMethods, openRpcSchema } from '@raidkit/client';
import { Ajv } from 'ajv';
import { compile } from 'json-schema-to-typescript';
import type { JSONSchema } from 'json-schema-to-typescript';
import { pino } from 'pino';
import { format, resolveConfig } from 'prettier';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { defaultLevelPackages, startDaemon } from '../src/index.js';
import type { Daemon } from '../src/index.js';
import type { OpenRpcDocument } from '../src/rpc/open-rpc.js';
import { readOnlyMethods } from '../src/rpc/read-only.js';
import { RpcClient } from './support/rpc-client.js';

/*
 * What rpc.discover says, and what is made from it: the reference, and the types of the client package. With RAIDKIT_WRITE_DOCS=1
 * these are written anew.
 */

const reference = new URL('../../../docs/rpc-methods.md', import.meta.url);
const clientParams = new URL('../../../packages/client/src/params.ts', import.meta.url);
const explanations = new URL('../../../docs/rpc.md', import.meta.url);

let folder: string;
let daemon: Daemon;
let document: OpenRpcDocument;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  daemon = await startDaemon({
    rpc: [],
    readOnlyRpc: [join(folder, 'read.sock')],
    nbd: [],
    levels: defaultLevelPackages,
    conditions: ['@raidkit/source'],
    memoryBytes: 64 << 20,
    log: pino({ level: 'silent' }),
  });
  document = (await daemon.caller.call('rpc.discover', undefined)) as OpenRpcDocument;
});

afterAll(async () => {
  await daemon.stop();
  rmSync(folder, { recursive: true });
});

it('is a document as OpenRPC wants it', () => {
  const ajv = new Ajv({ strict: false, validateFormats: false, validateSchema: false });
  // OpenRPC uses the draft 7 meta-schema here, which comes with Ajv.
  const reference = { definitions: { JSONSchemaObject: { properties: { $ref: { type: 'string' } } } } };
  for (const $id of ['https://meta.json-schema.tools', 'https://meta.json-schema.tools/'])
    ajv.addSchema({ $ref: 'http://json-schema.org/draft-07/schema#', ...reference }, $id);
  const validate = ajv.compile(metaSchema);
  expect(validate(document) ? [] : validate.errors).toEqual([]);
  openRpcSchema.parse(document);
  // The schema of schemas does not follow references: there are none that could lead nowhere.
  expect(JSON.stringify(document)).not.toContain('"$ref"');
  // This proves that schemas are checked.
  const [method] = document.methods;
  const wrong = { ...method, result: { name: 'result', schema: { type: 'nonsense' } } };
  expect(validate({ ...document, methods: [wrong] })).toBe(false);
});

it('is made once', async () => {
  const again = (await daemon.caller.call('rpc.discover', undefined)) as OpenRpcDocument;
  expect(again.methods.every((method, index) => method === document.methods[index])).toBe(true);
});

it('has every method, and every parameter with the schema that it is checked with', async () => {
  const names = (await daemon.caller.call('rpc_get_methods', undefined)) as string[];
  expect(document.methods.map(({ name }) => name).sort()).toEqual([...names].sort());
  const create = document.methods.find(({ name }) => name === 'bdev_raid_create')!;
  expect(create.params.filter(({ required }) => required).map(({ name }) => name)).toEqual([
    'name',
    'raid_level',
    'base_bdevs',
  ]);
  expect(create.params.find(({ name }) => name === 'strip_size_kb')?.schema).toMatchObject({ type: 'integer', minimum: 0 });
  // What the daemon refuses as unknown is not in it, and what is in it is not refused as unknown.
  for (const { name, params } of document.methods) {
    const answer = daemon.caller.call(name, { 'no such parameter': 1 });
    const { message, data } = await answer.then(
      () => expect.fail(`${name} takes any parameter`),
      (error: unknown) => error as { message: string; data: { allowed?: string } },
    );
    if (data.allowed !== undefined && JSON.stringify(data).includes('no such parameter'))
      expect({ name, allowed: data.allowed.split(', ').sort() }).toEqual({
        name,
        allowed: params.map((one) => one.name).sort(),
      });
    else if (params.length === 0) expect(message).toMatch(/requires no parameters|Invalid parameters|no such|Method may only/);
  }
});

it('describes the answers that the client package knows', () => {
  for (const name of Object.keys(clientMethods)) {
    const result = document.methods.find((method) => method.name === name)?.result.schema;
    expect({ name, isDescribed: result !== undefined && Object.keys(result).length > 0 }).toEqual({ name, isDescribed: true });
  }
});

it('has on a control socket for reading what is answered there', async () => {
  const reader = await RpcClient.connect(join(folder, 'read.sock'));
  const { methods } = (await reader.call('rpc.discover')) as OpenRpcDocument;
  reader.close();
  expect(methods.map(({ name }) => name).sort()).toEqual([...readOnlyMethods].sort());
});

it('docs/rpc-methods.md is what it says', () => {
  const page = makeReference(document);
  if (process.env.RAIDKIT_WRITE_DOCS === '1') writeFileSync(reference, page);
  expect(readFileSync(reference, 'utf8')).toBe(page);
});

it('is what the types of parameters in the client package are made from', async () => {
  const types = await makeParams(document);
  if (process.env.RAIDKIT_WRITE_DOCS === '1') writeFileSync(clientParams, types);
  expect(readFileSync(clientParams, 'utf8')).toBe(types);
  const known = new Set(document.methods.map(({ name }) => name));
  expect(Object.keys(clientMethods).filter((name) => !known.has(name))).toEqual([]);
});

it('docs/rpc.md explains every method, and every parameter of our own', () => {
  const text = readFileSync(explanations, 'utf8');
  /** The endings of names that a row abbreviates, after one complete name. */
  const endings = [...text.matchAll(/`(_[a-z_]+)`/g)].map(([, ending = '']) => ending);
  const isOurs = (name: string): boolean => name.startsWith('raidkit_') || name.startsWith('rpc.');
  const missing = document.methods.flatMap(({ name, params }) => {
    const row = text.split('\n').find((line) => line.startsWith('|') && line.includes(`\`${name}\``));
    if (row === undefined) return isOurs(name) || !endings.some((ending) => name.endsWith(ending)) ? [name] : [];
    if (!isOurs(name)) return [];
    return params.filter((one) => !row.includes(`\`${one.name}\``)).map((one) => `${name}: ${one.name}`);
  });
  expect(missing).toEqual([]);
});

const paramsBanner = `/* Made from what rpc.discover answers (apps/daemon/test/open-rpc.test.ts). */
/* eslint-disable @typescript-eslint/consistent-indexed-object-style -- as they are made */

/** What methods take, by the method's name; those that are not here take nothing. */`;

/** The types of all parameters, as a source file. */
async function makeParams({ methods }: OpenRpcDocument): Promise<string> {
  const properties: Record<string, JSONSchema> = {};
  for (const { name, params } of methods.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (params.length === 0) continue;
    properties[name] = {
      type: 'object',
      properties: Object.fromEntries(params.map((param) => [param.name, param.schema])),
      required: params.filter(({ required }) => required).map((param) => param.name),
    } as JSONSchema;
  }
  const schema: JSONSchema = { type: 'object', properties, required: Object.keys(properties) };
  const text = await compile(schema, 'MethodParams', {
    additionalProperties: false,
    bannerComment: paramsBanner,
    format: false,
    ignoreMinAndMaxItems: true,
  });
  return format(text, { ...(await resolveConfig(clientParams)), parser: 'typescript' });
}

/** Every method with its parameters, for people. */
function makeReference({ methods }: OpenRpcDocument): string {
  const parts = [
    '# Methods of the control socket',
    'Made from what `rpc.discover` answers, an [OpenRPC](https://open-rpc.org) document with the schemas that calls are checked with; a test holds the two equal. [rpc.md](rpc.md) explains them.',
  ];
  for (const { name, params, 'x-alias': alias } of methods.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    parts.push(`## \`${name}\``);
    if (alias !== undefined) parts.push(`Also called \`${alias}\`.`);
    if (params.length === 0) {
      parts.push('No parameters.');
      continue;
    }
    const rows = params.map(({ name: param, required = false, schema }) => {
      return `| \`${param}\` | ${typeOf(schema)} | ${required ? 'required' : ''} |`;
    });
    parts.push(['| parameter | type | |', '|---|---|---|', ...rows].join('\n'));
  }
  return `${parts.join('\n\n')}\n`;
}

interface TypeSchema {
  type?: unknown;
  enum?: unknown[];
  const?: unknown;
  items?: unknown;
  anyOf?: unknown[];
  properties?: object;
  minimum?: number;
  maximum?: number;
  maxItems?: number;
}

/** A schema in words. */
function typeOf(value: unknown): string {
  const schema = value as TypeSchema;
  if (schema.enum !== undefined) return schema.enum.map((one) => `\`${String(one)}\``).join(', ');
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeOf).join(' or ');
  if (schema.type === 'array') return `list of ${typeOf(schema.items ?? {})}`;
  if (schema.type === 'object')
    return schema.properties === undefined
      ? 'object'
      : `object with ${Object.keys(schema.properties)
          .map((key) => `\`${key}\``)
          .join(', ')}`;
  if (schema.type === 'integer' || schema.type === 'number') {
    const most =
      schema.maximum === undefined || schema.maximum >= Number.MAX_SAFE_INTEGER
        ? ''
        : ` to ${schema.maximum.toLocaleString('en')}`;
    const least = schema.minimum === undefined || schema.minimum <= Number.MIN_SAFE_INTEGER ? null : schema.minimum;
    const range = least === null ? '' : most === '' ? `, ${least} or more` : `, ${least.toLocaleString('en')}${most}`;
    return `${schema.type}${range}`;
  }
  return typeof schema.type === 'string' ? schema.type : 'anything';
}
