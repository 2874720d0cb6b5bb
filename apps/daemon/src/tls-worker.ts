// A thread that does TLS for a reactor, which cannot because it sleeps in its ring. Started by tls-thread.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { TlsTerminator } from '@raidkit/nbd';
import { openReactor } from '@raidkit/reactor';
import type { FromTls, TlsData, ToTls } from './tls-messages.js';

/** Buffers come from elsewhere, so this is the smallest size that a reactor can have. */
const memoryBytes = 64 * 1024;

const { credentials } = workerData as TlsData;
// No spinning: records arrive in bursts, and polling between them would take processor time from the clients' programs.
const { reactor } = await openReactor({ memoryBytes, hugePages: false, spinMicroseconds: 0 });
reactor?.start();
const onFailed = (peer: string, reason: string): void => {
  const message: FromTls = { type: 'failed', peer, reason };
  parentPort?.postMessage(message);
};
const terminator = new TlsTerminator(credentials, onFailed, { ring: reactor?.ring ?? null });
// This also runs after an uncaught exception.
process.once('exit', () => {
  terminator.abort();
  reactor?.ring.close();
});

parentPort?.on('message', (message: ToTls) => {
  if (message.type === 'client') terminator.take(message.client);
  else if (message.type === 'renew') terminator.renew(message.credentials);
  else
    void terminator
      .close()
      .then(() => reactor?.stop())
      .then(() => parentPort?.close());
});
