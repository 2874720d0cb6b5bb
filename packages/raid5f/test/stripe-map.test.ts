import { expect, it } from 'vitest';
import { StripeMap } from '../src/stripe-map.js';

it('parity goes from the last slot to the first, and data around it, in order: SPDK’s layout', () => {
  const map = new StripeMap(16, 4);
  const rows = Array.from({ length: 5 }, (_, stripe) => {
    const row = Array.from({ length: 4 }, () => 'P');
    for (let chunk = 0; chunk < 3; chunk++) row[map.dataSlot(stripe, chunk)] = String(chunk);
    return row.join('');
  });
  expect(rows).toEqual(['012P', '01P2', '0P12', 'P012', '012P']);
  expect(rows.map((row) => row.indexOf('P'))).toEqual(rows.map((_, stripe) => map.paritySlot(stripe)));
});

it('a stripe has as many blocks as its strips of data', () => {
  const map = new StripeMap(16, 4);
  expect([0, 47, 48, 95, 96].map((block) => map.stripeOf(block))).toEqual([0, 0, 1, 1, 2]);
});
