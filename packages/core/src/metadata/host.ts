import type { ExtensionHeader, ExtensionStore, MapLife, SumsHeader } from '../format/store.js';
import type { ReadPolicy } from '../format/read-policy.js';
import type { RaidGeometry } from '../level/context.js';
import type { RaidLevel } from '../level/level.js';
import type { RaidModule } from '../level/module.js';
import type { MembersHost } from '../members/host.js';

/**
 * Whose contents a superblock update says are journaled, in ascending order, and in which epoch (its sequence number; 0 if none
 * is). No slots beside an epoch: all slots without a member, in headers from before slots were recorded.
 */
export interface JournalPlan {
  readonly slots: readonly number[];
  readonly epoch: number;
}

export const noJournal: JournalPlan = { slots: [], epoch: 0 };

/** The journal, for a superblock update. */
export interface JournalRounds {
  readonly mustSettle: boolean;
  settle(): Promise<void>;
  /** Null while every member is recorded as current. */
  readonly inForce: JournalPlan | null;
  plan(seqNumber: number): JournalPlan;
  adopt(plan: JournalPlan): void;
}

/** What the process in progress has to say in a header. */
export interface ProcessHeader {
  readonly type: NonNullable<ExtensionHeader['process']>['type'];
  readonly elapsedSec: number;
}

/** An array, to be recorded on its members. */
export interface MetadataHost extends MembersHost, MapLife {
  readonly recordedName: string;
  readonly module: RaidModule;
  /** Null until the level has been started. */
  readonly level: RaidLevel | null;
  /** What core goes by; null until the level has been started. */
  readonly currentGeometry: RaidGeometry | null;
  /** 0 where the level has no strips. */
  readonly stripSizeBlocks: number;
  readonly numBlocks: number;
  readonly options: Readonly<Record<string, unknown>>;
  readonly readPolicy: ReadPolicy;
  /** See {@link ExtensionHeader}. */
  readonly outerUuid: string | null;
  /** What its members carry besides superblocks; undefined for nothing. */
  readonly extension: ExtensionStore | undefined;
  readonly isReadOnly: boolean;
  /** What would be recorded is true: the level has been started, and the bitmap is loaded, or, if it is a new one, on the members. */
  readonly isRecordable: boolean;
  readonly process: ProcessHeader | null;
  readonly journal: JournalRounds | null;
  /** The array's checksums; null if it has none. */
  readonly sums: { header(): SumsHeader | null } | null;
  /** See {@link ExtensionHeader}. */
  readonly wantsIntegrity: boolean;
  /** What is known to be damaged of these blocks of members is on the list of bad blocks, on stable media, when this resolves. */
  recordDamage(memberOffset: number, numBlocks: number): Promise<void>;
  readonly bitmap: { readonly regionBlocks: number; readonly states: { readonly length: number } } | null;
}
