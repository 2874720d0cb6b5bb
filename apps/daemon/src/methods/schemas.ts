import { isUuid } from '@raidkit/core';
import { z } from 'zod';

/** Integers as SPDK's decoders accept them; 64-bit ones only as far as JavaScript's numbers are exact. */
export const u32 = z.int().min(0).max(0xffff_ffff);
export const u64 = z.int().min(0);
export const i32 = z.int().min(-0x8000_0000).max(0x7fff_ffff);
export const uuid = z.string().refine(isUuid, 'a uuid: 8-4-4-4-12 hexadecimal digits');
/** A name. A lone surrogate has no UTF-8 form: a device with such a name would be listed, but could not be asked for. */
export const name = z.string().refine((text) => !/\p{Surrogate}/u.test(text), 'valid Unicode, without lone surrogates');

const anyJson = z.json();

/** Any JSON value. (The schema of `z.json()` refers to itself, which `rpc.discover`'s document cannot express.) */
export const json = z.unknown().refine((value) => anyJson.safeParse(value).success, { error: 'a JSON value' });
