// The thread that does TLS for a reactor, which sleeps in its ring and cannot. Started by tls-thread.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { TlsTerminator } from '@raidkit/nbd';
import type { FromTls, TlsData, ToTls } from './tls-messages.js';

const { credentials } = workerData as TlsData;
const terminator = new TlsTerminator(credentials, (peer, reason) => {
  const message: FromTls = { type: 'failed', peer, reason };
  parentPort?.postMessage(message);
});

parentPort?.on('message', (message: ToTls) => {
  if (message.type === 'client') terminator.take(message.client);
  else if (message.type === 'renew') terminator.renew(message.credentials);
  else void terminator.close().then(() => parentPort?.close());
});
