import { z } from 'zod';

/** Health that a disk reports. */
export interface DiskReport {
  /** `unknown` if the disk does not report it. */
  readonly verdict: 'good' | 'bad' | 'unknown';
  /** Why the verdict is not good; null if it is. */
  readonly reason: string | null;
  readonly model: string | null;
  readonly serial: string | null;
  readonly temperatureCelsius: number | null;
  readonly powerOnHours: number | null;
  /** NVMe only: percentage of its lifetime that is used, by the vendor's estimate; may exceed 100. */
  readonly percentageUsed: number | null;
  /** Media errors that the disk could not correct (NVMe), or sectors that it has replaced or has yet to replace (ATA). */
  readonly mediaErrors: number | null;
}

const count = z.number().optional();

/** The part of `smartctl --json` (format 1) that is used. */
const smartctlOutput = z.looseObject({
  smartctl: z.looseObject({ messages: z.array(z.looseObject({ string: z.string() })).optional() }).optional(),
  model_name: z.string().optional(),
  serial_number: z.string().optional(),
  smart_status: z.looseObject({ passed: z.boolean().optional() }).optional(),
  temperature: z.looseObject({ current: count }).optional(),
  power_on_time: z.looseObject({ hours: count }).optional(),
  nvme_smart_health_information_log: z
    .looseObject({ critical_warning: count, percentage_used: count, media_errors: count })
    .optional(),
  ata_smart_attributes: z
    .looseObject({ table: z.array(z.looseObject({ id: z.number(), raw: z.looseObject({ value: z.number() }) })).optional() })
    .optional(),
});

/** Bits of an NVMe disk's critical warning. */
const nvmeWarnings = [
  'its spare blocks are nearly used up',
  'its temperature is out of bounds',
  'it is not reliable any more',
  'it no longer accepts writes',
  'its backup of volatile memory has failed',
  'its persistent memory region is read-only or unreliable',
];
/** ATA attributes that count sectors which were replaced, are pending, or could not be corrected. */
const ataSectors: readonly number[] = [5, 197, 198];

/** Returns the report of a disk of which nothing is known. */
export function unknownReport(reason: string): DiskReport {
  return {
    verdict: 'unknown',
    reason,
    model: null,
    serial: null,
    temperatureCelsius: null,
    powerOnHours: null,
    percentageUsed: null,
    mediaErrors: null,
  };
}

/** Parses smartctl's output. Never throws: what it does not understand is unknown. */
export function readSmartReport(text: string): DiskReport {
  let output: z.infer<typeof smartctlOutput>;
  try {
    output = smartctlOutput.parse(JSON.parse(text));
  } catch {
    return unknownReport('smartctl printed something other than the expected JSON');
  }
  const nvme = output.nvme_smart_health_information_log;
  const sectors = output.ata_smart_attributes?.table?.filter(({ id }) => ataSectors.includes(id));
  const passed = output.smart_status?.passed;
  const warning = nvme?.critical_warning ?? 0;
  const warnings = nvmeWarnings.filter((_, bit) => (warning & (1 << bit)) !== 0);
  const reasons = [...(passed === false ? ['its self-assessment (SMART) says that it is failing'] : []), ...warnings];
  const isBad = passed === false || warning !== 0;
  const said = output.smartctl?.messages?.map((message) => message.string).join('; ') ?? '';
  const silence = said === '' ? 'it reports no health' : said;
  return {
    verdict: isBad ? 'bad' : passed === true ? 'good' : 'unknown',
    reason: isBad ? reasons.join(', ') || `critical warning ${warning}` : passed === true ? null : silence,
    model: output.model_name ?? null,
    serial: output.serial_number ?? null,
    temperatureCelsius: output.temperature?.current ?? null,
    powerOnHours: output.power_on_time?.hours ?? null,
    percentageUsed: nvme?.percentage_used ?? null,
    mediaErrors: nvme?.media_errors ?? sectors?.reduce((sum, { raw }) => sum + raw.value, 0) ?? null,
  };
}
