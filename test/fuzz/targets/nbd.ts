import { IoType, Status } from '@raidkit/bdev';
import { Handshake } from '../../../packages/nbd/src/handshake/handshake.js';
import type { HandshakeHost } from '../../../packages/nbd/src/handshake/handshake.js';
import { parseInfoRequest, parseMetaContextRequest } from '../../../packages/nbd/src/wire/option-data.js';
import { cmd, flag, goData, metaData, opt, optionBytes, requestBytes } from '../../../packages/nbd/test/client.js';
import type { Style } from '../../../packages/nbd/test/client.js';
import { addDevice, assertNoLeak, newRig, pattern, turns, until } from '../../../packages/nbd/test/kit.js';
import { connectWire } from '../../../packages/nbd/test/wire.js';
import type { Target } from '../fuzz.js';
import { expectSame, expectTrue } from './expect-same.js';

// What a client that can reach the socket sends.

const greeting = Buffer.from([0, 0, 0, 3]);
const handshakeWords = ['IHAVEOPT', 'disk', 'other', 'base:allocation', 'base:'];

const handshakeSeeds = [
  [optionBytes(opt.list), optionBytes(opt.abort)],
  [
    optionBytes(opt.structuredReply),
    optionBytes(opt.setMeta, metaData('disk', ['base:allocation'])),
    optionBytes(opt.go, goData('disk', [3, 1])),
  ],
  [
    optionBytes(opt.extendedHeaders),
    optionBytes(opt.listMeta, metaData('other', ['base:'])),
    optionBytes(opt.info, goData('', [0, 2])),
  ],
  [optionBytes(opt.startTls), optionBytes(opt.exportName, Buffer.from('disk'))],
  [optionBytes(99, Buffer.alloc(20)), optionBytes(opt.info, goData('elsewhere'))],
].map((parts) => new Uint8Array(Buffer.concat([greeting, ...parts])));

const mostOptions = 20;
/** Most bytes that one option is answered with here. */
const mostAnswerBytes = 2048;

interface Found {
  name: string;
  description: string;
  isDefault: boolean;
  isReadOnly: boolean;
  blockSize: number;
  preferredBytes: number;
  sizeBytes: number;
  transmissionFlags: () => number;
}

const exported: Found[] = ['disk', 'other'].map((name) => ({
  name,
  description: 'of the test',
  isDefault: name === 'disk',
  isReadOnly: false,
  blockSize: 512,
  preferredBytes: 4096,
  sizeBytes: 2 ** 40,
  transmissionFlags: () => 1,
}));

const host: HandshakeHost<Found> = {
  find: (name) => exported.find((one) => one.name === (name === '' ? 'disk' : name)) ?? null,
  isOnPeer: (name) => name === 'elsewhere',
  list: () => exported,
  tls: 'allow',
  maxOptions: mostOptions,
};

const handshake: Target = {
  name: 'NBD handshake',
  covers: ['packages/nbd/src/handshake/', 'packages/nbd/src/wire/'],
  seeds: handshakeSeeds,
  words: handshakeWords,
  run(bytes) {
    const input = Buffer.from(bytes);
    let saidBytes = 0;
    const shake = new Handshake(host, 'unix:/test', (said) => (saidBytes += said.length));
    for (let at = 0; ;) {
      const { wantedBytes } = shake;
      expectTrue(wantedBytes > 0 && wantedBytes <= 4096, `it wants ${wantedBytes} bytes`);
      if (at + wantedBytes > input.length) break;
      const result = shake.feed(input.subarray(at, at + wantedBytes));
      at += wantedBytes;
      if (result.type !== 'continue') break;
    }
    expectTrue(saidBytes <= mostAnswerBytes * (mostOptions + 1), `it says ${saidBytes} bytes`);
    const { progress } = shake;
    expectTrue(progress.options <= mostOptions + 1, `it looks at ${progress.options} options`);
    for (const parse of [parseInfoRequest, parseMetaContextRequest]) {
      const found = parse(input);
      if (found !== null)
        expectTrue(JSON.stringify(found).length <= 8 * input.length + 64, 'it is longer than what it was made from');
    }
  },
};

function session(style: Style): Uint8Array {
  const request = (command: number, offset: number, length: number, flags = 0, payload: Buffer = Buffer.alloc(0)): Buffer => {
    const isWrite = command === cmd.write && style === 'extended';
    const allFlags = isWrite ? flags | flag.payloadLen : flags;
    return Buffer.concat([requestBytes(style, command, allFlags, BigInt(offset + length), offset, length), payload]);
  };
  const agreed = { simple: [], structured: [optionBytes(opt.structuredReply)], extended: [optionBytes(opt.extendedHeaders)] }[
    style
  ];
  return new Uint8Array(
    Buffer.concat([
      greeting,
      ...agreed,
      optionBytes(opt.setMeta, metaData('disk', ['base:allocation'])),
      optionBytes(opt.go, goData('disk', [3])),
      request(cmd.write, 0, 700, 0, pattern(700, 1)),
      request(cmd.read, 100, 5000),
      request(cmd.write, 1024, 512, flag.fua, pattern(512, 2)),
      request(cmd.writeZeroes, 30, 3000),
      request(cmd.trim, 4096, 1024),
      request(cmd.blockStatus, 0, 4096),
      request(cmd.cache, 0, 512),
      request(cmd.flush, 0, 0),
      request(cmd.disc, 0, 0),
    ]),
  );
}

/** Whole sessions, against a server with two exports: what is said to one must not touch the other. */
function requests(): Target {
  let rig: ReturnType<typeof newRig> | null = null;
  let otherBytes: Buffer = Buffer.alloc(0);
  const secret = pattern(64 * 1024, 99);
  const begin = (): ReturnType<typeof newRig> => {
    const made = newRig({ memoryBytes: 32 * 1024 * 1024 });
    const { bdev, driver } = addDevice(made.registry, { name: 'm1', numBlocks: 128 });
    otherBytes = driver.bytes;
    secret.copy(otherBytes);
    made.server.addExport({ name: 'other', bdev, readOnly: true });
    made.driver.recordsCalls = false;
    made.driver.fault = ({ numBlocks, offsetBlocks, type }) => {
      if (type === IoType.Flush || offsetBlocks + numBlocks <= made.bdev.numBlocks) return Status.Ok;
      throw new Error(`${numBlocks} blocks at ${offsetBlocks} are past the end of the device`);
    };
    return made;
  };
  return {
    name: 'NBD requests',
    covers: ['packages/nbd/src/transmission/', 'packages/nbd/src/commands/', 'packages/nbd/src/server/'],
    seeds: (['simple', 'structured', 'extended'] as const).map(session),
    words: handshakeWords,
    async run(bytes) {
      rig ??= begin();
      const wire = connectWire(rig.server, { memory: rig.registry.runtime.memory.u8, isGreedy: bytes.length % 2 === 0 });
      wire.push(Buffer.from(bytes));
      await turns(2);
      if (bytes.length % 3 === 0) wire.pushEnd();
      wire.hangUp();
      expectTrue(rig.server.usage.requestObjects < 1000, 'there are too many requests');
      expectTrue(rig.server.connectionCount < 50, 'connections do not end');
    },
    async end() {
      if (rig === null) return;
      const { server } = rig;
      await until(() => server.connectionCount === 0, 'all connections are gone');
      assertNoLeak(rig);
      expectSame(Buffer.compare(otherBytes, secret), 0, 'the other export has changed');
      await server.close();
      rig = null;
    },
  };
}

export const nbdTargets: readonly Target[] = [handshake, requests()];
