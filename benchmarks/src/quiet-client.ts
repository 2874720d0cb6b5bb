// A client that minds its own business, one read of 4 KiB after the other. A program:
//   quiet-client.js SOCKET EXPORT EXPORT_BYTES SECONDS
// Prints one line of JSON. What has not been answered by the end counts with what it has waited so far.
import { Command, RawClient, request } from './lib/raw-client.js';
import { quantile } from './lib/statistics.js';

const blockBytes = 4096;
const replyBytes = 16;
const pauseMs = 1;

const [path = '', exportName = '', bytes = '0', seconds = '0'] = process.argv.slice(2);
const waits: number[] = [];
const begun = performance.now();
const endAt = begun + Number(seconds) * 1000;
let askedAt = begun;
let connectedMs: number | null = null;

async function run(): Promise<void> {
  const client = await RawClient.connect(path);
  await client.choose(exportName);
  connectedMs = performance.now() - begun;
  for (let count = 0; performance.now() < endAt; count++) {
    askedAt = performance.now();
    const block = (count * 7919) % Math.floor(Number(bytes) / blockBytes);
    client.socket.write(request(Command.Read, block * blockBytes, blockBytes));
    const reply = await client.read(replyBytes + blockBytes);
    if (reply.readUInt32BE(4) !== 0) throw new Error('a read has failed');
    waits.push(performance.now() - askedAt);
    askedAt = Infinity;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    askedAt = performance.now();
  }
}

function finish(failure: string | null): void {
  const left = performance.now() - askedAt;
  const isCut = failure === null && performance.now() >= endAt + 100;
  if (isCut) waits.push(left);
  const [p50Ms, p99Ms, maxMs] = [0.5, 0.99, 1].map((q) => (waits.length === 0 ? null : quantile(waits, q)));
  console.log(JSON.stringify({ reads: waits.length, connectedMs, p50Ms, p99Ms, maxMs, isCut, failure }));
  process.exit(0);
}

const timer = setTimeout(() => finish(null), Number(seconds) * 1000 + 200);
run().then(
  () => {
    clearTimeout(timer);
    finish(null);
  },
  (error: unknown) => finish(error instanceof Error ? error.message : String(error)),
);
