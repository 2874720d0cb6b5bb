// npm run bench:overhead: what core and each level cost per I/O, over members that do nothing.
import { IoType } from '@raidkit/bdev';
import type { BdevDescriptor } from '@raidkit/bdev';
import { NullArrays } from './lib/null-arrays.js';
import { readOptions } from './lib/options.js';
import { report } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Contender } from './lib/rounds.js';
import { median } from './lib/statistics.js';

const options = readOptions('overhead', { rounds: 12, seconds: 0.1 });
const iosPerRound = 100_000;
/** A stripe of four data strips of 64 KiB, in blocks of 4 KiB. */
const stripeBlocks = 64;

interface Device extends Contender {
  descriptor: BdevDescriptor;
}

const world = new NullArrays();
const device = async (name: string, descriptor: Promise<BdevDescriptor>): Promise<Device> => ({
  name,
  pids: [],
  descriptor: await descriptor,
});
const alone = await device('one device', world.device());
const concat = await device('concat of 4', world.array('concat', 4));
const raid0 = await device('raid0 of 4', world.array('raid0', 4));
const raid1 = await device('raid1 of 2', world.array('raid1', 2));
const raid5f = await device('raid5f of 5', world.array('raid5f', 5));
const raid6 = await device('raid6 of 6', world.array('raid6', 6));

function ofType(id: string, title: string, type: IoType, numBlocks: number, contenders: Device[]): Case<Device> {
  return {
    id,
    title,
    unit: 'ns of CPU per I/O (less is better)',
    contenders,
    measure: async ({ descriptor }) => ({
      value: await world.nanosecondsPerIo(descriptor, type, numBlocks, iosPerRound / numBlocks),
    }),
  };
}

const cases = [
  ofType('read-4k', '4k random read', IoType.Read, 1, [alone, concat, raid0, raid1, raid5f, raid6]),
  ofType('write-4k', '4k random write', IoType.Write, 1, [alone, concat, raid0, raid1, raid5f, raid6]),
  ofType('write-stripe', 'write of a whole stripe of 256k', IoType.Write, stripeBlocks, [alone, raid5f, raid6]),
].filter(({ id }) => options.isWanted(id));

await runRounds(cases, 2);
const results = await runRounds(cases, options.rounds);
const extra = results.flatMap(({ title, contenders }) => {
  const base = median(contenders[0]?.samples.map(({ value }) => value) ?? []);
  return contenders
    .slice(1)
    .map(({ name, samples }) => `| ${title} | ${name} | ${Math.round(median(samples.map(({ value }) => value)) - base)} |`);
});
report(
  'overhead',
  'What the levels cost',
  options,
  results,
  [],
  [
    `32 I/Os in flight, one thread, ${iosPerRound} I/Os (of 4k) a round over devices that forget what is written and fill what is read with zeros. A mirror's write is two writes, a raid5f write of 4k two reads and two writes at least, with their parity, one of raid6 three of each.`,
    ['| | | ns more per I/O than one device |', '|---|---|---|', ...extra].join('\n'),
  ],
);
