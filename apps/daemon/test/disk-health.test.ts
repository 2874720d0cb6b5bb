import { chmodSync, mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskHealth } from '../src/disk-health/disk-health.js';
import { readSmartReport } from '../src/disk-health/smart-report.js';
import type { EventReport } from '../src/events/event.js';
import { formatMetrics } from '../src/monitor/metrics.js';
import type { Snapshot } from '../src/monitor/snapshot.js';
import { attachLoop, detachLoop, hasLoopDevices } from './support/devices.js';
import { makeFile } from './support/files.js';

const good = { smart_status: { passed: true }, model_name: 'M', serial_number: 'S', temperature: { current: 31 } };

describe('what smartctl prints', () => {
  it.each([
    [good, { verdict: 'good', reason: null, model: 'M', serial: 'S', temperatureCelsius: 31 }],
    [
      {
        smart_status: { passed: false },
        ata_smart_attributes: { table: [5, 9, 197].map((id) => ({ id, raw: { value: 4 } })) },
      },
      { verdict: 'bad', reason: 'its self-assessment (SMART) says that it is failing', mediaErrors: 8 },
    ],
    [
      {
        smart_status: { passed: true },
        nvme_smart_health_information_log: { critical_warning: 9, percentage_used: 104, media_errors: 3 },
      },
      {
        verdict: 'bad',
        reason: 'its spare blocks are nearly used up, it no longer accepts writes',
        percentageUsed: 104,
        mediaErrors: 3,
      },
    ],
    [
      { smartctl: { messages: [{ string: 'Unable to detect device type' }] } },
      { verdict: 'unknown', reason: 'Unable to detect device type' },
    ],
    [{}, { verdict: 'unknown', reason: 'it reports no health', mediaErrors: null }],
  ])('%j', (output, report) => {
    expect(readSmartReport(JSON.stringify(output))).toMatchObject(report);
  });

  it.each(['', 'smartctl 7.4', '[]', '{"smart_status": 1}'])('is not believed if it is %j', (text) => {
    expect(readSmartReport(text)).toMatchObject({ verdict: 'unknown', reason: expect.stringContaining('JSON') as string });
  });
});

let folder: string;
const path = process.env.PATH ?? '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-health-'));
  mkdirSync(join(folder, 'bin'));
  makeFile(join(folder, 'file'), 1 << 20);
});

afterEach(() => {
  process.env.PATH = path;
  rmSync(folder, { recursive: true });
});

/** A program that prints this, and notes for what it was called. */
function install(output: object, exitCode = 0): void {
  const file = join(folder, 'bin', 'smartctl');
  const lines = ['#!/bin/sh', `echo "$*" >> '${join(folder, 'log')}'`, `echo '${JSON.stringify(output)}'`, `exit ${exitCode}`];
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
  chmodSync(file, 0o755);
  process.env.PATH = `${join(folder, 'bin')}:${path}`;
}

interface Described {
  is_on: boolean;
  reason: string | null;
  disks: { bdev_name: string; verdict: string; temperature_celsius: number | null }[];
}

/** Stands for a daemon that has these disks open; they are the members of a mirror `vol`. */
function healthOf(paths: readonly string[], everyMs = 60_000): { look: () => Promise<Described>; events: EventReport[] } {
  const events: EventReport[] = [];
  const bdevs = paths.map((filename, index) => ({ name: `d${index}`, driver_specific: { aio: { filename } } }));
  const array = { name: 'vol', ext: { members: bdevs.map(({ name }) => ({ name })) } };
  const caller = { call: (name: string) => Promise.resolve(name === 'bdev_get_bdevs' ? bdevs : [array]) };
  const health = new DiskHealth(caller, everyMs, (event) => events.push(event), pino({ level: 'silent' }));
  const [method] = health.methods();
  return { events, look: async () => (await method!.run({ look: true })) as Described };
}

describe('the health of disks', () => {
  it('of files is not asked for', async () => {
    install(good);
    const { look } = healthOf([join(folder, 'file')]);
    expect(await look()).toEqual({ is_on: true, reason: 'no block device is open', disks: [] });
  });

  it('is said to be turned off', async () => {
    const { look } = healthOf([join(folder, 'file')], 0);
    expect(await look()).toMatchObject({ is_on: false, reason: expect.stringContaining('turned off') as string });
  });

  it.skipIf(!hasLoopDevices())('is told once when it comes to be bad, and is not known without smartctl', async () => {
    const device = await attachLoop(join(folder, 'file'));
    try {
      const { events, look } = healthOf([device]);
      process.env.PATH = join(folder, 'bin');
      expect(await look()).toMatchObject({ reason: expect.stringContaining('smartctl is not installed') as string, disks: [] });
      install(good);
      expect(await look()).toMatchObject({
        reason: null,
        disks: [{ bdev_name: 'd0', verdict: 'good', temperature_celsius: 31 }],
      });
      // Its exit code encodes its findings.
      install({ ...good, smart_status: { passed: false } }, 8);
      const bad = await look();
      await look();
      expect(bad.disks[0]?.verdict).toBe('bad');
      expect(events).toEqual([
        {
          event: 'DiskFailing',
          severity: 'warning',
          array: 'vol',
          device: 'd0',
          message: expect.stringContaining(`the disk d0 (${device}, M, S) is failing: its self-assessment`) as string,
        },
      ]);
      // The last report is kept for a disk that sleeps.
      install({ smartctl: { messages: [{ string: 'Device is in STANDBY mode' }] } }, 2);
      expect((await look()).disks[0]?.verdict).toBe('bad');
      const snapshot = { arrays: [], iostat: { tick_rate: 1, bdevs: [] }, latency: [], reactors: [], exports: [], spares: [] };
      const configuration = { state_error: null, pending: [] };
      const text = formatMetrics(
        { ...snapshot, configuration, disks: bad as unknown as Snapshot['disks'] },
        {
          isReady: true,
          isStuck: false,
          eventCounts: new Map(),
          sinks: [],
          checks: [],
        },
      );
      expect(text).toContain('raidkit_disk_failing{device="d0"} 1\n');
      expect(text).toContain('raidkit_disk_temperature_celsius{device="d0"} 31\n');
      expect(text).toContain('raidkit_disk_health_known 1\n');
    } finally {
      await detachLoop(device);
    }
  });
});
