// Writes WebAssembly modules that import one memory and export functions. An instruction is an array of bytes; functions
// below are named like the instructions of the text format, with operands first as in its folded form.

const uleb = (value) => {
  const bytes = [];
  do {
    bytes.push((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    value >>>= 7;
  } while (value > 0);
  return bytes;
};

const sleb = (value) => {
  for (const bytes = []; ; value >>= 7) {
    const isLast = value >> 6 === 0 || value >> 6 === -1;
    bytes.push((value & 0x7f) | (isLast ? 0 : 0x80));
    if (isLast) return bytes;
  }
};

const text = (string) => [...uleb(string.length), ...Buffer.from(string, 'ascii')];
const list = (items) => [...uleb(items.length), ...items.flat()];
const section = (id, bytes) => [id, ...uleb(bytes.length), ...bytes];

const TYPES = { i32: 0x7f, i64: 0x7e, v128: 0x7b };

// An instruction without immediates that takes its operands from the stack.
const plain =
  (...opcode) =>
  (...operands) => [...operands.flat(), ...opcode];
const simd = (opcode) => plain(0xfd, ...uleb(opcode));
// Loads and stores: alignment is a hint, 0 promises nothing.
const memory =
  (...opcode) =>
  (offset, ...operands) => [...operands.flat(), ...opcode, 0, ...uleb(offset)];

export const i32 = {
  const: (value) => [0x41, ...sleb(value)],
  load: memory(0x28),
  load8_u: memory(0x2d),
  store8: memory(0x3a),
  lt_u: plain(0x49),
  ne: plain(0x47),
  ge_u: plain(0x4f),
  add: plain(0x6a),
  and: plain(0x71),
  xor: plain(0x73),
  shl: plain(0x74),
  shr_u: plain(0x76),
  mul: plain(0x6c),
  wrap_i64: plain(0xa7),
};

/** Constants are 32-bit numbers; larger ones are made by shifting. */
export const i64 = {
  const: (value) => [0x42, ...sleb(value)],
  load: memory(0x29),
  store: memory(0x37),
  eqz: plain(0x50),
  ne: plain(0x52),
  add: plain(0x7c),
  mul: plain(0x7e),
  or: plain(0x84),
  shl: plain(0x86),
  shr_u: plain(0x88),
  extend_i32_u: plain(0xad),
};

export const v128 = {
  load: memory(0xfd, 0x00),
  store: memory(0xfd, 0x0b),
  /** The same byte sixteen times. */
  const: (byte) => [0xfd, 0x0c, ...Array(16).fill(byte)],
  and: simd(0x4e),
  or: simd(0x50),
  xor: simd(0x51),
  any_true: simd(0x53),
};

// Of a vector one lane, numbered from the lowest.
const lane = (opcode) => (number, operand) => [...operand, 0xfd, ...uleb(opcode), number];

export const i32x4 = { add: simd(0xae), extract_lane: lane(0x1b) };

export const i64x2 = {
  add: simd(0xce),
  /** Products of 64 bits of the two lower, or the two upper, 32-bit lanes. */
  extmul_low_i32x4_u: simd(0xde),
  extmul_high_i32x4_u: simd(0xdf),
  extract_lane: lane(0x1d),
};

export const i8x16 = { swizzle: simd(0x0e), lt_s: simd(0x25), shr_u: simd(0x6d), add: simd(0x6e) };

const VOID = 0x40;
export const block = (...body) => [0x02, VOID, ...body.flat(), 0x0b];
export const loop = (...body) => [0x03, VOID, ...body.flat(), 0x0b];
export const when = (condition, ...body) => [...condition, 0x04, VOID, ...body.flat(), 0x0b];
/** Leaves `depth` blocks, or repeats when the outermost of them is a loop. */
export const br_if = (depth, condition) => [...condition, 0x0d, ...uleb(depth)];
export const ret = (value) => [...value, 0x0f];

/**
 * A function. `params` are i32 and named; `locals` maps a name to a type; `body` gets `{ get, set, tee }` over those names
 * and returns instructions.
 */
export function func(name, params, { result = null, locals = {} }, body) {
  const names = [...params, ...Object.keys(locals)];
  const index = (local) => {
    const found = names.indexOf(local);
    if (found < 0) throw new Error(`${name} has no local ${local}`);
    return uleb(found);
  };
  const access = {
    get: (local) => [0x20, ...index(local)],
    set: (local, value) => [...value, 0x21, ...index(local)],
    tee: (local, value) => [...value, 0x22, ...index(local)],
  };
  const code = [...list(Object.values(locals).map((type) => [1, TYPES[type]])), ...body(access).flat(), 0x0b];
  return {
    name,
    type: [0x60, ...list(params.map(() => [TYPES.i32])), ...list(result === null ? [] : [[TYPES[result]]])],
    code: [...uleb(code.length), ...code],
  };
}

/** The binary of a module with these functions that imports its memory as env.memory. */
export function assemble(functions) {
  const importedMemory = [...text('env'), ...text('memory'), 0x02, 0x00, 0x01];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, list(functions.map(({ type }) => type))),
    ...section(2, list([importedMemory])),
    ...section(3, list(functions.map((_, index) => uleb(index)))),
    ...section(7, list(functions.map(({ name }, index) => [...text(name), 0x00, ...uleb(index)]))),
    ...section(10, list(functions.map(({ code }) => code))),
  ]);
}
