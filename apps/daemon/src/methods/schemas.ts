import { isUuid } from '@raidkit/core';
import { z } from 'zod';

/** Unsigned 32-bit and 64-bit numbers, as SPDK's decoders take them; 64-bit ones only as far as numbers are exact. */
export const u32 = z.int().min(0).max(0xffff_ffff);
export const u64 = z.int().min(0);
export const i32 = z.int().min(-0x8000_0000).max(0x7fff_ffff);
export const uuid = z.string().refine(isUuid, 'a uuid: 8-4-4-4-12 hexadecimal digits');
/** A lone surrogate has no UTF-8: a name with one could be listed, and not asked for. */
export const name = z.string().refine((text) => !/\p{Surrogate}/u.test(text), 'valid Unicode, without lone surrogates');

const anyJson = z.json();

/** Whatever JSON has. (The schema of `z.json()` refers to itself, which the document of `rpc.discover` has no place for.) */
export const json = z.unknown().refine((value) => anyJson.safeParse(value).success, { error: 'a value that JSON has' });
