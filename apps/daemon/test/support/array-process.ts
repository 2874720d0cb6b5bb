import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './devices.js';
import { runOk, spawnDaemon } from './process.js';
import type { DaemonProcess } from './process.js';

const ackIo = fileURLToPath(new URL('ack_io.py', import.meta.url));
const python = '/usr/bin/python3';

/** The fields of `raidkit_get_arrays` that the tests use. */
export interface ArrayState {
  state: string;
  num_base_bdevs_discovered: number;
  num_base_bdevs_operational: number;
  base_bdevs_list: { name: string | null; is_configured: boolean; data_offset: number; data_size: number }[];
  ext: {
    process: { type: string } | null;
    health: string;
    history: { type: string; mismatch_blocks: number; error: string | null }[];
    members: { slot: number; checksum_errors: number; read_errors: number; bad_blocks: number }[];
    regions: { dirty: number } | null;
  };
}

/** How the array is made. */
export interface ArrayShape {
  level: string;
  stripSizeKb: number;
  /** Whether the array has checksums. Default false. */
  integrity?: boolean;
}

/** A daemon in a process of its own with one array, `vol`, on files or devices, and users who remember what was acknowledged. */
export class ArrayProcess {
  readonly folder: string;
  /** Paths of the members, by slot; a spare may follow. */
  readonly paths: string[];
  readonly log: string;
  /** Whether the daemon submits one write at a time, each as a system call of its own. */
  readonly #oneThread: boolean;
  #daemon: DaemonProcess | null = null;
  #writer: ChildProcess | null = null;
  #seed = 0;
  #hasLostPower = false;

  constructor(folder: string, paths: string[], { oneThread = false } = {}) {
    this.folder = folder;
    this.paths = paths;
    this.log = join(folder, 'acknowledged');
    this.#oneThread = oneThread;
  }

