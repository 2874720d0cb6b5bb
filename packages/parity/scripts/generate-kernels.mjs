// Prints src/kernels-wasm-binary.ts: node scripts/generate-kernels.mjs > src/kernels-wasm-binary.ts
// Every kernel has a loop over whole blocks of vectors and a loop over the bytes that are left.
import { assemble, block, br_if, func, i32, i32x4, i64, i64x2, i8x16, loop, ret, v128, when } from './wasm-assembler.mjs';

const range = (count) => Array.from({ length: count }, (_, index) => index);
const sourceNames = (count) => range(count).map((index) => `s${index}`);

/**
 * The two loops. `pointers` advance together, the first of them up to its own start + `length`; `vectors(offset)` handles 16
 * bytes at that offset from the pointers, `bytes()` one byte. Needs the i32 local `end`.
 */
function overRange(f, pointers, blockBytes, vectors, bytes) {
  const [lead] = pointers;
  const advance = (by) => pointers.map((pointer) => f.set(pointer, i32.add(f.get(pointer), i32.const(by)))).flat();
  const whileBelowEnd = (by, body) =>
    block(br_if(0, isAtEnd()), loop(...body, advance(by), br_if(0, i32.lt_u(f.get(lead), f.get('end')))));
  // Pointers and lengths stay below 2^32, so that no sum wraps.
  const isAtEnd = () => i32.ge_u(f.get(lead), f.get('end'));
  return [
    f.set('end', i32.add(f.get(lead), i32.and(f.get('length'), i32.const(-blockBytes)))),
    whileBelowEnd(blockBytes, vectors(range(blockBytes / 16).map((unit) => unit * 16))),
    f.set('end', i32.add(f.get('end'), i32.and(f.get('length'), i32.const(blockBytes - 1)))),
    whileBelowEnd(1, bytes()),
  ].flat();
}

/** d = s0 ^ s1 ^ ... */
function xor(count) {
  const sources = sourceNames(count);
  return func(`xor${count}`, ['d', ...sources, 'length'], { locals: { end: 'i32' } }, (f) => {
    const sum = (type, load, offset) => sources.map((s) => load(offset, f.get(s))).reduce((a, b) => type.xor(a, b));
    return overRange(
      f,
      ['d', ...sources],
      64,
      (offsets) => offsets.map((offset) => v128.store(offset, f.get('d'), sum(v128, v128.load, offset))),
      () => [i32.store8(0, f.get('d'), sum(i32, i32.load8_u, 0))],
    );
  });
}

/** P and Q by Horner's rule from the last source down: q = 2 q ^ s. With `hasMore`, p and q hold what the later sources gave. */
function pq(name, count, hasMore) {
  const sources = sourceNames(count);
  const locals = { end: 'i32', x: 'i32', y: 'i32', z: 'i32', s: 'v128', p0: 'v128', q0: 'v128', p1: 'v128', q1: 'v128' };
  return func(name, ['p', 'q', ...sources, 'length'], { locals }, (f) => {
    const doubled = (q) =>
      v128.xor(i8x16.add(f.get(q), f.get(q)), v128.and(i8x16.lt_s(f.get(q), v128.const(0)), v128.const(0x1d)));
    const start = (set, get) => (hasMore ? get() : set());
    const vectors = (offsets) => [
      ...offsets.flatMap((offset, unit) =>
        start(
          () => [f.set(`p${unit}`, f.tee(`q${unit}`, v128.load(offset, f.get(sources.at(-1)))))],
          () => [f.set(`p${unit}`, v128.load(offset, f.get('p'))), f.set(`q${unit}`, v128.load(offset, f.get('q')))],
        ),
      ),
      ...later(sources).flatMap((source) =>
        offsets.flatMap((offset, unit) => [
          f.set('s', v128.load(offset, f.get(source))),
          f.set(`p${unit}`, v128.xor(f.get(`p${unit}`), f.get('s'))),
          f.set(`q${unit}`, v128.xor(doubled(`q${unit}`), f.get('s'))),
        ]),
      ),
      ...offsets.flatMap((offset, unit) => [
        v128.store(offset, f.get('p'), f.get(`p${unit}`)),
        v128.store(offset, f.get('q'), f.get(`q${unit}`)),
      ]),
    ];
    const later = (all) => (hasMore ? all : all.slice(0, -1)).toReversed();
    // x, y, z: p, q and the source's byte.
    const doubledByte = () =>
      i32.xor(i32.shl(f.get('y'), i32.const(1)), i32.mul(i32.shr_u(f.get('y'), i32.const(7)), i32.const(0x11d)));
    const bytes = () => [
      ...start(
        () => [f.set('x', f.tee('y', i32.load8_u(0, f.get(sources.at(-1)))))],
        () => [f.set('x', i32.load8_u(0, f.get('p'))), f.set('y', i32.load8_u(0, f.get('q')))],
      ),
      ...later(sources).flatMap((source) => [
        f.set('z', i32.load8_u(0, f.get(source))),
        f.set('x', i32.xor(f.get('x'), f.get('z'))),
        f.set('y', i32.xor(doubledByte(), f.get('z'))),
      ]),
      i32.store8(0, f.get('p'), f.get('x')),
      i32.store8(0, f.get('q'), f.get('y')),
    ];
    return overRange(f, ['p', 'q', ...sources], 32, vectors, bytes);
  });
}

