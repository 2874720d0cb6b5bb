import type { BdevInfo, Configuration, DiskHealth, NbdExport, RaidArrayInfo, Spare } from '@raidkit/client';

/** State of the daemon. Its parts were requested together, but are not from the same moment. */
export interface Snapshot {
  arrays: RaidArrayInfo[];
  bdevs: BdevInfo[];
  spares: Spare[];
  exports: NbdExport[];
  configuration: Configuration;
  /** Absent if it was not requested. */
  diskHealth?: DiskHealth;
}

/** Path of a bdev's file or block device; null for other kinds. */
export function pathOf(bdev: BdevInfo | undefined): string | null {
  const aio = bdev?.driver_specific.aio;
  if (typeof aio !== 'object' || aio === null || !('filename' in aio)) return null;
  return typeof aio.filename === 'string' ? aio.filename : null;
}
