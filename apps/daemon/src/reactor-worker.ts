// A reactor's thread: a whole service around one io_uring. Started by reactor-thread.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { RingEngine, shareClaims, useEngine, watchDevices } from '@raidkit/backend-linux';
import type { DeviceNews } from '@raidkit/backend-linux';
import type { BdevRegistry } from '@raidkit/bdev';
import { RingNbdServer } from '@raidkit/nbd';
import type { PeerServers, TlsHandover } from '@raidkit/nbd';
import { openReactor } from '@raidkit/reactor';
import type { Reactor } from '@raidkit/reactor';
import { pino } from 'pino';
import { composeService } from './compose.js';
import type { ComposedPlane, ServiceThread } from './compose.js';
import { answerQuestion } from './service-questions.js';
import { SharedState } from './shared-state.js';
import type { SharedExport } from './shared-state.js';
import type { FromReactor, ReactorData, ToReactor } from './reactor-messages.js';
import { toRpcError } from './rpc/errors.js';
import { TlsThread } from './tls-thread.js';

const data = workerData as ReactorData;
const log = pino({ level: data.logLevel, name: 'raidkitd' }, pino.destination({ dest: 2, sync: true }));

/** Exports of the other reactors, by name. */
let otherExports = new Map<string, SharedExport>();

function tell(message: FromReactor): void {
  parentPort?.postMessage(message);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Answers a request with the result of `work`, or with the error that it throws. */
async function answer(id: number, work: () => Promise<unknown>, beforeAnswer: () => void): Promise<void> {
  const { level } = log;
  let message: FromReactor;
  try {
    message = { type: 'result', id, result: await work() };
  } catch (error) {
    const { code, message: text, data: more } = toRpcError(error);
    message = { type: 'refusal', id, code, message: text, data: more };
  }
  beforeAnswer();
  tell(message);
  if (log.level !== level) tell({ type: 'logLevel', level: log.level });
}

const tlsThread = data.tls === null ? null : new TlsThread(data.tls.credentials, log);
/** TLS options of the NBD server. */
const tls =
  data.tls === null ? {} : { tls: { isRequired: data.tls.isRequired, take: (client: TlsHandover) => tlsThread?.take(client) } };

async function stop(composed: ComposedPlane, reactor: Reactor, news: DeviceNews | null): Promise<void> {
  await news?.stop();
  await composed.stop();
  await tlsThread?.close();
  await reactor.stop();
  tell({ type: 'stopped' });
  parentPort?.close();
}

/** Place of this service among several; null for the only one. */
function placeOf({ share }: ReactorData): NonNullable<ServiceThread['place']> | null {
  if (share === null) return null;
  const planeShare = new SharedState(share.names, (change) => tell({ type: 'change', change }));
  shareClaims({
    take: (key) => planeShare.names.take(`open ${key}`),
    release: (key) => planeShare.names.release(`open ${key}`),
  });
  return { index: share.index, count: share.count, share: planeShare };
}

const peers: PeerServers = {
  has: (name) => otherExports.has(name),
  exports: () => [...otherExports.values()],
  take: (connection) => tell({ type: 'client', connection }),
};

/** Listens for changes of devices. Only the first reactor does, for all of them. */
function listen({ ring, runtime }: Reactor): DeviceNews | null {
  if ((data.share?.index ?? 0) > 0) return null;
  const news = watchDevices(runtime, ring, () => tell({ type: 'devices' }));
  if (typeof news !== 'string') return news;
  log.info(
    { reason: news },
    'the kernel does not report here which devices appear and disappear: they are scanned for periodically',
  );
  return null;
}

async function run(): Promise<void> {
  const { reactor, reason } = await openReactor({
    memoryBytes: data.memoryBytes,
    spinMicroseconds: data.spinMicroseconds,
    beat: data.beat,
    log,
  });
  if (reactor === null) {
    tell({ type: 'unavailable', reason });
    return;
  }
  const { runtime, ring } = reactor;
  useEngine(runtime, new RingEngine(runtime, ring));
  reactor.start();
  const place = placeOf(data);
  let server: RingNbdServer | undefined;
  const newServer = (registry: BdevRegistry): RingNbdServer =>
    (server = new RingNbdServer({ registry, ring, ...data.nbdLimits, ...tls, ...(place === null ? {} : { peers }) }));
  let composed: ComposedPlane;
  try {
    composed = await composeService(data.service, {
      runtime,
      log,
      newServer,
      load: () => reactor.load,
      onEvent: (report) => tell({ type: 'event', report }),
      ...(place === null ? {} : { place }),
    });
  } catch (error) {
    await reactor.stop();
    throw error;
  }
  const { service } = composed;
  const tellAwaited = (): void => place?.share.tellAwaited(service.arrays);
  void composed.stopRequested.then(() => tell({ type: 'stopRequested' }));
  const news = listen(reactor);
  const failed = (error: unknown): void => tell({ type: 'failed', message: textOf(error) });
  parentPort?.on('message', (message: ToReactor) => {
    switch (message.type) {
      case 'call':
        void answer(
          message.id,
          () => service.dispatcher.call(message.name, message.params, message.hasDuplicateKey),
          tellAwaited,
        );
        return;
      case 'question':
        void answer(message.id, () => answerQuestion(service, message.question), tellAwaited);
        return;
      case 'exports':
        otherExports = new Map(message.exports.map((one) => [one.name, one]));
        return;
      case 'client':
        server?.adopt(message.connection);
        return;
      case 'renewTls':
        tlsThread?.renew(message.credentials);
        return;
      case 'stop':
        stop(composed, reactor, news).catch(failed);
    }
  });
  if (place !== null) service.registry.addListener({ onRegistered: tellAwaited, onUnregistered: tellAwaited });
  tell({ type: 'composed', addresses: service.exports.addresses });
}

run().catch((error: unknown) => tell({ type: 'failed', message: textOf(error) }));
