import { Worker } from 'node:worker_threads';
import type { NbdListener, ConnectionHandoff, TlsCredentials } from '@raidkit/nbd';
import type { Logger } from 'pino';
import type { EventReport } from './events/event.js';
import type { Change, SharedExport } from './shared-state.js';
import type { FromReactor, Question, ReactorData, ToReactor } from './reactor-messages.js';
import type { Port } from './router/port.js';
import { RpcCode, RpcError } from './rpc/errors.js';
import { Watchdog } from './watchdog.js';

/** Events of a reactor's thread. */
export interface ReactorThreadEvents {
  /** The thread ended by itself, while no caller waited for it to start or stop. */
  onLost(error: Error): void;
  /** The thread has been stuck for too long. */
  onGivenUp(): void;
  onEvent(report: EventReport): void;
  onChange?(change: Change): void;
  onClient?(connection: ConnectionHandoff): void;
  /** Block devices have come, gone or changed. */
  onDevices(): void;
}

/** Time limits of the watchdog. */
export interface WatchdogTimes {
  stuckAfterSeconds: number;
  giveUpAfterSeconds: number;
}

/** The main thread's side of reactor-worker.ts. */
export class ReactorThread implements Port {
  /** Resolves with why reactors are not available, or an empty string. */
  readonly composed: Promise<string>;
  readonly stopRequested: Promise<void>;
  /** Addresses at which its NBD clients connect, once it is composed. */
  addresses: readonly NbdListener['address'][] = [];
  readonly #worker: Worker;
  /** The text ` of reactor 1` for messages; empty if there is only one. */
  readonly #which: string;
  readonly #log: Logger;
  readonly #events: ReactorThreadEvents;
  readonly #calls = new Map<number, { readonly resolve: (result: unknown) => void; readonly reject: (error: Error) => void }>();
  #nextId = 0;
  /** The start or stop that is being waited for. */
  #step: { readonly resolve: (text: string) => void; readonly reject: (error: Error) => void } | null = null;
  #onStopRequested: () => void = () => undefined;
  #isComposed = false;
  #isEnding = false;
  readonly #watchdog: Watchdog;

  constructor(data: Omit<ReactorData, 'beat'>, times: WatchdogTimes, events: ReactorThreadEvents, log: Logger) {
    this.#log = log;
    this.#events = events;
    this.#which = data.share === null ? '' : ` of reactor ${data.share.index}`;
    const workerData: ReactorData = { ...data, beat: new Int32Array(new SharedArrayBuffer(4)) };
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
      if (this.#step === null) events.onLost(error);
      else this.#step.reject(error);
    };
    this.#worker.on('error', (error) => lost(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on('exit', (code) => lost(new Error(`the thread${this.#which || ' of the reactor'} ended with code ${code}`)));
    this.#watchdog = this.#watch(workerData.beat, times);
  }

  get isStuck(): boolean {
    return this.#watchdog.isStuck;
  }

  call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    return this.#ask((id) => ({ type: 'call', id, name, params, hasDuplicateKey }));
  }

  /** Sends a question of the router, as {@link call} sends a call. */
  ask(question: Question): Promise<unknown> {
    return this.#ask((id) => ({ type: 'question', id, question }));
  }

  tellExports(exports: readonly SharedExport[]): void {
    this.#send({ type: 'exports', exports });
  }

  renewTls(credentials: TlsCredentials): void {
    this.#send({ type: 'renewTls', credentials });
  }

  giveClient(connection: ConnectionHandoff): void {
    this.#send({ type: 'client', connection });
  }

  async stop(): Promise<void> {
    if (this.#isEnding) return;
    const stopped = this.#waitForStep();
    this.#send({ type: 'stop' });
    await stopped;
  }

  #ask(message: (id: number) => ToReactor): Promise<unknown> {
    if (this.isStuck) return Promise.reject(this.stuckError());
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#calls.set(id, { resolve, reject });
      this.#send(message(id));
    });
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
        this.#calls.get(message.id)?.reject(new RpcError(message.code, message.message, message.data));
        this.#calls.delete(message.id);
        return;
      case 'change':
        this.#events.onChange?.(message.change);
        return;
      case 'event':
        this.#events.onEvent(message.report);
        return;
      case 'client':
        this.#events.onClient?.(message.connection);
        return;
      case 'devices':
        this.#events.onDevices();
        return;
      case 'logLevel':
        this.#log.level = message.level;
        return;
      case 'stopRequested':
        this.#onStopRequested();
        return;
      case 'failed':
        // A thread that could not be composed ends.
        this.#isEnding ||= !this.#isComposed;
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
        this.#isComposed = true;
        this.addresses = message.addresses;
        this.#step?.resolve('');
    }
  }

  /** Rejects pending and later calls. What they asked for may still be carried out. */
  #onStuck(seconds: number): void {
    const message = `the data path${this.#which} is stuck: its thread has made no progress for ${seconds} s. Control calls are refused until it does`;
    this.#events.onEvent({ event: 'DaemonStuck', severity: 'critical', array: null, device: null, message });
    for (const { reject } of this.#calls.values()) reject(this.stuckError());
    this.#calls.clear();
  }

  stuckError(): RpcError {
    const what = `the data path${this.#which} is stuck: its thread makes no progress`;
    return new RpcError(RpcCode.Internal, `${what}. The call may still be carried out when it does`);
  }

  #watch(beat: Int32Array, { stuckAfterSeconds, giveUpAfterSeconds }: WatchdogTimes): Watchdog {
    const watchdog = new Watchdog({
      beat,
      stuckAfterSeconds,
      giveUpAfterSeconds,
      onStuck: (seconds) => this.#onStuck(seconds),
      onMoving: () => this.#log.warn({}, `the data path${this.#which} makes progress again`),
      onGivenUp: (seconds) => {
        this.#log.fatal({ seconds }, `the data path${this.#which} has made no progress for too long: the daemon is killed`);
        this.#events.onGivenUp();
      },
    });
    this.#worker.once('exit', () => watchdog.end());
    return watchdog;
  }
}
