import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { reactors, startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';

/**
 * What SPDK (head) answered to 174 requests, sent again in the same order. Every answer must be the same, but for what is
 * removed by `comparable` and for the entries of `differences`; docs/rpc.md explains both.
 */
interface Exchange {
  note: string | null;
  request: { id: number; method: string; params?: Record<string, unknown> };
  response: { result?: unknown; error?: { code: number; message: string } };
}

const lines = readFileSync(new URL('./fixtures/spdk-head-rpc-transcript.jsonl', import.meta.url), 'utf8').trim();
const exchanges = lines.split('\n').map((line) => JSON.parse(line) as Exchange);

/** Index in the transcript → why the answer is another one. The same list, in words, is in docs/rpc.md. */
const differences: Readonly<Record<number, string>> = {
  6: 'raid6 is a level here: it is refused for having two members',
  83: 'a waiting slot keeps its name when an unsuitable device of that name appears',
  86: 'and so takes the suitable one that appears next: the array is online',
  88: 'being online, it goes offline when a member leaves',
  90: 'and is gone with its last member',
  91: 'so there is nothing to delete',
  99: 'how far the rebuild is',
  100: 'how far the rebuild is',
  101: 'how far the rebuild is',
  152: 'how far the rebuild is',
  156: 'how far the rebuild is',
  166: 'calls come in the order in which they can be replayed; SPDK’s NVMe options are not ours',
  169: 'calls come in the order in which they can be replayed; SPDK’s NVMe options are not ours',
};

/** SPDK's, and our own: with several reactors devices say where they are. */
const foreignKeys = new Set(['memory_domains', 'numa_id', 'raidkit']);
const honestKeys = new Set(['supported_io_types']);

/** Without what differs by nature: random uuids, DMA domains, NUMA nodes, reactors, and I/O types that only SPDK has or lacks. */
function comparable(value: unknown, given: ReadonlySet<string>): unknown {
  const text = JSON.stringify(value, (key, inner: unknown) => {
    if (foreignKeys.has(key) || honestKeys.has(key)) return undefined;
    const isUuid = typeof inner === 'string' && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(inner);
    return isUuid && !given.has(inner) && !/^0{8}-/.test(inner) ? 'a random uuid' : inner;
  });
  return JSON.parse(text);
}

let test: TestDaemon;
beforeAll(async () => {
  test = await startTestDaemon();
});
afterAll(() => test.end());

it('answers as SPDK does', async () => {
  const given = new Set<string>();
  const unexpected: string[] = [];
  const agreed: number[] = [];
  for (const [index, { note, request, response }] of exchanges.entries()) {
    // A recorded answer of the time after a rebuild was asked for when it was over.
    if (/^(after re|rebuilt)/.test(note ?? '')) await rebuildsEnded();
    if (typeof request.params?.uuid === 'string') given.add(request.params.uuid);
    const { result, error } = await test.client.ask(request.method, placed(request));
    // The reason of a refusal is our own text.
    const ours = comparable(error === undefined ? { result } : { error: { code: error.code, message: error.message } }, given);
    const theirs = comparable(response.error === undefined ? { result: response.result } : { error: response.error }, given);
    try {
      expect(ours).toEqual(theirs);
      if (index in differences) agreed.push(index);
    } catch {
      if (!(index in differences)) {
        unexpected.push(
          `${index} ${String(note)} ${request.method}: ${JSON.stringify(ours)} instead of ${JSON.stringify(theirs)}`,
        );
      }
    }
  }
  expect(unexpected).toEqual([]);
  // A difference that is no more must leave the list; how far a rebuild is may agree by chance.
  expect(agreed.filter((index) => !differences[index]!.includes('rebuild'))).toEqual([]);
});

/** With several reactors the last one does it all. */
function placed({ method, params }: Exchange['request']): unknown {
  const isPlaced = reactors > 1 && (method === 'bdev_malloc_create' || method === 'bdev_null_create');
  return isPlaced && params !== undefined ? { ...params, reactor: reactors - 1 } : params;
}

it('documents every difference', () => {
  const doc = readFileSync(new URL('../../../docs/rpc.md', import.meta.url), 'utf8');
  for (const index of Object.keys(differences)) expect(doc).toContain(`| ${index} |`);
});

async function rebuildsEnded(): Promise<void> {
  for (;;) {
    const arrays = (await test.client.call('raidkit_get_arrays')) as { ext: { process: object | null; health: string } }[];
    if (arrays.every(({ ext }) => ext.process === null && ext.health !== 'rebuilding')) return;
    await sleep(5);
  }
}
