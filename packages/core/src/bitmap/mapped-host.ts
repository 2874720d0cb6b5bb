import type { SuperblockStore } from '../format/store.js';
import type { RaidGeometry } from '../level/context.js';
import type { BitmapHost } from './host.js';
import type { WriteIntentBitmap } from './write-intent-bitmap.js';

/** An array with its bitmap, or one whose bitmap has yet to be loaded. */
export interface MappedHost extends BitmapHost {
  readonly store: SuperblockStore | null;
  readonly bitmap: WriteIntentBitmap | null;
  /** Size of the array in blocks as its superblock has it; null for a new array. */
  readonly recordedBlocks: number | null;
  readonly geometry: RaidGeometry;
  /** Whether members' blocks have checksums. */
  readonly hasIntegrity: boolean;
}
