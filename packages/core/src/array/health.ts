import type { ArrayView } from './array-view.js';

/** How an array is, for people and monitors. */
export type Health =
  | 'optimal'
  | 'degraded'
  | 'rebuilding'
  | 'resyncing'
  | 'configuring'
  | 'offline'
  /** It cannot start; or it is online, and flushes fail. The reason says why. */
  | 'failed';

/**
 * The array's health, the worst first, and the reason where it has failed, has blocks that cannot be read, or has been claimed by
 * a device that its members do not know; null where nothing is known to be wrong.
 */
export function healthOf(array: ArrayView): { health: Health; reason: string | null } {
  const { state, startError } = array;
  if (state !== 'online')
    return { health: startError === null ? state : 'failed', reason: startError ?? describeStrangers(array) };
  const unstable = array.slots.filter((slot) => slot.isInSync && slot.hasLostFlush);
  if (unstable.length > 0) {
    const names = unstable.map((slot) => `slot ${slot.index} (${String(slot.name)})`).join(', ');
    const reason = `a flush failed on ${names}, and the array cannot do without it: what was written before may be lost; flushes fail until the array is stopped`;
    return { health: 'failed', reason };
  }
  const reason = startError ?? describeBadBlocks(array) ?? describeStrangers(array);
  if (array.slots.some(({ isRebuilding }) => isRebuilding)) return { health: 'rebuilding', reason };
  if (array.numInSync < array.numSlots) return { health: 'degraded', reason };
  const isResyncing = array.process?.type === 'resync' || array.process?.type === 'resum';
  return { health: isResyncing ? 'resyncing' : 'optimal', reason };
}

interface WithStrangers<S> extends Pick<ArrayView, 'registry' | 'slots'> {
  readonly strangers: ReadonlyMap<string, S>;
}

/** Strangers to the array's members that are there, by uuid. */
export function strangersThere<S>({ registry, strangers }: WithStrangers<S>): ReadonlyMap<string, S> {
  return new Map([...strangers].filter(([uuid]) => registry.get(uuid)?.state === 'registered'));
}

/** Those of them that have a slot of the array's: what they say of it may matter. */
export function rivalsOf<S>(array: WithStrangers<S>): readonly S[] {
  const hasSlot = (uuid: string): boolean => array.slots.some(({ recordedUuid }) => recordedUuid === uuid);
  return [...strangersThere(array)].filter(([uuid]) => hasSlot(uuid)).map(([, stranger]) => stranger);
}

/** The rivals, with what a person can do about them; null if there are none. */
export function describeStrangers(array: ArrayView): string | null {
  const rivals = rivalsOf(array);
  return rivals.length === 0 ? null : rivals.map(({ message }) => message).join('; ');
}

/** Which members lack blocks that could not be worked out; null if none does. */
function describeBadBlocks({ badBlocks, slots }: ArrayView): string | null {
  const listed = slots
    .filter(({ index, isConfigured }) => isConfigured && badBlocks.countOf(index) > 0)
    .map(({ index, name }) => {
      const [first] = badBlocks.rangesOf(index);
      return `${badBlocks.countOf(index)} of slot ${index} (${String(name)}), the first at block ${first?.start ?? 0} of its data`;
    });
  if (listed.length === 0) return null;
  return `bad blocks: ${listed.join('; ')}. What belongs there is not known: reads that need them answer EIO until they are written`;
}
