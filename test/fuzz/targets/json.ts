import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import { formatConfig, parseConfig } from '../../../apps/daemon/src/configuration/config-file.js';
import { act } from '../../../apps/daemon/src/dashboard/actions.js';
import { defaultLevelPackages, startDaemon } from '../../../apps/daemon/src/index.js';
import type { Daemon } from '../../../apps/daemon/src/index.js';
import { RpcError } from '../../../apps/daemon/src/rpc/errors.js';
import { JsonStream } from '../../../apps/daemon/src/rpc/json-stream.js';
import type { StreamItem } from '../../../apps/daemon/src/rpc/json-stream.js';
import type { Target } from '../fuzz.js';
import { expectSame, expectTrue } from './expect-same.js';

// The targets parse what arrives over control sockets and HTTP, and what files contain.

const words = [
  ...[
    '"method"',
    '"params"',
    '"id"',
    '"name"',
    '"__proto__"',
    '"constructor"',
    'null',
    'true',
    '{}',
    '[]',
    '{"',
    '":',
    '}',
    ']',
    ',',
    '"',
  ],
  ...['1e400', '-0', '9007199254740993', '1E-9', '\\ud800', '\\u0000', '\ufeff', '[[[[[[[[', '{"a":{"a":', '"a":1,"a":2'],
];

/** Requests to a running SPDK. */
function transcript(): Uint8Array[] {
  const file = new URL('../../../apps/daemon/test/fixtures/spdk-head-rpc-transcript.jsonl', import.meta.url);
  const requests = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { request: { method: string } }).request);
  const first = requests.filter(({ method }, place) => requests.findIndex((one) => one.method === method) === place);
  return first.map((request) => new TextEncoder().encode(JSON.stringify(request)));
}

const seeds = transcript();
const mostValueBytes = 1000;

