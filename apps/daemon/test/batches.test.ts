import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { listenRpc } from '../src/rpc/listen.js';

it('a batch whose answers are too long together is carried out in part, and the rest refused', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'raidkit-batch-'));
  const path = join(folder, 'rpc.sock');
  const long = 'x'.repeat(1 << 20);
  let calls = 0;
  const caller = {
    call: () => {
      calls++;
      return Promise.resolve(long);
    },
  };
  const listener = await listenRpc({ path }, caller, pino({ level: 'silent' }));
  const socket = connect(path);
  try {
    const pieces: Buffer[] = [];
    const answered = new Promise<void>((resolve, reject) => {
      socket.on('data', (piece: Buffer) => {
        pieces.push(piece);
        if (piece.at(-1) === 0x0a) resolve();
      });
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the connection was closed')));
    });
    // All of them would be longer than a text can be.
    const batch = Array.from({ length: 600 }, (_, id) => ({ jsonrpc: '2.0', method: 'any', id }));
    socket.write(JSON.stringify(batch));
    await answered;
    const answers = JSON.parse(Buffer.concat(pieces).toString()) as { id: number; error?: { code: number } }[];
    expect(answers.map(({ id }) => id)).toEqual(batch.map(({ id }) => id));
    expect(answers.filter(({ error }) => error === undefined)).toHaveLength(calls);
    expect(calls).toBeLessThan(40);
    expect(answers.at(-1)?.error).toMatchObject({
      code: -12,
      data: { reason: expect.stringMatching(/send fewer calls at once/) as string },
    });
  } finally {
    socket.destroy();
    await listener.close();
    rmSync(folder, { recursive: true });
  }
});
