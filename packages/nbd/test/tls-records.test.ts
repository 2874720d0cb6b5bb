import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadAead, loadSys } from '@raidkit/sys';
import { nextSecret, suiteOf, trafficKeys } from '../src/tls/key-schedule.js';
import type { Suite } from '../src/tls/key-schedule.js';
import { Alert, RecordLayer } from '../src/tls/record-layer.js';
import type { Slab } from '../src/tls/record-layer.js';
import { SecretsLog } from '../src/tls/secrets-log.js';
import { expectBytes, pattern } from './kit.js';

/** These tests compare the record layer with RFC 8448, and with another one that uses node:crypto. */

const aead = loadAead();
const suiteNames = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'] as const;
const data = 23;
const handshake = 22;
const alert = 21;

function hex(text: string): Buffer {
  return Buffer.from(text.replace(/\s/g, ''), 'hex');
}

function suiteCalled(name: string): Suite {
  const suite = suiteOf(name);
  if (suite === null) throw new Error(`${name} is not known`);
  return suite;
}

function slab(length: number, content: Uint8Array = new Uint8Array()): Slab {
  const bytes = new Uint8Array(new ArrayBuffer(length));
  bytes.set(content);
  return { bytes, addr: loadSys()?.addressOf(bytes) ?? 0 };
}

/** The other end of one direction, with node:crypto. */
class Peer {
  readonly #suite: Suite;
  #secret: Uint8Array;
  #records = 0n;

  constructor(suite: Suite, secret: Uint8Array) {
    this.#suite = suite;
    this.#secret = secret;
  }

