import { expect } from 'vitest';
import { plugIn } from '../../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, readAll, until } from '../../../../test/support/rig.js';
import type { Rig } from '../../../../test/support/rig.js';

export const MiB = 1 << 20;
/** Blocks of a strip, and bytes of each member's data. */
export const strip = 8;
export const dataBytes = 96 * 1024;

/** An array of strips of 4 KiB, and so many disks more. */
export async function made(members: number, more = 0): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (let index = 0; index < members + more; index++) {
    const bytes = new Uint8Array(MiB + dataBytes);
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  const baseBdevs = Array.from({ length: members }, (_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level: 'raid6', baseBdevs, stripSizeKb: 4, superblock: true });
  return { rig, disks };
}

/** Multiplication in GF(2^8) by the definition: polynomials, reduced by x^8 + x^4 + x^3 + x^2 + 1. */
function product(a: number, b: number): number {
  let wide = 0;
  for (let bit = 0; bit < 8; bit++) if ((b >> bit) & 1) wide ^= a << bit;
  for (let bit = 14; bit >= 8; bit--) if ((wide >> bit) & 1) wide ^= 0x11d << (bit - 8);
  return wide;
}

/** Compares what the members hold with the data, by the rule of the layout: data and both parities, each in its place. */
export function expectOnMembers(disks: readonly RamDisk[], data: Uint8Array): void {
  const members = disks.length;
  const stripBytes = strip * 512;
  const stripes = dataBytes / stripBytes;
  const coefficients = Array.from({ length: members - 2 }, () => 1);
  for (let chunk = 1; chunk < members - 2; chunk++) coefficients[chunk] = product(coefficients[chunk - 1] ?? 0, 2);
  const tables = coefficients.map((factor) => Uint8Array.from({ length: 256 }, (_, byte) => product(factor, byte)));
  for (let stripe = 0; stripe < stripes; stripe++) {
    const pSlot = members - 1 - (stripe % members);
    const qSlot = (pSlot + 1) % members;
    const slots = Array.from({ length: members }, (_, slot) => slot).filter((slot) => slot !== pSlot && slot !== qSlot);
    const p = new Uint8Array(stripBytes);
    const q = new Uint8Array(stripBytes);
    const held = (slot: number): Uint8Array =>
      disks[slot]!.bytes.subarray(MiB + stripe * stripBytes, MiB + (stripe + 1) * stripBytes);
    for (const [chunk, slot] of slots.entries()) {
      const at = (stripe * (members - 2) + chunk) * stripBytes;
      const right = data.subarray(at, at + stripBytes);
      expect(Buffer.compare(held(slot), right), `chunk ${chunk} of stripe ${stripe} on slot ${slot}`).toBe(0);
      for (const [index, byte] of right.entries()) {
        p[index]! ^= byte;
        q[index]! ^= tables[chunk]![byte]!;
      }
    }
    expect(Buffer.compare(held(pSlot), p), `P of stripe ${stripe}`).toBe(0);
    expect(Buffer.compare(held(qSlot), q), `Q of stripe ${stripe}`).toBe(0);
  }
}

/** Writes of all sizes and places, on the volume and in the picture of it. */
export async function scribble(rig: Rig, data: Uint8Array, seed: number): Promise<void> {
  const volume = openVolume(rig, 'a');
  let state = seed;
  const next = (most: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
  for (let left = 24; left > 0; left--) {
    const count = 1 + next(left % 3 === 0 ? 64 : 10);
    const offset = next(volume.numBlocks - count);
    const bytes = Uint8Array.from({ length: count * 512 }, () => next(256));
    await volume.write(offset, bytes);
    data.set(bytes, offset * 512);
  }
  await volume.flush();
  volume.descriptor.close();
}

export async function expectContents(rig: Rig, data: Uint8Array): Promise<void> {
  const volume = openVolume(rig, 'a');
  expect(Buffer.compare(await readAll(volume), data)).toBe(0);
  volume.descriptor.close();
}

export async function settled(rig: Rig): Promise<void> {
  await until(() => arrayOf(rig, 'a').process === null, 'nothing is under way');
  await arrayOf(rig, 'a').processEnded;
}

/** Regions that were never written read as zeros, whatever members hold; here all of them are written. */
export async function fullPicture(rig: Rig, data: Uint8Array): Promise<Uint8Array> {
  const volume = openVolume(rig, 'a');
  await volume.write(0, data);
  await volume.flush();
  volume.descriptor.close();
  return data;
}
