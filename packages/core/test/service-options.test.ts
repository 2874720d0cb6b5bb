import { describe, expect, it } from 'vitest';
import { newRig } from '../../../test/support/rig.js';

describe('options of all arrays', () => {
  it.each([
    ['windowSizeKb', 0],
    ['windowSizeKb', NaN],
    ['maxBandwidthMbSec', -1],
    ['minBandwidthMbSec', Infinity],
    ['latencyTargetMs', -0.5],
  ])('%s of background processes is not %d', (key, value) => {
    const { arrays } = newRig();
    const before = { ...arrays.processOptions };
    expect(() => arrays.setProcessOptions({ minBandwidthMbSec: 7, [key]: value })).toThrow(new RegExp(`^${key} must be`));
    expect(arrays.processOptions).toEqual(before);
  });

  it.each([
    ['absentWaitMs', -1],
    ['degradedStartMs', NaN],
  ])('%s of assembly is not %d', (key, value) => {
    const { arrays } = newRig();
    const before = { ...arrays.assemblyOptions };
    expect(() => arrays.setAssemblyOptions({ start: 'manual', [key]: value })).toThrow(new RegExp(`^${key} must be`));
    expect(arrays.assemblyOptions).toEqual(before);
  });

  it('are changed by their setters, one at a time', () => {
    const { arrays } = newRig();
    const before = { ...arrays.processOptions };
    arrays.setProcessOptions({ windowSizeKb: 64 });
    arrays.setAssemblyOptions({ start: 'manual' });
    arrays.setAssemblyOptions({ absentWaitMs: 5 });
    expect(arrays.processOptions).toEqual({ ...before, windowSizeKb: 64 });
    expect(arrays.assemblyOptions).toMatchObject({ start: 'manual', absentWaitMs: 5 });
  });
});
