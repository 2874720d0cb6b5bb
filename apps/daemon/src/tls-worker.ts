// The thread that does TLS for a reactor, which sleeps in its ring and cannot. Started by tls-thread.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { TlsTerminator } from '@raidkit/nbd';
import { openReactor } from '@raidkit/reactor';
import type { FromTls, TlsData, ToTls } from './tls-messages.js';

/** Buffers come from elsewhere: this is the least that a reactor can have. */
const memoryBytes = 64 * 1024;

const { credentials } = workerData as TlsData;
// Its clients come in bursts of records: to look for them between two would take the processor from the programs that make them.
const { reactor } = await openReactor({ memoryBytes, hugePages: false, spinMicroseconds: 0 });
reactor?.start();
const onFailed = (peer: string, reason: string): void => {
  const message: FromTls = { type: 'failed', peer, reason };
  parentPort?.postMessage(message);
};
const terminator = new TlsTerminator(credentials, onFailed, { ring: reactor?.ring ?? null });
// Also after an exception that was not caught.
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
