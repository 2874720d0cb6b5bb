import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './commands.js';

/** Loop devices over files in memory, opened past the page cache; gone at the end of the process. */
export class LoopDevices {
  readonly #folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : '/tmp', 'raidkit-bench-'));
  readonly #devices: string[] = [];

  constructor() {
    process.on('exit', () => {
      for (const device of this.#devices) spawnSync('losetup', ['-d', device]);
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }

  /** Whether this user can have any. */
  static get isAllowed(): boolean {
    return process.getuid?.() === 0 && existsSync('/dev/loop-control');
  }

  /** A device of `bytes`, filled with something, so that all of it is there. */
  async make(bytes: number): Promise<string> {
    const file = join(this.#folder, `${this.#devices.length}.img`);
    const fd = openSync(file, 'w');
    ftruncateSync(fd, bytes);
    closeSync(fd);
    await run('dd', [
      'if=/dev/urandom',
      `of=${file}`,
      'bs=1M',
      `count=${Math.floor(bytes / 2 ** 20)}`,
      'conv=notrunc',
      'status=none',
    ]);
    const device = (await run('losetup', ['--find', '--show', '--direct-io=on', file])).trim();
    this.#devices.push(device);
    return device;
  }
}
