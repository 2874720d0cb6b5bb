import { Worker } from 'node:worker_threads';

/** Longest input that is shown. Bytes. */
const mostBytes = 64 * 1024;

const source = `
const { workerData } = require('node:worker_threads');
const { head, input, name, seconds } = workerData;
let last = -1;
setInterval(() => {
  const [count, length, isRunning] = head;
  if (isRunning === 0 || count !== last) { last = isRunning === 0 ? -1 : count; return; }
  const text = Buffer.from(input.slice(0, length)).toString('base64');
  require('node:fs').writeSync(2, name + ' has worked on one input for more than ' + seconds + ' s: ' + text + '\\n');
  process.kill(process.pid, 'SIGKILL');
}, seconds * 1000);
`;

/** Ends the process if one input takes it for ever, and says which: nothing in the thread itself could. */
export class HangWatch {
  /** How many inputs there have been, length of the current one in bytes, and whether it is being worked on. */
  readonly #head = new Int32Array(new SharedArrayBuffer(12));
  readonly #input = new Uint8Array(new SharedArrayBuffer(mostBytes));
  readonly #worker: Worker;

  constructor(name: string, seconds: number) {
    const workerData = { head: this.#head, input: this.#input, name, seconds };
    this.#worker = new Worker(source, { eval: true, workerData });
    this.#worker.unref();
  }

  begin(bytes: Uint8Array): void {
    const shown = bytes.subarray(0, mostBytes);
    this.#input.set(shown);
    this.#head[1] = shown.length;
    this.#head[0] = (this.#head[0] ?? 0) + 1;
    this.#head[2] = 1;
  }

  over(): void {
    this.#head[2] = 0;
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}
