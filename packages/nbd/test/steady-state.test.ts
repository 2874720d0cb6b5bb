import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import type { Transport } from '../src/index.js';
import { cmd, goData, opt, optionBytes, requestBytes } from './client.js';
import type { Style } from './client.js';
import { assertNoLeak, newRig, pattern } from './kit.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Feeds the same bytes again and again, throws replies away, and allocates nothing itself. */
it.each<Style>(['simple', 'structured', 'extended'])('requests with %s replies allocate nothing', async (style) => {
  const rig = newRig();
  rig.driver.recordsCalls = false;
  // A device without views or closures of its own.
  rig.driver.submit = (io) => io.complete(0);
  const { u8 } = rig.registry.runtime.memory;
  let hasOutput = false;
  const transport: Transport = {
    onOutput: () => {
      hasOutput = true;
    },
    onInput: () => undefined,
    onFinish: () => undefined,
    onAbort: () => {
      throw new Error('aborted');
    },
  };
  const connection = rig.server.connect(transport, 'test')!;
  let answered = 0;
  const push = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(connection.wantedBytes, bytes.length - at);
      if (count === 0) throw new Error('stalled');
      const addr = connection.inputAddr;
      for (let i = 0; i < count; i++) u8[addr + i] = bytes[at + i]!;
      at += count;
      connection.received(count);
    }
  };
  const drain = (): void => {
    hasOutput = false;
    for (let count = connection.outbox.beginSend(64, 1 << 20); count > 0; count = connection.outbox.beginSend(64, 1 << 20)) {
      for (let i = 0; i < count; i++) answered += connection.outbox.rangeBytes(i);
      connection.sent();
    }
  };
  drain();
  push(Buffer.from([0, 0, 0, 3]));
  const options = { simple: null, structured: opt.structuredReply, extended: opt.extendedHeaders };
  const option = options[style];
  if (option !== null) push(optionBytes(option));
  drain();
  push(optionBytes(opt.go, goData('disk')));
  drain();
  const write = (offset: number, length: number): Buffer =>
    Buffer.concat([requestBytes(style, cmd.write, style === 'extended' ? 32 : 0, 7n, offset, length), pattern(length, 1)]);
  const round = Buffer.concat([
    requestBytes(style, cmd.read, 0, 1n, 4096, 4096),
    requestBytes(style, cmd.read, 0, 2n, 100, 1000),
    write(0, 512),
    write(1000, 100),
    requestBytes(style, cmd.writeZeroes, 0, 3n, 700, 4000),
    requestBytes(style, cmd.trim, 0, 4n, 8192, 4096),
    requestBytes(style, cmd.flush, 0, 5n, 0, 0),
    requestBytes(style, cmd.read, 0, 6n, 2 ** 40, 512),
  ]);
  const requestsPerRound = 8;
  const run = async (rounds: number): Promise<void> => {
    for (let i = 0; i < rounds; i++) {
      push(round);
      while (rig.server.usage.requests > 0) {
        await nextTurn;
        if (hasOutput) drain();
      }
    }
  };
  // One promise for all turns would not do, and one for each is garbage: a thenable that is used again is neither.
  const nextTurn = { then: (resolve: () => void) => void setImmediate(resolve) } as unknown as Promise<void>;

  await run(500);
  const { requestObjects } = rig.server.usage;
  const { made } = rig.registry.ios;
  collect();
  const before = process.memoryUsage().heapUsed;
  const rounds = 3000;
  await run(rounds);
  collect();
  const kept = process.memoryUsage().heapUsed - before;
  // What is kept for each request would show as at least 16 bytes.
  expect(kept / (rounds * requestsPerRound)).toBeLessThan(8);
  expect(rig.server.usage.requestObjects).toBe(requestObjects);
  expect(rig.registry.ios.made).toBe(made);
  expect(answered).toBeGreaterThan(rounds * 5000);
  connection.drain();
  drain();
  connection.closed();
  await rig.server.close();
  assertNoLeak(rig);
});