  /** A record with this inner plaintext, its type and padding included. */
  sealInner(inner: Uint8Array): Buffer {
    const header = Buffer.of(data, 3, 3, (inner.length + 16) >> 8, (inner.length + 16) & 0xff);
    const { key, nonce } = this.#next();
    const cipher = createCipheriv(this.#suite.aead as 'aes-128-gcm', key, nonce, { authTagLength: 16 });
    cipher.setAAD(header);
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  }

  seal(type: number, content: Uint8Array, padding = 0): Buffer {
    return this.sealInner(Buffer.concat([content, Buffer.of(type), Buffer.alloc(padding)]));
  }

  /** All records of these bytes: type and content of each. A KeyUpdate is followed. */
  openAll(bytes: Uint8Array): { type: number; content: Buffer }[] {
    const found: { type: number; content: Buffer }[] = [];
    for (let at = 0; at < bytes.length;) {
      const header = bytes.subarray(at, at + 5);
      const length = ((header[3] ?? 0) << 8) | (header[4] ?? 0);
      const body = bytes.subarray(at + 5, at + 5 + length);
      const { key, nonce } = this.#next();
      const decipher = createDecipheriv(this.#suite.aead as 'aes-128-gcm', key, nonce, { authTagLength: 16 });
      decipher.setAAD(header);
      decipher.setAuthTag(body.subarray(-16));
      const inner = Buffer.concat([decipher.update(body.subarray(0, -16)), decipher.final()]);
      const type = inner.at(-1) ?? 0;
      found.push({ type, content: inner.subarray(0, -1) });
      if (type === handshake) this.update();
      at += 5 + length;
    }
    return found;
  }

  update(): void {
    this.#secret = expand(this.#suite, this.#secret, 'traffic upd', this.#secret.length);
    this.#records = 0n;
  }

  #next(): { key: Buffer; nonce: Buffer } {
    const key = expand(this.#suite, this.#secret, 'key', this.#suite.keyBytes);
    const nonce = expand(this.#suite, this.#secret, 'iv', 12);
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ this.#records++, 4);
    return { key, nonce };
  }
}

function expand(suite: Suite, secret: Uint8Array, label: string, length: number): Buffer {
  const name = `tls13 ${label}`;
  const info = Buffer.from(`\0${String.fromCharCode(length)}${String.fromCharCode(name.length)}${name}\0\x01`, 'latin1');
  return createHmac(suite.hash, secret).update(info).digest().subarray(0, length);
}

interface Pair {
  layer: RecordLayer;
  client: Peer;
  server: Peer;
}

function pair(suiteName: string = suiteNames[0], most?: number): Pair {
  if (aead === null) throw new Error('no OpenSSL');
  const suite = suiteCalled(suiteName);
  const bytes = suite.hash === 'sha384' ? 48 : 32;
  const secrets = { client: randomBytes(bytes), server: randomBytes(bytes) };
  return {
    layer: new RecordLayer(aead, { suite, ...secrets, sealed: 0 }, most),
    client: new Peer(suite, secrets.client),
    server: new Peer(suite, secrets.server),
  };
}

/** What the layer makes of these bytes, given to it in one go. */
function opened(layer: RecordLayer, bytes: Uint8Array): Buffer {
  const to = slab(bytes.length + 1);
  layer.open(slab(bytes.length + 1, bytes), 0, bytes.length, to, 0);
  return Buffer.from(to.bytes.subarray(0, layer.contentTo));
}

function sealed(layer: RecordLayer, bytes: Uint8Array): Buffer {
  const to = slab(bytes.length + 64 + 64 * Math.ceil(bytes.length / 16_384));
  const end = layer.seal(slab(bytes.length + 1, bytes), 0, bytes.length, to, 0);
  expect(layer.sealedTo).toBe(bytes.length);
  return Buffer.from(to.bytes.subarray(0, end));
}

function keyUpdate(request: number): Buffer {
  return Buffer.of(24, 0, 0, 1, request);
}

describe('RFC 8448, simple 1-RTT handshake', () => {
  const suite = suiteCalled('TLS_AES_128_GCM_SHA256');
  const client = hex('9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5');
  const server = hex('a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643');
  const payload = Buffer.from(Array.from({ length: 50 }, (_, i) => i));

  it('keys', () => {
    const keys = trafficKeys(suite, client);
    expect(Buffer.from(keys.key)).toEqual(hex('17422dda596ed5d9acd890e3c63f5051'));
    expect(Buffer.from(keys.iv)).toEqual(hex('5b78923dee08579033e523d9'));
    const others = trafficKeys(suite, server);
    expect(Buffer.from(others.key)).toEqual(hex('9f02283b6c9c07efc26bb9f2ac92e356'));
    expect(Buffer.from(others.iv)).toEqual(hex('cf782b88dd83549aadf1e984'));
    expect(Buffer.from(nextSecret(suite, client))).toEqual(expand(suite, client, 'traffic upd', 32));
  });

  it.skipIf(aead === null)('records, each way, with the alert that ends them', () => {
    if (aead === null) return;
    const layer = new RecordLayer(aead, { suite, client, server, sealed: 1 });
    const sent = hex(`17030300 43a23f7054b62c94d0affafe 8228ba55cbefacea42f914aa66bcab3f
      2b9819a8a5b46b395bd54a9a20441e2b 62974e1f5a6292a2977014bd1e3deae6 3aeebb21694915e40a`);
    const answered = hex(`1703030043 2e937e11ef4ac740e538ad36005fc4a4 6932fc3225d05f82aa1b36e30efaf97d
      90e6dffc602dcb501a59a8fcc49c4bf2 e5f0a21c0047c2abf332540dd032e167 c2955d`);
    expectBytes(opened(layer, sent), payload);
    expectBytes(sealed(layer, payload), answered);
    opened(layer, hex('1703030013c9872760655666b74d7ff1153efd6db6d0b0e3'));
    expect(layer).toMatchObject({ hasEnded: true, failure: 0 });
    const to = slab(64);
    const end = layer.sealAlert(Alert.CLOSE_NOTIFY, to, 0);
    expectBytes(to.bytes.subarray(0, end), hex('1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9'));
    layer.close();
  });
});

it('the secrets come out of the log, and what they came from is wiped', () => {
  const log = new SecretsLog();
  const lines = [
    'CLIENT_HANDSHAKE_TRAFFIC_SECRET 00ff 0102',
    'CLIENT_TRAFFIC_SECRET_0 00ff aAbB09\n',
    'SERVER_TRAFFIC_SECRET_0 00ff 00FF',
    'CLIENT_TRAFFIC_SECRET_0',
  ].map((text) => Buffer.from(text));
  for (const line of lines) log.take(line);
  expect(log.client).toEqual(Uint8Array.of(0xaa, 0xbb, 0x09));
  expect(log.server).toEqual(Uint8Array.of(0, 0xff));
  expect(lines.every((line) => line.every((byte) => byte === 0))).toBe(true);
  const { client } = log;
  log.wipe();
  expect(client).toEqual(new Uint8Array(3));
  expect(log.client).toBeNull();
});

/** How often the 32 bytes that `at` gives are in the memory of the process. They are nowhere in one piece here. */
function copiesOf(at: (i: number) => number): number {
  let copies = 0;
  const chunk = Buffer.allocUnsafeSlow(8 * 1024 * 1024);
  const file = openSync('/proc/self/mem', 'r');
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (from === undefined || to === undefined) continue;
    const end = Number.parseInt(to, 16);
    for (let start = Number.parseInt(from, 16); start < end; start += chunk.length) {
      let bytes = 0;
      try {
        bytes = readSync(file, chunk, 0, Math.min(chunk.length, end - start), start);
      } catch {
        // This memory cannot be read.
      }
      for (let i = chunk.indexOf(at(0)); i >= 0 && i + 32 <= bytes; i = chunk.indexOf(at(0), i + 1)) {
        let same = 1;
        while (same < 32 && chunk[i + same] === at(same)) same++;
        if (same === 32) copies++;
      }
      chunk.fill(0);
    }
  }
  closeSync(file);
  return copies;
}

it.skipIf(aead === null)('nothing is left of a secret that was wiped, although objects have been moved', () => {
  if (aead === null) return;
  const at = (i: number): number => (i * 37 + 11) & 0xff;
  const digits = Array.from({ length: 32 }, (_, i) => at(i).toString(16).padStart(2, '0')).join('');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const log = new SecretsLog();
  for (const whose of ['CLIENT', 'SERVER']) log.take(Buffer.from(`${whose}_TRAFFIC_SECRET_0 00 ${digits}`));
  const { client, server } = log;
  if (client === null || server === null) throw new Error('no secrets');
  const layer = new RecordLayer(aead, { suite: suiteCalled(suiteNames[0]), client, server, sealed: 0 });
  for (let i = 0; i < 3; i++) collect();
  expect(copiesOf(at)).toBe(4);
  log.wipe();
  layer.close();
  expect(copiesOf(at)).toBe(0);
});

describe.skipIf(aead === null).each(suiteNames)('%s', (name) => {
  it('whatever sizes, padding and pieces, the same bytes arrive, both ways', () => {
    const size = fc.oneof(fc.nat(40), fc.constantFrom(16_383, 16_384), fc.nat(16_384));
    const part = fc.record({ size, padding: fc.nat(255), step: fc.constantFrom('data', 'update', 'both', 'empty') });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), fc.nat(5000), (parts, cut) => {
        const { layer, client, server } = pair(name, 3);
        let said = Buffer.alloc(0);
        let heard = Buffer.alloc(0);
        let rest = Buffer.alloc(0);
        for (const [i, { size: bytes, padding, step }] of parts.entries()) {
          const content = pattern(bytes, i);
          rest = Buffer.concat([rest, client.seal(data, content, Math.min(padding, 16_384 - bytes))]);
          said = Buffer.concat([said, content]);
          if (step === 'empty') rest = Buffer.concat([rest, client.seal(data, Buffer.alloc(0))]);
          if (step === 'update' || step === 'both') {
            rest = Buffer.concat([rest, client.seal(handshake, keyUpdate(step === 'both' ? 1 : 0))]);
            client.update();
          }
          // A part of it has not arrived yet.
          const there = rest.subarray(0, Math.max(0, rest.length - cut));
          heard = Buffer.concat([heard, opened(layer, there)]);
          rest = rest.subarray(layer.openedTo);
          if (layer.owesKeyUpdate) {
            const to = slab(64);
            const end = layer.sealKeyUpdate(to, 0);
            expect(server.openAll(to.bytes.subarray(0, end))).toEqual([{ type: handshake, content: keyUpdate(0) }]);
          }
          const reply = pattern(bytes * 3, i + 1);
          const records = server.openAll(sealed(layer, reply));
          expectBytes(Buffer.concat(records.filter(({ type }) => type === data).map(({ content: its }) => its)), reply);
        }
        heard = Buffer.concat([heard, opened(layer, rest)]);
        expectBytes(heard, said);
        expect(layer.failure).toBe(0);
        layer.close();
      }),
      { numRuns: 30 },
    );
  });

