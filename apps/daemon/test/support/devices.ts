import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCommands, run, runOk } from './process.js';

export function makeFile(path: string, bytes: number): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
}

/** Loop devices are available only on some machines, and only to root. In CI they must be available. */
export function hasLoopDevices(): boolean {
  if (!hasCommands('losetup')) return false;
  try {
    execFileSync('losetup', ['-f'], { stdio: 'ignore' });
    return process.getuid?.() === 0;
  } catch (error) {
    if (process.env.CI !== undefined) throw new Error('CI lacks loop devices', { cause: error });
    return false;
  }
}

/** The programs that {@link FaultyDevice} needs. In CI they must be installed. */
export function hasFaultyDevices(): boolean {
  if (!hasLoopDevices() || !hasCommands('nbdkit', 'nbdfuse', 'mount')) return false;
  if (existsSync('/dev/fuse')) return true;
  if (process.env.CI !== undefined) throw new Error('CI lacks /dev/fuse');
  return false;
}

/** A file or block device as a loop device, past the page cache: errors come through, nothing is kept. */
export async function attachLoop(path: string): Promise<string> {
  return (await runOk('losetup', ['-f', '--show', '--direct-io=on', path])).trim();
}

export async function detachLoop(device: string): Promise<void> {
  await run('losetup', ['-d', device]);
}

/** An NBD server as a block device: as a file by nbdfuse, as a loop device over that. */
export class NbdLoop {
  /** `/dev/loopN`, while it is attached. */
  path = '';
  readonly #point: string;
  #fuse: ChildProcess | null = null;

  /** `point`: a folder of its own. */
  constructor(point: string) {
    this.#point = point;
  }

  async attach(socket: string): Promise<void> {
    mkdirSync(this.#point, { recursive: true });
    const file = join(this.#point, 'disk');
    this.#fuse = spawn('nbdfuse', [file, '--unix', socket], { stdio: 'ignore' });
    for (let tries = 0; ; tries++) {
      const attached = await run('losetup', ['-f', '--show', '--direct-io=on', file]);
      if (attached.code === 0) {
        this.path = attached.stdout.trim();
        return;
      }
      if (tries > 200) throw new Error(attached.stderr);
      await sleep(25);
    }
  }

  /** It must not be open any more. */
  async detach(): Promise<void> {
    if (this.path !== '') await detachLoop(this.path);
    this.path = '';
    await run('umount', ['-l', this.#point]);
    await endOf(this.#fuse);
    this.#fuse = null;
  }
}

/**
 * A block device that can be made to fail: a file, served by nbdkit with filters, as a file again by nbdfuse, as a loop device.
 */
export class FaultyDevice {
  readonly #folder: string;
  readonly #file: string;
  readonly #loop: NbdLoop;
  #server: ChildProcess | null = null;

  /** `folder` belongs to it. `file` is made if it is not there. */
  constructor(folder: string, bytes: number) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'data');
    if (!existsSync(this.#file)) makeFile(this.#file, bytes);
    this.#loop = new NbdLoop(join(folder, 'point'));
  }

  /** `/dev/loopN`. */
  get path(): string {
    return this.#loop.path;
  }

  async start(): Promise<void> {
    const socket = join(this.#folder, 'socket');
    rmSync(socket, { force: true });
    const error = ['error=EIO', 'error-rate=100%', `error-file=${this.#name('fail')}`];
    const slow = [`rate-file=${this.#name('rate')}`];
    this.#server = spawn(
      'nbdkit',
      ['-f', '-U', socket, '--filter=error', '--filter=rate', 'file', this.#file, ...error, ...slow],
      { stdio: 'ignore' },
    );
    await until('nbdkit listens', () => existsSync(socket));
    await this.#loop.attach(socket);
  }

  /** Makes every request fail, or none. */
  fail(mustFail: boolean): void {
    if (mustFail) writeFileSync(this.#name('fail'), '');
    else rmSync(this.#name('fail'), { force: true });
  }

  /** The limit is in bits a second; null removes it. */
  limit(rate: string | null): void {
    if (rate === null) rmSync(this.#name('rate'), { force: true });
    else writeFileSync(this.#name('rate'), rate);
  }

  /** Holds back all answers until {@link goOn}. */
  hang(): void {
    this.#server?.kill('SIGSTOP');
  }

  goOn(): void {
    this.#server?.kill('SIGCONT');
  }

  /** Removes the device: all further requests fail. */
  async vanish(): Promise<void> {
    await endOf(this.#server);
    this.#server = null;
  }

  /** Ends everything; its data stays. It must not be open any more. */
  async stop(): Promise<void> {
    this.goOn();
    this.fail(false);
    this.limit(null);
    await this.#loop.detach();
    await endOf(this.#server);
    this.#server = null;
  }

  #name(what: string): string {
    return join(this.#folder, what);
  }
}

export async function endOf(child: ChildProcess | null): Promise<void> {
  if (child?.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.on('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

export async function until(what: string, condition: () => boolean | Promise<boolean>, longestMs = 40_000): Promise<void> {
  for (const deadline = Date.now() + longestMs; !(await condition());) {
    if (Date.now() > deadline) throw new Error(`it did not come to pass: ${what}`);
    await sleep(20);
  }
}

/** Waits until the daemon has said this. Its log comes through a pipe of its own, maybe after the answer to a call. */
export async function says(daemon: { readonly stderr: string }, text: string | RegExp): Promise<void> {
  await until(`it says ${String(text)}`, () =>
    typeof text === 'string' ? daemon.stderr.includes(text) : text.test(daemon.stderr),
  );
}
