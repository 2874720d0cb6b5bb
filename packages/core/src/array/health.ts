import type { ArrayView } from './array-view.js';

/** Health of an array, for people and monitoring. */
export type Health =
  | 'optimal'
  | 'degraded'
  | 'rebuilding'
  | 'resyncing'
  | 'configuring'
  | 'offline'
  /** The array cannot start, or it is online and flushes fail. `reason` says why. */
  | 'failed';

/**
 * Returns the array's health; if several states apply, the worst. `reason` is set if the array has failed, has bad blocks, or
 * there is a device whose superblock claims to be a member but is unknown to the array's members; else it is null.
 */
export function healthOf(array: ArrayView): { health: Health; reason: string | null } {
  const { state, startError } = array;
  if (state !== 'online')
    return { health: startError === null ? state : 'failed', reason: startError ?? describeStrangers(array) };
  const unstable = array.slots.filter((slot) => slot.isInSync && slot.hasLostFlush);
  if (unstable.length > 0) {
    const names = unstable.map((slot) => `slot ${slot.index} (${String(slot.name)})`).join(', ');
    const reason = `a flush failed on ${names}, and the array cannot do without it: earlier writes may be lost; flushes fail until the array is stopped`;
    return { health: 'failed', reason };
  }
  const reason = startError ?? describeBadBlocks(array) ?? describeStrangers(array);
  if (array.slots.some(({ isRebuilding }) => isRebuilding)) return { health: 'rebuilding', reason };
  if (array.numInSync < array.numSlots) return { health: 'degraded', reason };
  const refusal = describeRefusal(array);
  if (refusal !== null) return { health: 'resyncing', reason: startError ?? refusal };
  const isResyncing = array.process?.type === 'resync' || array.process?.type === 'resum';
  return { health: isResyncing ? 'resyncing' : 'optimal', reason };
}

interface WithStrangers<S> extends Pick<ArrayView, 'registry' | 'slots'> {
  readonly strangers: ReadonlyMap<string, S>;
}

/** Returns the strangers, by uuid, whose devices are present. */
export function strangersThere<S>({ registry, strangers }: WithStrangers<S>): ReadonlyMap<string, S> {
  return new Map([...strangers].filter(([uuid]) => registry.get(uuid)?.state === 'registered'));
}

/** Returns the strangers that are present and have a slot in the array, so that their records may matter. */
export function rivalsOf<S>(array: WithStrangers<S>): readonly S[] {
  const hasSlot = (uuid: string): boolean => array.slots.some(({ recordedUuid }) => recordedUuid === uuid);
  return [...strangersThere(array)].filter(([uuid]) => hasSlot(uuid)).map(([, stranger]) => stranger);
}

/** Returns a message about these devices and what an operator can do; null if there are none. */
export function describeStrangers(array: ArrayView): string | null {
  const rivals = rivalsOf(array);
  return rivals.length === 0 ? null : rivals.map(({ message }) => message).join('; ');
}

/** Returns a message about members that refuse writes of a resync, which is tried again; null if there are none. */
function describeRefusal({ slots }: ArrayView): string | null {
  const refusing = slots.filter(({ isInSync, refusedResyncs }) => isInSync && refusedResyncs > 0);
  if (refusing.length === 0) return null;
  const names = refusing.map(({ index, name }) => `slot ${index} (${String(name)})`).join(', ');
  return `a write of the resync failed on ${names}: the resync is tried again, and the member is kept until then, because blocks of it could not be reconstructed`;
}

/** Returns a message about members with bad blocks; null if there are none. */
function describeBadBlocks({ badBlocks, slots }: ArrayView): string | null {
  const listed = slots
    .filter(({ index, isConfigured }) => isConfigured && badBlocks.countOf(index) > 0)
    .map(({ index, name }) => {
      const [first] = badBlocks.rangesOf(index);
      return `${badBlocks.countOf(index)} of slot ${index} (${String(name)}), the first at block ${first?.start ?? 0} of its data`;
    });
  if (listed.length === 0) return null;
  return `bad blocks: ${listed.join('; ')}. Their data is lost: reads that need them return EIO until they are written`;
}
