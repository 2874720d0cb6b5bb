import type { BdevInfo, Configuration, NbdExport, RaidArrayInfo, Spare } from '@raidkit/client';

/** What the daemon had when it was asked. Its parts were asked for together, but are not of one moment. */
export interface Snapshot {
  arrays: RaidArrayInfo[];
  bdevs: BdevInfo[];
  spares: Spare[];
  exports: NbdExport[];
  configuration: Configuration;
}
