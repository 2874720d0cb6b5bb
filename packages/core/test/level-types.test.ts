import type {
  CopiesLevel,
  CopiesModule,
  JournaledLevel,
  JournaledModule,
  LevelContext,
  NullPayloadRequest,
  ParityLevel,
  PlainLevel,
  PlainModule,
  ReadRequest,
  ReconstructRequest,
  RwRequest,
  UnmapRequest,
  WriteRequest,
} from '@raidkit/core';
import { expectTypeOf, it } from 'vitest';

/* What the types of the level interface forbid: seen by the compiler, with the type check of this repository. */

it('a module’s declarations and its level go together', () => {
  expectTypeOf<Omit<CopiesModule, 'maxMissing'>>().not.toExtend<CopiesModule>();
  expectTypeOf<PlainLevel>().not.toExtend<ReturnType<CopiesModule['start']>>();
  expectTypeOf<ParityLevel>().not.toExtend<ReturnType<JournaledModule['start']>>();
  expectTypeOf<JournaledLevel>().toExtend<ReturnType<JournaledModule['start']>>();
  expectTypeOf<Omit<CopiesLevel, 'submitProcessRequest'>>().not.toExtend<CopiesLevel>();
  expectTypeOf<Extract<keyof PlainModule, 'maxMissing' | 'canRun' | 'journal'>>().toBeNever();
  expectTypeOf<Extract<keyof CopiesModule, 'journal'>>().toBeNever();
  expectTypeOf<Parameters<PlainModule['start']>[0]>().toEqualTypeOf<LevelContext>();
  expectTypeOf<Extract<keyof LevelContext, 'isInconsistent' | 'markInSync'>>().toBeNever();
});

it('a request has what its kind has', () => {
  expectTypeOf<Extract<keyof ReadRequest | keyof WriteRequest, 'trimmed'>>().toBeNever();
  expectTypeOf<Extract<keyof ReadRequest, 'journal' | 'zeroPart'>>().toBeNever();
  expectTypeOf<Extract<keyof WriteRequest, 'writesBack'>>().toBeNever();
  expectTypeOf<Extract<keyof ReconstructRequest, 'writePart' | 'requestRepair'>>().toBeNever();
  expectTypeOf<Extract<keyof UnmapRequest, 'addr'>>().toBeNever();
  // A union has only what all of its kinds have, until `kind` has been asked.
  expectTypeOf<Extract<keyof RwRequest, 'slot' | 'journal' | 'writeBack'>>().toBeNever();
  expectTypeOf<Extract<keyof NullPayloadRequest, 'unmapPart' | 'trimmed'>>().toBeNever();
});

it('a level cannot count, release or end by hand', () => {
  expectTypeOf<Extract<keyof RwRequest, 'partsLeft' | 'complete' | 'settle' | 'judge' | 'unlock'>>().toBeNever();
});
