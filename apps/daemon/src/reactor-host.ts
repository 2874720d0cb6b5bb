import { Worker } from 'node:worker_threads';
import { serveControl } from './daemon.js';
import type { DaemonOptions, RunningDaemon } from './daemon.js';
import type { DemoPlaces } from './demo.js';
import type { FromReactor, ReactorData, ToReactor } from './reactor-messages.js';
import type { Caller } from './rpc/dispatcher.js';
import { RpcCode, RpcError } from './rpc/errors.js';
import { Watchdog } from './watchdog.js';

/** What a daemon with a reactor is started with. */
export interface ReactorDaemonOptions extends DaemonOptions {
  /** How long the reactor looks for completions before it sleeps. */
  spinMicroseconds: number;
  demo: DemoPlaces | null;
  /** Seconds after which a data path that does not move is called stuck, and control calls are refused; 2 at least. */
  stuckAfterSeconds: number;
  /** Seconds after which `onGivenUp` is called; 0 for never. */
  giveUpAfterSeconds: number;
  /** The data path has not moved for that long. Nothing but SIGKILL ends a process with a thread that is stuck. */
  onGivenUp: () => void;
}

/** A daemon whose plane lives in a reactor's thread. */
export interface ReactorDaemon extends RunningDaemon {
  /** What the demonstration has to say; empty without one. */
  readonly demoText: string;
  /** The data path does not move: it cannot be stopped either. */
  readonly isStuck: boolean;
}

/**
 * Starts a daemon with its plane in a thread of its own, around an io_uring; the control sockets are served here. A string
 * says why there can be no reactor; rejects if the daemon cannot start for another reason. When the thread ends by itself
 * later on, `onLost` is called: the data path is gone.
 */
export async function startReactorDaemon(options: ReactorDaemonOptions, onLost: (error: Error) => void): Promise<ReactorDaemon | string> {
  const thread = new ReactorThread(options, onLost);
  const unavailable = await thread.composed;
  if (unavailable !== '') return unavailable;
  let demoText = '';
  const running = await serveControl(options, thread, {
    stopRequested: thread.stopRequested,
    async begin() {
      demoText = await thread.begin();
    },
    stop: () => thread.stop(),
  });
  return {
    ...running,
    demoText,
    get isStuck() {
      return thread.isStuck;
    },
  };
}

/** The other end of reactor-worker.ts. */
class ReactorThread implements Caller {
  /** Resolves with why there can be no reactor, or an empty string. */
  readonly composed: Promise<string>;
  readonly stopRequested: Promise<void>;
  readonly #worker: Worker;
  readonly #options: ReactorDaemonOptions;
  readonly #calls = new Map<number, { readonly resolve: (result: unknown) => void; readonly reject: (error: Error) => void }>();
  #nextId = 0;
  /** The step of the thread's life that is waited for. */
  #step: { readonly resolve: (text: string) => void; readonly reject: (error: Error) => void } | null = null;
  #onStopRequested: () => void = () => undefined;
  #isEnding = false;
  readonly #watchdog: Watchdog;

  constructor(options: ReactorDaemonOptions, onLost: (error: Error) => void) {
    this.#options = options;
    const { nbd, configPath, waitForRpc, autoExport, levels, folder, conditions, memoryBytes, spinMicroseconds, nbdLimits = {}, demo, log } = options;
    const workerData: ReactorData = {
      plane: {
        nbd,
        levels,
        folder,
        ...(configPath === undefined ? {} : { configPath }),
        ...(waitForRpc === undefined ? {} : { waitForRpc }),
        ...(autoExport === undefined ? {} : { autoExport }),
        ...(conditions === undefined ? {} : { conditions }),
      },
      memoryBytes,
      spinMicroseconds,
      nbdLimits,
      logLevel: log.level,
      demo,
      beat: new Int32Array(new SharedArrayBuffer(4)),
    };
    this.stopRequested = new Promise((resolve) => {
      this.#onStopRequested = resolve;
    });
    this.#worker = new Worker(new URL('./reactor-worker.js', import.meta.url), { workerData });
    this.composed = this.#waitForStep();
    this.#worker.on('message', (message: FromReactor) => this.#onMessage(message));
    const lost = (error: Error): void => {
      if (this.#isEnding) return;
      this.#isEnding = true;
      for (const { reject } of this.#calls.values()) reject(error);
      this.#calls.clear();
      if (this.#step === null) onLost(error);
      else this.#step.reject(error);
    };
    this.#worker.on('error', (error) => lost(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on('exit', (code) => lost(new Error(`the reactor's thread ended with code ${code}`)));
    this.#watchdog = this.#watch(workerData.beat);
  }

  get isStuck(): boolean {
    return this.#watchdog.isStuck;
  }

  call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    if (this.isStuck) return Promise.reject(stuckError());
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#calls.set(id, { resolve, reject });
      this.#send({ type: 'call', id, name, params, hasDuplicateKey });
    });
  }

  begin(): Promise<string> {
    const begun = this.#waitForStep();
    this.#send({ type: 'begin' });
    return begun;
  }

  async stop(): Promise<void> {
    if (this.#isEnding) return;
    const stopped = this.#waitForStep();
    this.#send({ type: 'stop' });
    await stopped;
  }

  #waitForStep(): Promise<string> {
    return new Promise<string>((resolve, reject) => {
      this.#step = { resolve, reject };
    }).finally(() => {
      this.#step = null;
    });
  }

  #send(message: ToReactor): void {
    this.#worker.postMessage(message);
  }

  #onMessage(message: FromReactor): void {
    switch (message.type) {
      case 'result':
        this.#calls.get(message.id)?.resolve(message.result);
        this.#calls.delete(message.id);
        return;
      case 'refusal':
        this.#calls.get(message.id)?.reject(new RpcError(message.code, message.message));
        this.#calls.delete(message.id);
        return;
      case 'logLevel':
        this.#options.log.level = message.level;
        return;
      case 'stopRequested':
        this.#onStopRequested();
        return;
      case 'failed':
        this.#step?.reject(new Error(message.message));
        return;
      case 'unavailable':
        this.#isEnding = true;
        this.#step?.resolve(message.reason);
        return;
      case 'stopped':
        this.#isEnding = true;
        this.#step?.resolve('');
        return;
      case 'composed':
        this.#step?.resolve('');
        return;
      case 'begun':
        this.#step?.resolve(message.demoText);
    }
  }

  /** Whoever waits for an answer, or asks for one, is told that there is none. What was asked for may still be carried out. */
  #onStuck(seconds: number): void {
    this.#options.log.error({ seconds }, 'the data path is stuck: its thread has not moved. Control calls are refused until it does');
    for (const { reject } of this.#calls.values()) reject(stuckError());
    this.#calls.clear();
  }

  #watch(beat: Int32Array): Watchdog {
    const { log, stuckAfterSeconds, giveUpAfterSeconds, onGivenUp } = this.#options;
    const watchdog = new Watchdog({
      beat,
      stuckAfterSeconds,
      giveUpAfterSeconds,
      onStuck: (seconds) => this.#onStuck(seconds),
      onMoving: () => log.warn({}, 'the data path moves again'),
      onGivenUp: (seconds) => {
        log.fatal({ seconds }, 'the data path has not moved for too long: it is given up');
        onGivenUp();
      },
    });
    this.#worker.once('exit', () => watchdog.end());
    return watchdog;
  }
}

function stuckError(): RpcError {
  return new RpcError(RpcCode.Internal, 'the data path is stuck: its thread does not move. What was asked for may still be carried out when it does');
}
