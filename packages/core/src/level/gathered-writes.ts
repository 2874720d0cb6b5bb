/** Writes of users that came to the level together with others; counted since the array was made known. */
export interface GatheredWrites {
  /** Writes of users. */
  requests: number;
  /** What the level was handed for them. */
  operations: number;
  /** Of these, the ones that failed, so that their writes were made one by one. */
  failed: number;
}
