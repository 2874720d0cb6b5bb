import type { History } from './histories.js';

/** A disk that is found: its slot, and which of the slot's images it has. */
export interface Arrival {
  slot: number;
  image: string;
}

/** A case: disks in the order in which they are found. */
export interface AssemblyCase {
  history: History;
  arrivals: Arrival[];
}

/** Number of slots up to which every combination is tried; with more, all but two members are present and current. */
const fullUpTo = 3;
/** Number of orders that are tried with four or more disks. */
const ordersOfMany = 6;

/** Generates the cases of a history: subsets, orders of arrival, and each disk's image. */
export function* assemblyCases(history: History, hasTornImages: boolean): Generator<AssemblyCase> {
  const { slots } = history;
  const choices = slots.map((images) => [...[...images.keys()].filter((id) => !isFine(id)), 'absent']);
  let count = 0;
  for (const pick of picks(choices, slots.length <= fullUpTo ? slots.length : 2)) {
    const there = pick.map((image, slot) => ({ slot, image })).filter(({ image }) => image !== 'absent');
    if (there.length === 0 || isUnknowable(history, there)) continue;
    const orders = permutations(there);
    const most = there.length > fullUpTo ? ordersOfMany : orders.length;
    for (let i = 0; i < most; i++) {
      const arrivals = orders[(count * 7 + i * 5) % orders.length];
      if (arrivals !== undefined) yield { history, arrivals };
    }
    count++;
  }
  if (hasTornImages) yield* tornCases(history);
  yield* twins(history);
}

/** Whether an old image is found and a blind one, so that nothing might show that the former is old. */
function isUnknowable({ slots }: History, arrivals: readonly Arrival[]): boolean {
  const isBlind = arrivals.some(({ slot, image }) => slots[slot]?.get(image)?.isBlind === true);
  return isBlind && arrivals.some(({ image }) => image === 'old');
}

/** A member whose last start was torn at each sector in turn, while the others are current, behind or absent. */
function* tornCases(history: History): Generator<AssemblyCase> {
  for (const [slot, images] of history.slots.entries()) {
    for (const image of images.keys()) {
      if (!isFine(image)) continue;
      for (const rest of ['current', 'behind', 'written', 'absent']) {
        const others = history.slots
          .map((_, other) => ({ slot: other, image: rest }))
          .filter((other) => other.slot !== slot && rest !== 'absent' && history.slots[other.slot]?.has(rest));
        yield { history, arrivals: [{ slot, image }, ...others] };
        if (others.length > 0) yield { history, arrivals: [...others, { slot, image }] };
      }
    }
  }
}

/** Two disks that claim to be the same member: another image of it is found earlier or later. */
function* twins(history: History): Generator<AssemblyCase> {
  const all = history.slots.map((images, slot): Arrival => ({ slot, image: firstOf(images) }));
  for (const [slot, images] of history.slots.entries()) {
    for (const image of images.keys()) {
      if (isFine(image)) continue;
      for (let at = 0; at <= all.length; at++)
        yield { history, arrivals: [...all.slice(0, at), { slot, image }, ...all.slice(at)] };
    }
  }
}

/** Images of which there are too many to be combined with everything. */
function isFine(image: string): boolean {
  return image.startsWith('torn ');
}

function firstOf(images: ReadonlyMap<string, unknown>): string {
  const [first] = images.keys();
  if (first === undefined) throw new RangeError('a slot without an image');
  return first;
}

/** Generates one choice per slot, of which at most `mostOthers` are not the slot's first one. */
function* picks(choices: readonly string[][], mostOthers: number): Generator<string[]> {
  const [own, ...rest] = choices;
  if (own === undefined) {
    yield [];
    return;
  }
  for (const [index, choice] of own.entries()) {
    if (index > 0 && mostOthers === 0) return;
    for (const others of picks(rest, index > 0 ? mostOthers - 1 : mostOthers)) yield [choice, ...others];
  }
}

function permutations<T>(list: readonly T[]): T[][] {
  if (list.length <= 1) return [[...list]];
  return list.flatMap((first, index) =>
    permutations([...list.slice(0, index), ...list.slice(index + 1)]).map((rest) => [first, ...rest]),
  );
}