function itemsOf(bytes: Uint8Array, pieceBytes: number): StreamItem[] {
  const stream = new JsonStream(mostValueBytes);
  const items: StreamItem[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    stream.push(Buffer.from(bytes.subarray(at, at + pieceBytes)));
    for (let item = stream.next(); item !== null; item = stream.next()) items.push(item);
  }
  return items;
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

const framing: Target = {
  name: 'JSON framing',
  covers: ['apps/daemon/src/rpc/json-stream.ts'],
  seeds,
  words,
  run(bytes) {
    // A word at the end of a piece may be whole or not: behind a space that is the same for all.
    const closed = new Uint8Array([...bytes, 0x20]);
    const whole = itemsOf(closed, closed.length);
    expectTrue(
      whole.slice(0, -1).every(({ ok }) => ok),
      'something comes after what is no JSON',
    );
    expectTrue(whole.length <= closed.length, 'there are more values than bytes');
    for (const item of whole) {
      if (!item.ok) {
        expectTrue(item.message.length < 4 * mostValueBytes, `the message has ${item.message.length} characters`);
        continue;
      }
      expectTrue(depthOf(item.value) <= 16, 'it is too deep');
      const text = JSON.stringify(item.value);
      const [again] = itemsOf(new TextEncoder().encode(`${text} `), closed.length);
      // It may be longer again than what it was made from.
      if (again?.ok === true) expectSame(JSON.stringify(again.value), text, 'read again');
    }
    const pieces = itemsOf(closed, 1 + (bytes.length % 7));
    if (![...whole, ...pieces].some(isWord)) expectSame(pieces.filter(isValue), whole.filter(isValue), 'in pieces');
  },
};

/** A number, true, false or null: where a piece ends with one, nothing tells whether it goes on. */
function isWord(item: StreamItem): boolean {
  return item.ok && (item.value === null || (typeof item.value !== 'object' && typeof item.value !== 'string'));
}

function isValue(item: StreamItem): boolean {
  return item.ok;
}

/** Checked against every method's schema; nothing is carried out. */
function parameters(): Target {
  let daemon: Daemon | null = null;
  let names: string[] = [];
  const begin = async (): Promise<Daemon> => {
    const started = await startDaemon({
      rpc: [],
      nbd: [],
      levels: defaultLevelPackages,
      conditions: ['@raidkit/source'],
      memoryBytes: 64 << 20,
      log: pino({ level: 'silent' }),
    });
    names = started.service.dispatcher.names({ current: false, includeAliases: true });
    return started;
  };
  return {
    name: 'RPC parameters',
    covers: ['apps/daemon/src/rpc/', 'apps/daemon/src/methods/'],
    seeds,
    words: [
      ...words,
      'bdev_',
      'raidkit_',
      'strip_size_kb',
      'base_bdevs',
      'num_blocks',
      'uuid',
      '5d190000-0000-4000-8000-0000000000ff',
    ],
    async run(bytes) {
      daemon ??= await begin();
      for (const item of itemsOf(bytes, bytes.length)) {
        if (!item.ok || typeof item.value !== 'object' || item.value === null) continue;
        const { method, params } = item.value as { method?: unknown; params?: unknown };
        // The input goes to a method whatever its name is.
        const one = typeof method === 'string' && names.includes(method) ? method : names[bytes.length % names.length];
        for (const name of [String(method), one ?? '']) {
          try {
            daemon.service.dispatcher.check(name, params);
          } catch (error) {
            if (!(error instanceof RpcError)) throw error;
            const { field, reason } = error.data;
            expectTrue(reason !== '' && (field === undefined || field !== ''), 'the refusal says nothing');
          }
        }
      }
      expectTrue(({} as { polluted?: unknown }).polluted === undefined, 'the prototype of objects has changed');
    },
    async end() {
      await daemon?.stop();
      daemon = null;
    },
  };
}

const config = {
  subsystems: [
    {
      subsystem: 'bdev',
      config: [{ method: 'bdev_aio_create', params: { name: 'd0', filename: '/x' } }, [{ method: 'bdev_examine' }]],
    },
    { subsystem: 'nvmf', config: null },
  ],
};

const files: Target = {
  name: 'configuration',
  covers: ['apps/daemon/src/configuration/config-file.ts', 'apps/daemon/src/dashboard/actions.ts'],
  seeds: [
    ...[config, { method: 'raidkit_start_process', params: { name: 'vol', type: 'check' } }].map((value) =>
      new TextEncoder().encode(JSON.stringify(value)),
    ),
  ],
  words: [...words, '"subsystems"', '"config"', '"source"', '"wrong"', 'raidkit_add_spare', 'raidkit_delete'],
  async run(bytes) {
    const text = Buffer.from(bytes).toString('utf8');
    let calls;
    try {
      calls = parseConfig(text);
    } catch (error) {
      expectTrue(error instanceof Error && !(error instanceof TypeError), `it throws ${String(error)}`);
      calls = null;
    }
    if (calls !== null) {
      const plain = calls.map(({ method, params }) => (params === undefined ? { method } : { method, params }));
      const again = parseConfig(formatConfig(calls)).map(({ method, params }) =>
        params === undefined ? { method } : { method, params },
      );
      expectSame(JSON.stringify(again), JSON.stringify(plain), 'read again');
    }
    const called: [string, unknown][] = [];
    const caller = {
      call: (name: string, params: unknown) => {
        called.push([name, params]);
        return Promise.resolve(true);
      },
    };
    const { status } = await act(caller, text);
    expectTrue(status === (called.length === 0 ? 400 : 200), `status ${status} with ${called.length} calls`);
    for (const [name, params] of called) {
      expectTrue(
        /^raidkit_(start_process|control_process|(add|remove)_spare|send_test_event)$/.test(name),
        `${name} is called`,
      );
      expectTrue(
        params === undefined || !/"(source|wrong)":/.test(JSON.stringify(Object.keys(params as object))),
        'it decides whose data counts',
      );
    }
  },
};

export const jsonTargets: readonly Target[] = [framing, parameters(), files];
