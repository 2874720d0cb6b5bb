/* The part of `raidkit_get_arrays`' answer that the daemon itself uses. */

export interface ProcessState {
  type: string;
  paused: boolean;
  progress: { blocks: number };
  bytes_done: number;
  bytes_total: number;
  bytes_per_sec: number;
  eta_sec: number | null;
  mismatch_blocks: number;
}

export interface ProcessRecordState {
  type: string;
  started_at: number;
  seconds: number;
  /** Array block at which it began. */
  from_block: number;
  /** Array blocks that it has passed. */
  blocks: number;
  mismatch_blocks: number;
  error: string | null;
}

export interface MemberState {
  slot: number;
  name: string | null;
  state: string;
  read_errors: number;
  write_errors: number;
  repaired_blocks: number;
  checksum_errors: number;
  bad_blocks: number;
}

export interface ArrayState {
  name: string;
  uuid: string;
  raid_level: string;
  state: string;
  ext: {
    health: string;
    block_size: number;
    num_blocks: number;
    /** What its background process waits for; null if it does not wait. */
    waits_for: string | null;
    process: ProcessState | null;
    history: ProcessRecordState[];
    regions: {
      region_size: number;
      total: number;
      unwritten: number;
      dirty: number;
      out_of_sync: number;
      needs_resync: number;
    } | null;
    members: MemberState[];
  };
}