/** d ^= c * s. The row of c holds its products with the low and with the high half of a byte, so a product is two look-ups. */
function gfMulInto() {
  const locals = { end: 'i32', x: 'i32', low: 'v128', high: 'v128', v: 'v128' };
  return func('gfMulInto', ['d', 's', 'row', 'length'], { locals }, (f) => {
    const vectorProduct = () =>
      v128.xor(
        i8x16.swizzle(f.get('low'), v128.and(f.get('v'), v128.const(0x0f))),
        i8x16.swizzle(f.get('high'), i8x16.shr_u(f.get('v'), i32.const(4))),
      );
    const byteProduct = () =>
      i32.xor(
        i32.load8_u(0, i32.add(f.get('row'), i32.and(f.get('x'), i32.const(15)))),
        i32.load8_u(16, i32.add(f.get('row'), i32.shr_u(f.get('x'), i32.const(4)))),
      );
    return [
      f.set('low', v128.load(0, f.get('row'))),
      f.set('high', v128.load(16, f.get('row'))),
      ...overRange(
        f,
        ['d', 's'],
        64,
        (offsets) =>
          offsets.flatMap((offset) => [
            f.set('v', v128.load(offset, f.get('s'))),
            v128.store(offset, f.get('d'), v128.xor(v128.load(offset, f.get('d')), vectorProduct())),
          ]),
        () => [
          f.set('x', i32.load8_u(0, f.get('s'))),
          i32.store8(0, f.get('d'), i32.xor(i32.load8_u(0, f.get('d')), byteProduct())),
        ],
      ),
    ];
  });
}

/** 1 unless a block or byte differs: `vector(offset)` is not all zero, or `byte()` is not. */
function search(name, pointers, vector, byte) {
  return func(name, [...pointers, 'length'], { result: 'i32', locals: { end: 'i32' } }, (f) => [
    ...overRange(
      f,
      pointers,
      64,
      (offsets) => [
        when(v128.any_true(offsets.map((offset) => vector(f, offset)).reduce((a, b) => v128.or(a, b))), ret(i32.const(0))),
      ],
      () => [when(byte(f), ret(i32.const(0)))],
    ),
    ...i32.const(1),
  ]);
}

/** Eight bytes a step. Table k holds the effect of a byte that k bytes follow. */
function crc32c() {
  return func(
    'crc32c',
    ['a', 'length', 'tables', 'crc'],
    { result: 'i32', locals: { end: 'i32', x: 'i32', y: 'i32' } },
    (f) => {
      const lookUp = (table, byte) =>
        i32.load(table * 1024, i32.add(f.get('tables'), i32.shl(i32.and(byte, i32.const(255)), i32.const(2))));
      const eightBytes = () => [
        f.set('x', i32.xor(i32.load(0, f.get('a')), f.get('crc'))),
        f.set('y', i32.load(4, f.get('a'))),
        f.set(
          'crc',
          range(8)
            .map((byte) => lookUp(7 - byte, i32.shr_u(f.get(byte < 4 ? 'x' : 'y'), i32.const((byte % 4) * 8))))
            .reduce((a, b) => i32.xor(a, b)),
        ),
      ];
      const oneByte = () => [
        f.set(
          'crc',
          i32.xor(i32.shr_u(f.get('crc'), i32.const(8)), lookUp(0, i32.xor(f.get('crc'), i32.load8_u(0, f.get('a'))))),
        ),
      ];
      return [...overRange(f, ['a'], 8, eightBytes, oneByte), ...f.get('crc')];
    },
  );
}

/**
 * Sums of blocks of 4 KiB. A block is pairs of vectors; of each pair the key is added to both, lane by lane, and the lanes x and
 * y of the two are multiplied: the sum over all of (x + 2^32) (y + 2^32), modulo 2^64. That is, over x y, and 2^32 (x + y) (`l0`,
 * `l1`). `tail` takes the sum of a block from local `h`.
 */
