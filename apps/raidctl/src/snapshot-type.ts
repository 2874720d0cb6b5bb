import type { BdevInfo, Configuration, DiskHealth, NbdExport, RaidArrayInfo, Spare } from '@raidkit/client';

/** What the daemon had when it was asked. Its parts were asked for together, but are not of one moment. */
export interface Snapshot {
  arrays: RaidArrayInfo[];
  bdevs: BdevInfo[];
  spares: Spare[];
  exports: NbdExport[];
  configuration: Configuration;
  /** Absent: it was not asked for. */
  diskHealth?: DiskHealth;
}

/** Path of the file or block device that a bdev is over; null for one of another kind. */
export function pathOf(bdev: BdevInfo | undefined): string | null {
  const aio = bdev?.driver_specific.aio;
  if (typeof aio !== 'object' || aio === null || !('filename' in aio)) return null;
  return typeof aio.filename === 'string' ? aio.filename : null;
}