  get daemon(): DaemonProcess {
    if (this.#daemon === null) throw new Error('the daemon is not running');
    return this.#daemon;
  }

  get uri(): string {
    return `nbd+unix:///vol?socket=${join(this.folder, 'nbd.sock')}`;
  }

  async start(): Promise<void> {
    const rpc = join(this.folder, 'rpc.sock');
    const args = ['-r', rpc, '--nbd', `unix:${join(this.folder, 'nbd.sock')}`, '--memory', '128'];
    this.#daemon = this.#oneThread
      ? await spawnDaemon(rpc, [...args, '--engine', 'portable', '--reactors', '1'], process.cwd(), {
          ...process.env,
          UV_THREADPOOL_SIZE: '1',
        })
      : await spawnDaemon(rpc, args);
  }

  call(method: string, params?: unknown): Promise<unknown> {
    return this.daemon.client.call(method, params);
  }

  /** Opens these members, one after another. */
  async open(slots: readonly number[]): Promise<void> {
    for (const slot of slots) {
      await this.call('bdev_aio_create', { name: `m${slot}`, filename: this.paths[slot], block_size: 512, uuid: uuidOf(slot) });
    }
    await this.call('bdev_wait_for_examine');
  }

  async create({ level, stripSizeKb, integrity = false }: ArrayShape, numSlots: number): Promise<void> {
    const members = range(numSlots).map((slot) => `m${slot}`);
    const base = {
      name: 'vol',
      raid_level: level,
      base_bdevs: members,
      superblock: true,
      ...(integrity ? { integrity } : {}),
    };
    await this.call('bdev_raid_create', stripSizeKb === 0 ? base : { ...base, strip_size_kb: stripSizeKb });
  }

  /** Returns undefined if there is no such array. */
  async state(): Promise<ArrayState | undefined> {
    const all = (await this.call('raidkit_get_arrays')) as (ArrayState & { name: string })[];
    return all.find(({ name }) => name === 'vol');
  }

  /** Brings it up, without its absent members if there are any. */
  async assemble(): Promise<void> {
    if ((await this.state())?.state === 'configuring') await this.call('raidkit_assemble', { name: 'vol' });
  }

  /** Waits until no background process runs. */
  async settle(): Promise<void> {
    await until('background work has ended', async () => (await this.state())?.ext.process === null);
  }

  /** Waits until all members are present and in sync. */
  async whole(numSlots: number): Promise<void> {
    await until('the array is whole', async () => {
      const state = await this.state();
      return state?.ext.process === null && state.num_base_bdevs_operational === numSlots && state.ext.health === 'optimal';
    });
  }

  /** Members that are out are put back, as an operator does. */
  async bringBack(numSlots: number): Promise<void> {
    await this.settle();
    const there = (await this.state())?.base_bdevs_list.filter((slot) => slot.is_configured).map(({ name }) => name) ?? [];
    for (const slot of range(numSlots)) {
      if (!there.includes(`m${slot}`)) await this.call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: `m${slot}` });
      await this.settle();
    }
    await this.whole(numSlots);
  }

  /** Checks that the whole array has no mismatches. */
  async agrees(): Promise<void> {
    await this.settle();
    const count = async (): Promise<number> =>
      (await this.state())?.ext.history.filter(({ type }) => type === 'check').length ?? 0;
    const before = await count();
    await this.call('raidkit_start_process', { name: 'vol', type: 'check' });
    await until(
      'the check has ended',
      async () => (await count()) > before || (await this.state())?.ext.history[0]?.type === 'check',
    );
    await this.settle();
    const last = (await this.state())?.ext.history[0];
    if (last?.mismatch_blocks !== 0 || last.error !== null) throw new Error(`members disagree: ${JSON.stringify(last)}`);
  }

  /** Users begin to write, and have written so much that something is at stake. */
  async load(): Promise<void> {
    const writer = spawn(python, [ackIo, 'write', this.uri, this.log, String(++this.#seed)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#writer = writer;
    let said = '';
    writer.stdout.on('data', (piece: Buffer) => (said += piece.toString()));
    const lines = (): number => (existsSync(this.log) ? readFileSync(this.log, 'utf8').split('\n').length : 0);
    const before = lines();
    await until('users write', () => {
      if (writer.exitCode !== null) throw new Error(`the users are gone: ${said}`);
      return lines() > before + 30;
    });
  }

  /** Users end. Throws if anything that they asked for was refused. */
  async unload(): Promise<void> {
    const writer = this.#writer;
    if (writer === null) return;
    const ended = new Promise<number | null>((resolve) => {
      if (writer.exitCode !== null || writer.signalCode !== null) resolve(writer.exitCode);
      else writer.on('close', resolve);
    });
    let said = '';
    writer.stdout?.on('data', (piece: Buffer) => (said += piece.toString()));
    writer.kill('SIGTERM');
    const code = await ended;
    this.#writer = null;
    // A user that was exiting already may be ended by the signal.
    if ((code ?? 0) !== 0 || said !== '') throw new Error(`users were answered with an error (${String(code)}) ${said}`);
  }

  /**
   * Everything that was acknowledged is there, after a power cut everything that was flushed; nothing else is; two reads agree.
   */
  async verify(): Promise<void> {
    if (existsSync(this.log)) await runOk(python, [ackIo, this.#hasLostPower ? 'check-flushed' : 'check', this.uri, this.log]);
    // What was read is what the model expects from now on.
    this.#hasLostPower = false;
  }

  /** The daemon is killed; users find out by themselves. */
  async kill(): Promise<void> {
    this.daemon.child.kill('SIGKILL');
    await this.daemon.exited;
    this.#daemon = null;
    await this.unload();
  }

  /** The daemon ends in the same moment in which `cut` takes the power from its disks. */
  async losePower(cut: () => Promise<unknown>): Promise<void> {
    this.daemon.child.kill('SIGKILL');
    const isCut = cut();
    this.#hasLostPower = true;
    await Promise.all([isCut, this.ended()]);
  }

  /** The daemon has ended by itself. */
  async ended(): Promise<void> {
    await this.daemon.exited;
    this.#daemon = null;
    await this.unload();
  }

  /** The daemon is asked to end. */
  async stop(): Promise<void> {
    this.daemon.child.kill('SIGTERM');
    const code = await this.daemon.exited;
    if (code !== 0) throw new Error(`the daemon ended with ${code}: ${this.daemon.stderr}`);
    this.#daemon = null;
  }

  /** Cleans up at the end of a test, whatever happened in it. */
  async end(): Promise<void> {
    this.#writer?.kill('SIGKILL');
    this.#writer = null;
    this.#daemon?.child.kill('SIGKILL');
    await this.#daemon?.exited;
    this.#daemon = null;
  }
}

export const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

export const uuidOf = (slot: number): string => `c4a50000-0000-4000-8000-00000000000${slot}`;