function blockSums(name, result, tail, last) {
  const accumulators = ['p0', 'p1', 'p2', 'p3'];
  const linear = ['l0', 'l1'];
  const vectors = [...accumulators, ...linear, 'x', 'y'].map((local) => [local, 'v128']);
  const locals = { ...Object.fromEntries(vectors), h: 'i64', number: 'i64', i: 'i32', k: 'i32', end: 'i32' };
  return func(name, ['sums', 'a', 'count', 'key', 'low', 'high'], { result, locals }, (f) => {
    const advance = (pointer, by) => f.set(pointer, i32.add(f.get(pointer), i32.const(by)));
    const accumulate = (type, local, value) => f.set(local, type.add(f.get(local), value));
    const pair = (index) => {
      const [offset, low, high] = [index * 32, accumulators[index * 2], accumulators[index * 2 + 1]];
      return [
        f.set('x', i32x4.add(v128.load(offset, f.get('a')), v128.load(offset, f.get('k')))),
        f.set('y', i32x4.add(v128.load(offset + 16, f.get('a')), v128.load(offset + 16, f.get('k')))),
        accumulate(i64x2, low, i64x2.extmul_low_i32x4_u(f.get('x'), f.get('y'))),
        accumulate(i64x2, high, i64x2.extmul_high_i32x4_u(f.get('x'), f.get('y'))),
        accumulate(i32x4, linear[index], i32x4.add(f.get('x'), f.get('y'))),
      ].flat();
    };
    // The block's number, as one more pair of words, with the key's last two.
    const shifted = (word, keyOffset) =>
      i64.or(i64.extend_i32_u(i32.add(word, i32.load(keyOffset, f.get('key')))), i64.shl(i64.const(1), i64.const(32)));
    const sum = () => {
      const lanes = accumulators.reduce((total, local) => (total ? i64x2.add(total, f.get(local)) : f.get(local)), null);
      const words = i32x4.add(f.get('l0'), f.get('l1'));
      return [
        f.set('x', lanes),
        f.set('y', words),
        f.set(
          'h',
          i64.add(
            i64.add(i64x2.extract_lane(0, f.get('x')), i64x2.extract_lane(1, f.get('x'))),
            i64.add(
              i64.shl(
                i64.extend_i32_u(
                  range(4)
                    .map((n) => i32x4.extract_lane(n, f.get('y')))
                    .reduce((a, b) => i32.add(a, b)),
                ),
                i64.const(32),
              ),
              i64.mul(
                shifted(i32.wrap_i64(f.get('number')), BLOCK_BYTES),
                shifted(i32.wrap_i64(i64.shr_u(f.get('number'), i64.const(32))), BLOCK_BYTES + 4),
              ),
            ),
          ),
        ),
        // 0 is no sum.
        f.set('h', i64.or(f.get('h'), i64.extend_i32_u(i64.eqz(f.get('h'))))),
      ].flat();
    };
    return [
      f.set('number', i64.or(i64.shl(i64.extend_i32_u(f.get('high')), i64.const(32)), i64.extend_i32_u(f.get('low')))),
      block(
        br_if(0, i32.ge_u(f.get('i'), f.get('count'))),
        loop(
          ...[...accumulators, ...linear].map((local) => f.set(local, v128.const(0))),
          f.set('k', f.get('key')),
          f.set('end', i32.add(f.get('a'), i32.const(BLOCK_BYTES))),
          loop(
            ...range(2).map((index) => pair(index)),
            advance('a', 64),
            advance('k', 64),
            br_if(0, i32.ne(f.get('a'), f.get('end'))),
          ),
          sum(),
          tail(f),
          f.set('number', i64.add(f.get('number'), i64.const(1))),
          advance('sums', 8),
          advance('i', 1),
          br_if(0, i32.lt_u(f.get('i'), f.get('count'))),
        ),
      ),
      last(f),
    ].flat();
  });
}

const BLOCK_BYTES = 4096;

const binary = assemble([
  ...[2, 3, 4, 5, 6, 7, 8].map((count) => xor(count)),
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((count) => pq(`pq${count}`, count, false)),
  pq('pqMore8', 8, true),
  gfMulInto(),
  search(
    'isZero',
    ['a'],
    (f, offset) => v128.load(offset, f.get('a')),
    (f) => i32.load8_u(0, f.get('a')),
  ),
  search(
    'equal',
    ['a', 'b'],
    (f, offset) => v128.xor(v128.load(offset, f.get('a')), v128.load(offset, f.get('b'))),
    (f) => i32.ne(i32.load8_u(0, f.get('a')), i32.load8_u(0, f.get('b'))),
  ),
  crc32c(),
  blockSums(
    'blockSums',
    null,
    (f) => i64.store(0, f.get('sums'), f.get('h')),
    () => [],
  ),
  blockSums(
    'wrongBlock',
    'i32',
    (f) => when(i64.ne(f.get('h'), i64.load(0, f.get('sums'))), ret(f.get('i'))),
    (f) => f.get('count'),
  ),
]);

const lines = Buffer.from(binary)
  .toString('base64')
  .match(/.{1,116}/g);
console.log(`// Made by scripts/generate-kernels.mjs; do not edit. ${binary.length} bytes.
export const KERNELS_WASM_BASE64 =
${lines.map((line) => `  '${line}'`).join(' +\n')};`);
