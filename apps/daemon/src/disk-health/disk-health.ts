import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { EventReport } from '../events/event.js';
import { invalidParams, method } from '../rpc/dispatcher.js';
import type { Caller, RpcMethod } from '../rpc/dispatcher.js';
import { readSmartReport, unknownReport } from './smart-report.js';
import type { DiskReport } from './smart-report.js';

/** Time limit of smartctl for one disk, in milliseconds. */
const limitMs = 15_000;
/** Size limit of its output, in bytes. */
const mostOutput = 4 * 1024 * 1024;
/** Wait before the first check in milliseconds, so that arrays come up first. */
const firstLookMs = 2000;

/** A disk under a bdev. */
interface Disk {
  readonly name: string;
  readonly path: string;
}

/** The last known health of a disk. */
export interface DiskState extends Disk, DiskReport {
  /** Milliseconds since 1970. */
  readonly lookedAt: number;
}

/**
 * Runs smartctl(8) periodically, if it is installed, for the disks that are open here, and reports disks that have become bad.
 * It checks one disk after another, each in a child process with a time limit, and never files. Disks in standby are not woken.
 */
export class DiskHealth {
  readonly #caller: Caller;
  readonly #everyMs: number;
  readonly #onEvent: (report: EventReport) => void;
  readonly #log: Logger;
  readonly #abort = new AbortController();
  #disks: readonly DiskState[] = [];
  /** Why nothing is known; null if smartctl works. */
  #failure: string | null;
  #looking: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** `everyMs`: milliseconds between two checks; 0 for none. */
  constructor(caller: Caller, everyMs: number, onEvent: (report: EventReport) => void, log: Logger) {
    this.#caller = caller;
    this.#everyMs = everyMs;
    this.#onEvent = onEvent;
    this.#log = log;
    this.#failure = everyMs === 0 ? 'it is turned off (raidkitd --disk-health 0)' : 'it has not been checked yet';
  }

  /** To be called when the daemon is up. */
  begin(): void {
    if (this.#everyMs > 0) this.#lookIn(firstLookMs);
  }

  end(): void {
    this.#abort.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  methods(): RpcMethod[] {
    return [
      method({
        name: 'raidkit_get_disk_health',
        params: z.strictObject({ look: z.boolean().optional() }),
        badParams: invalidParams,
        run: async ({ look = false }) => {
          if (look && this.#everyMs > 0) await this.look();
          return this.#describe();
        },
      }),
    ];
  }

  /** Checks every disk; resolves when that is done. Calls during a check join it. Failures are logged. */
  look(): Promise<void> {
    this.#looking ??= this.#lookNow()
      .catch((error: unknown) => this.#log.debug({ err: error }, 'the health of disks could not be checked'))
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }

  #lookIn(ms: number): void {
    this.#timer = setTimeout(() => void this.look().then(() => this.#abort.signal.aborted || this.#lookIn(this.#everyMs)), ms);
    this.#timer.unref();
  }

  async #lookNow(): Promise<void> {
    const before = new Map(this.#disks.map((disk) => [disk.name, disk]));
    const found: DiskState[] = [];
    let failure: string | null = null;
    for (const disk of await this.#open()) {
      if (this.#abort.signal.aborted) return;
      const said = await this.#ask(disk.path);
      if (said === null) {
        failure = 'smartctl is not installed (it is part of smartmontools)';
        break;
      }
      const state = { ...disk, ...said, lookedAt: Date.now() };
      // A disk in standby, or that does not answer this once, keeps its last state.
      const known = before.get(disk.name);
      found.push(state.verdict === 'unknown' && known?.path === disk.path && known.verdict !== 'unknown' ? known : state);
      if (state.verdict === 'bad' && known?.verdict !== 'bad') await this.#tell(state);
    }
    if (this.#abort.signal.aborted) return;
    if (failure !== null && failure !== this.#failure) this.#log.info({}, `the health of disks is not known: ${failure}`);
    this.#failure = failure ?? (found.length === 0 ? 'no block device is open' : null);
    this.#disks = found;
  }

  /** Returns the block devices that are open as bdevs. */
  async #open(): Promise<Disk[]> {
    const bdevs = (await this.#caller.call('bdev_get_bdevs', undefined)) as {
      name: string;
      driver_specific?: { aio?: { filename: string } };
    }[];
    const disks: Disk[] = [];
    for (const { name, driver_specific: specific } of bdevs) {
      const path = specific?.aio?.filename;
      if (path === undefined) continue;
      const isDisk = await stat(path).then(
        (stats) => stats.isBlockDevice(),
        () => false,
      );
      if (isDisk) disks.push({ name, path });
    }
    return disks;
  }

  /** Runs smartctl; null if it is not installed. Its exit code reports what it found and does not mean failure. */
  #ask(path: string): Promise<DiskReport | null> {
    const args = ['--json', '--all', '--nocheck=standby', path];
    const options = { timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: mostOutput, signal: this.#abort.signal } as const;
    return new Promise((resolve) => {
      execFile('smartctl', args, options, (error, stdout) => {
        if (error?.code === 'ENOENT') resolve(null);
        else if (error?.killed === true) resolve(unknownReport(`smartctl did not end within ${limitMs / 1000} s`));
        else resolve(readSmartReport(stdout));
      });
    });
  }

  async #tell({ model, name, path, reason, serial }: DiskState): Promise<void> {
    const arrays = (await this.#caller.call('raidkit_get_arrays', undefined)) as {
      name: string;
      ext: { members: { name: string | null }[] };
    }[];
    const array = arrays.find(({ ext }) => ext.members.some((member) => member.name === name))?.name ?? null;
    const which = [path, model, serial].filter((part) => part !== null).join(', ');
    const message = `the disk ${name} (${which}) is failing: ${String(reason)}; replace it while it still works`;
    this.#onEvent({ event: 'DiskFailing', severity: 'warning', array, device: name, message });
  }

  #describe(): object {
    return {
      is_on: this.#everyMs > 0,
      reason: this.#failure,
      disks: this.#disks.map((disk) => ({
        bdev_name: disk.name,
        path: disk.path,
        verdict: disk.verdict,
        reason: disk.reason,
        model: disk.model,
        serial: disk.serial,
        temperature_celsius: disk.temperatureCelsius,
        power_on_hours: disk.powerOnHours,
        percentage_used: disk.percentageUsed,
        media_errors: disk.mediaErrors,
        looked_at: new Date(disk.lookedAt).toISOString(),
      })),
    };
  }
}
