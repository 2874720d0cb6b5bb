import { isUuid, newUuid, nullUuid } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { ManualWorld } from './kit.js';

it.each([
  [0, '00000000-0000-4000-8000-000000000000'],
  [0xff, 'ffffffff-ffff-4fff-bfff-ffffffffffff'],
])('a new uuid is of version 4, whatever chance says: %i', (byte, text) => {
  const world = Object.assign(new ManualWorld(), { randomBytes: (count: number) => new Uint8Array(count).fill(byte) });
  expect(newUuid(world)).toBe(text);
  expect(isUuid(text)).toBe(true);
});

it('a uuid is any 32 hexadecimal digits in their places', () => {
  for (const text of [nullUuid, '00000000-0000-0000-0000-000000000001', 'ABCDEF00-0000-0000-0000-000000000001'])
    expect(isUuid(text), text).toBe(true);
  for (const text of [
    '',
    nullUuid.slice(1),
    `${nullUuid}0`,
    nullUuid.replaceAll('-', ''),
    nullUuid.replace('0', 'g'),
    `${nullUuid}\n`,
  ])
    expect(isUuid(text), text).toBe(false);
});