  it('a byte that was changed anywhere: nothing of its record, or behind it, is passed on', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 255 }), (where, flip) => {
        const { layer, client } = pair(name);
        const contents = [pattern(700, 1), pattern(33, 2), pattern(1, 3)];
        const records = contents.map((content) => client.seal(data, content));
        const all = Buffer.concat(records);
        // The version means nothing, but is authenticated.
        const at = where % all.length;
        all[at] = (all[at] ?? 0) ^ flip;
        const ends = records.map((_, i) => records.slice(0, i + 1).reduce((sum, { length }) => sum + length, 0));
        const broken = ends.findIndex((end) => at < end);
        const found = opened(layer, all);
        expectBytes(found, Buffer.concat(contents.slice(0, broken)));
        // A record whose header claims a longer length waits for the rest.
        if (layer.failure === 0) expect(layer.openedTo).toBe(ends[broken - 1] ?? 0);
        layer.close();
      }),
      { numRuns: 200 },
    );
  });
});

describe.skipIf(aead === null)('what a client may not do', () => {
  function refused(make: (client: Peer) => Uint8Array): number {
    const { layer, client } = pair();
    const first = pattern(10, 1);
    const found = opened(layer, Buffer.concat([client.seal(data, first), make(client), client.seal(data, pattern(9, 2))]));
    expectBytes(found, first);
    layer.close();
    return layer.failure;
  }

  it.each<[string, number, (client: Peer) => Uint8Array]>([
    ['a record in the clear', Alert.UNEXPECTED_MESSAGE, () => Buffer.of(handshake, 3, 3, 0, 5, 24, 0, 0, 1, 0)],
    ['a change of the cipher', Alert.UNEXPECTED_MESSAGE, () => Buffer.of(20, 3, 3, 0, 1, 1)],
    ['a record that is too long', Alert.RECORD_OVERFLOW, () => Buffer.of(data, 3, 3, 0x41, 0x01, 0)],
    ['too much content', Alert.RECORD_OVERFLOW, (client) => client.seal(data, Buffer.alloc(16_385, 1))],
    ['too much padding', Alert.RECORD_OVERFLOW, (client) => client.seal(data, Buffer.alloc(10, 1), 16_375)],
    ['a record without room for a tag', Alert.BAD_RECORD_MAC, () => Buffer.of(data, 3, 3, 0, 16, ...Buffer.alloc(16))],
    ['nothing but padding', Alert.UNEXPECTED_MESSAGE, (client) => client.sealInner(Buffer.alloc(30))],
    ['content of no known type', Alert.UNEXPECTED_MESSAGE, (client) => client.seal(24, pattern(5, 5))],
    ['an empty message', Alert.UNEXPECTED_MESSAGE, (client) => client.seal(handshake, Buffer.alloc(0))],
    ['another message', Alert.UNEXPECTED_MESSAGE, (client) => client.seal(handshake, Buffer.of(11, 0, 0, 1, 0))],
    ['two messages', Alert.UNEXPECTED_MESSAGE, (client) => client.seal(handshake, Buffer.concat([keyUpdate(0), keyUpdate(0)]))],
    ['half a message', Alert.UNEXPECTED_MESSAGE, (client) => client.seal(handshake, keyUpdate(0).subarray(0, 3))],
    ['a KeyUpdate that asks for who knows what', Alert.ILLEGAL_PARAMETER, (client) => client.seal(handshake, keyUpdate(2))],
    ['half an alert', Alert.UNEXPECTED_MESSAGE, (client) => client.seal(alert, Buffer.of(1))],
    ['an alert', -1, (client) => client.seal(alert, Buffer.of(2, 42))],
    ['an alert that calls itself a warning', -1, (client) => client.seal(alert, Buffer.of(1, 42))],
    [
      'record after record without anything',
      Alert.UNEXPECTED_MESSAGE,
      (client) => Buffer.concat(Array.from({ length: 33 }, () => client.seal(data, Buffer.alloc(0)))),
    ],
  ])('%s', (_name, failure, make) => {
    expect(refused(make)).toBe(failure);
  });

  it('a record twice, or in the place of another one', () => {
    for (const order of [
      [0, 0],
      [1, 0],
      [0, 2],
    ]) {
      const { layer, client } = pair();
      const records = [1, 2, 3].map((seed) => client.seal(data, pattern(20, seed)));
      const found = opened(layer, Buffer.concat(order.map((i) => records[i] ?? Buffer.alloc(0))));
      expect(layer.failure).toBe(Alert.BAD_RECORD_MAC);
      expect(found.length).toBe(order[0] === 0 ? 20 : 0);
      layer.close();
    }
  });

  it('the old keys, once it has announced new ones', () => {
    const { layer, client } = pair();
    const old = Buffer.concat([client.seal(handshake, keyUpdate(0)), client.seal(data, pattern(20, 1))]);
    expect(opened(layer, old).length).toBe(0);
    expect(layer.failure).toBe(Alert.BAD_RECORD_MAC);
    layer.close();
  });
});

