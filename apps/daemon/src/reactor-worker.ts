// The reactor's thread: the whole plane around one io_uring. Started by reactor-host.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { RingEngine, useEngine } from '@raidkit/backend-linux';
import { RingNbdServer } from '@raidkit/nbd';
import { openReactor } from '@raidkit/reactor';
import type { Reactor } from '@raidkit/reactor';
import { pino } from 'pino';
import { composePlane } from './compose.js';
import type { ComposedPlane } from './compose.js';
import { demoText, startDemo } from './demo.js';
import type { FromReactor, ReactorData, ToReactor } from './reactor-messages.js';
import { RpcCode, RpcError } from './rpc/errors.js';

const data = workerData as ReactorData;
const log = pino({ level: data.logLevel, name: 'raidkitd' }, pino.destination({ dest: 2, sync: true }));

function tell(message: FromReactor): void {
  parentPort?.postMessage(message);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function call(composed: ComposedPlane, { id, name, params, hasDuplicateKey }: ToReactor & { type: 'call' }): Promise<void> {
  const { level } = log;
  try {
    tell({ type: 'result', id, result: await composed.plane.dispatcher.call(name, params, hasDuplicateKey) });
  } catch (error) {
    const { code, message } = error instanceof RpcError ? error : new RpcError(RpcCode.Internal, String(error));
    tell({ type: 'refusal', id, code, message });
  }
  if (log.level !== level) tell({ type: 'logLevel', level: log.level });
}

async function begin(composed: ComposedPlane): Promise<void> {
  await composed.begin();
  const { plane } = composed;
  const text = data.demo === null ? '' : demoText(plane, data.demo, await startDemo(plane, data.demo));
  tell({ type: 'begun', demoText: text });
}

async function stop(composed: ComposedPlane, reactor: Reactor): Promise<void> {
  await composed.stop();
  await reactor.stop();
  tell({ type: 'stopped' });
  parentPort?.close();
}

async function run(): Promise<void> {
  const { reactor, reason } = await openReactor({ memoryBytes: data.memoryBytes, spinMicroseconds: data.spinMicroseconds, beat: data.beat, log });
  if (reactor === null) {
    tell({ type: 'unavailable', reason });
    return;
  }
  const { runtime, ring } = reactor;
  useEngine(runtime, new RingEngine(runtime, ring));
  reactor.start();
  let composed: ComposedPlane;
  try {
    composed = await composePlane(data.plane, { runtime, log, newServer: (registry) => new RingNbdServer({ registry, ring, ...data.nbdLimits }) });
  } catch (error) {
    await reactor.stop();
    throw error;
  }
  void composed.stopRequested.then(() => tell({ type: 'stopRequested' }));
  const failed = (error: unknown): void => tell({ type: 'failed', message: textOf(error) });
  parentPort?.on('message', (message: ToReactor) => {
    if (message.type === 'call') void call(composed, message);
    else if (message.type === 'begin') begin(composed).catch(failed);
    else stop(composed, reactor).catch(failed);
  });
  tell({ type: 'composed' });
}

run().catch((error: unknown) => tell({ type: 'failed', message: textOf(error) }));
