import type { ExtensionHeader, ExtensionStore, MapLife, SumsHeader } from '../format/store.js';
import type { ReadPolicy } from '../format/read-policy.js';
import type { RaidGeometry } from '../level/context.js';
import type { RaidLevel } from '../level/level.js';
import type { RaidModule } from '../level/module.js';
import type { MembersHost } from '../members/host.js';

/**
 * The journal that a superblock update records: the slots whose data is journaled, in ascending order, and the epoch (sequence
 * number of the first update with this journal; 0 if there is none). An epoch without slots means all slots without a member,
 * in headers from before the slots were recorded.
 */
export interface JournalPlan {
  readonly slots: readonly number[];
  readonly epoch: number;
}

export const noJournal: JournalPlan = { slots: [], epoch: 0 };

/** The journal, as used by a superblock update. */
export interface JournalRounds {
  readonly mustSettle: boolean;
  settle(): Promise<void>;
  /** Null while all members are recorded as current. */
  readonly inForce: JournalPlan | null;
  plan(seqNumber: number): JournalPlan;
  adopt(plan: JournalPlan): void;
}

/** The header's record of the process in progress. */
export interface ProcessHeader {
  readonly type: NonNullable<ExtensionHeader['process']>['type'];
  readonly elapsedSec: number;
}

/** An array whose state is recorded on its members. */
export interface MetadataHost extends MembersHost, MapLife {
  readonly recordedName: string;
  readonly module: RaidModule;
  /** Null until the level has been started. */
  readonly level: RaidLevel | null;
  /** The geometry in use; null until the level has been started. */
  readonly currentGeometry: RaidGeometry | null;
  /** 0 if the level has no strips. */
  readonly stripSizeBlocks: number;
  readonly numBlocks: number;
  readonly options: Readonly<Record<string, unknown>>;
  readonly readPolicy: ReadPolicy;
  /** See {@link ExtensionHeader}. */
  readonly outerUuid: string | null;
  /** The store's extension; undefined if the store has none. */
  readonly extension: ExtensionStore | undefined;
  readonly isReadOnly: boolean;
  /**
   * A record of the array would be correct: the level has been started, and the bitmap has been loaded or, if it is new,
   * written to the members.
   */
  readonly isRecordable: boolean;
  readonly process: ProcessHeader | null;
  readonly journal: JournalRounds | null;
  /** The array's checksums; null if it has none. */
  readonly sums: { header(): SumsHeader | null } | null;
  /** See {@link ExtensionHeader}. */
  readonly wantsIntegrity: boolean;
  /** Resolves when all known damage in these blocks of members is on the list of bad blocks, on stable media. */
  recordDamage(memberOffset: number, numBlocks: number): Promise<void>;
  readonly bitmap: { readonly regionBlocks: number; readonly states: { readonly length: number } } | null;
}