describe.skipIf(aead === null)('what it may do', () => {
  it('end, after which nothing counts; say that its user is gone; pad as much as there is room', () => {
    const { layer, client } = pair();
    const said = [
      client.seal(alert, Buffer.of(1, Alert.USER_CANCELED)),
      client.seal(data, pattern(16_384, 1)),
      client.seal(data, pattern(4, 2), 16_380),
      client.seal(alert, Buffer.of(1, Alert.CLOSE_NOTIFY)),
      client.seal(data, pattern(8, 3)),
    ];
    expectBytes(opened(layer, Buffer.concat(said)), Buffer.concat([pattern(16_384, 1), pattern(4, 2)]));
    expect(layer).toMatchObject({ hasEnded: true, failure: 0 });
    layer.close();
  });

  it('ask for new keys, once or twice before it gets them, or announce its own alone', () => {
    const { layer, client, server } = pair();
    for (const [requests, owes] of [
      [[0], false],
      [[1], true],
      [[1, 0, 1], true],
    ] as const) {
      for (const request of requests) {
        opened(layer, client.seal(handshake, keyUpdate(request)));
        client.update();
      }
      expect(layer).toMatchObject({ owesKeyUpdate: owes, failure: 0 });
      if (owes) {
        const to = slab(64);
        const end = layer.sealKeyUpdate(to, 0);
        expect(server.openAll(to.bytes.subarray(0, end))).toEqual([{ type: handshake, content: keyUpdate(0) }]);
      }
      expect(layer.owesKeyUpdate).toBe(false);
      expect(server.openAll(sealed(layer, pattern(9, 1)))).toEqual([{ type: data, content: pattern(9, 1) }]);
      expectBytes(opened(layer, client.seal(data, pattern(8, 2))), pattern(8, 2));
    }
    layer.close();
  });

  it('nothing that begins beyond the room is begun', () => {
    const { layer, client } = pair();
    const records = Buffer.concat([client.seal(data, pattern(100, 1)), client.seal(data, pattern(100, 2))]);
    const to = slab(150);
    const from = slab(records.length, records);
    layer.open(from, 0, records.length, to, 0);
    expect(layer.contentTo).toBe(100);
    layer.open(from, layer.openedTo, records.length, to, 0);
    expectBytes(to.bytes.subarray(0, layer.contentTo), pattern(100, 2));
    layer.close();
  });
});

describe.skipIf(aead === null)('the server', () => {
  it('announces new keys before the old ones have protected too much', () => {
    const { layer, server } = pair(suiteNames[0], 4);
    const types = Array.from({ length: 12 }, (_, i) => server.openAll(sealed(layer, pattern(10, i))).map(({ type }) => type));
    // The announcement itself is protected with the old ones.
    expect(types.map(({ length }) => length)).toEqual([1, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1]);
    expect(types[4]).toEqual([handshake, data]);
    layer.close();
  });

  it('has no key any more when it has closed', () => {
    const { layer, client } = pair();
    layer.close();
    expect(() => sealed(layer, pattern(10, 1))).toThrow('OpenSSL');
    expect(opened(layer, client.seal(data, pattern(10, 1))).length).toBe(0);
    layer.close();
  });
});
