import type { Command } from 'commander';
import type { RaidArrayInfo } from '@raidkit/client';
import { formatBytes } from '../format.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { findArray, pathOf, takeSnapshot } from '../snapshot.js';
import { addChangeOptions, examples, parseWhole } from './options.js';

type GrowOptions = ChangeOptions & { limit: number };

const pollMs = 100;

export function addGrow(program: Command, run: Run): void {
  addChangeOptions(
    program
      .command('grow')
      .description('check the sizes of the members now: an array grows automatically when all of them have room for it')
      .argument('<array>', 'name or uuid')
      .option('--limit <seconds>', 'how long to wait for it to grow', parseWhole(0, 86_400), 5),
  )
    .addHelpText(
      'after',
      examples(['raidctl grow vol', 'after its disks or files have been enlarged or replaced by larger ones']),
    )
    .action((array: string, options: GrowOptions) => run((session) => grow(session, array, options)));
}

async function grow(session: Session, arrayName: string, options: GrowOptions): Promise<void> {
  const client = await session.client();
  const { arrays, bdevs } = await takeSnapshot(client);
  const array = findArray(arrays, arrayName);
  const members = array.ext.members.flatMap(({ name }) => bdevs.find((bdev) => bdev.name === name) ?? []);
  const steps = members
    .filter((bdev) => pathOf(bdev) !== null)
    .map(({ name }) => callStep(`check for a new size of ${name}`, 'bdev_aio_rescan', { name }));
  await carryOut(session, { steps, warnings: [] }, options, async () => {
    const until = performance.now() + options.limit * 1000;
    for (;;) {
      const [now] = await client.call('raidkit_get_arrays', { name: array.uuid });
      if (now === undefined) return `array ${array.name} does not exist any more\n`;
      if (bytesOf(now) > bytesOf(array))
        return `array ${array.name} has grown from ${formatBytes(bytesOf(array))} to ${formatBytes(bytesOf(now))}\n`;
      if (performance.now() > until)
        return `array ${array.name} still has ${formatBytes(bytesOf(now))}: it grows when every member has room for it\n`;
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  });
}

function bytesOf({ ext }: RaidArrayInfo): number {
  return ext.num_blocks * ext.block_size;
}
