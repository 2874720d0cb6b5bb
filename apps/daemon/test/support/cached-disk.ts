import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NbdLoop, endOf, makeFile, until } from './devices.js';

const program = fileURLToPath(new URL('fault_disk.py', import.meta.url));

/** A block device with a volatile write cache, which a power cut loses, sector by sector. */
export class CachedDisk {
  readonly #file: string;
  readonly #socket: string;
  readonly #loop: NbdLoop;
  readonly #lies: boolean;
  #server: ChildProcess | null = null;
  /** Lines that the server was told, and has carried out. */
  #told = 0;
  #done = 0;

  /** `folder` belongs to it. With `lies` it says that it has flushed, and has not. */
  constructor(folder: string, bytes: number, lies = false) {
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'data');
    this.#socket = join(folder, 'socket');
    this.#loop = new NbdLoop(join(folder, 'point'));
    this.#lies = lies;
    makeFile(this.#file, bytes);
  }

  /** `/dev/loopN`, which is another one after each start. */
  get path(): string {
    return this.#loop.path;
  }

  /** `seed` decides what the next power cut leaves. */
  async start(seed: number): Promise<void> {
    this.#told = this.#done = 0;
    rmSync(this.#socket, { force: true });
    this.#server = spawn(
      '/usr/bin/python3',
      [program, this.#socket, this.#file, String(seed), ...(this.#lies ? ['--lies'] : [])],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    this.#server.stdout?.on('data', (piece: Buffer) => {
      this.#done += piece.toString().split('done').length - 1;
    });
    await until('the disk is there', () => existsSync(this.#socket));
    await this.#loop.attach(this.#socket);
  }

  /** One of the lines that fault_disk.py says it obeys. */
  async tell(line: string): Promise<void> {
    this.#server?.stdin?.write(`${line}\n`);
    const told = ++this.#told;
    await until(`the disk obeys: ${line}`, () => this.#done >= told);
  }

  /** Cuts the power. */
  async cut(): Promise<void> {
    const server = this.#server;
    server?.kill('SIGUSR1');
    await until('the disk has lost its power', () => server?.exitCode !== null || server.signalCode !== null);
  }

  /** Cleans up after a power cut, or at the end of a test. The disk must not be open any more. */
  async stop(): Promise<void> {
    await endOf(this.#server);
    this.#server = null;
    await this.#loop.detach();
  }
}
