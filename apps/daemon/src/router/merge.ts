import { RpcError } from '../rpc/errors.js';
import type { Directory } from './directory.js';
import type { Merge } from './routes.js';

type Named = Readonly<Record<string, unknown>>;

/** Merges the answers of all reactors, given in their order, into one. Throws the first refusal. */
export function mergeAnswers(how: Merge, answers: readonly PromiseSettledResult<unknown>[], directory: Directory): unknown {
  if (how === 'disks') return mergeKnown(answers);
  const values = answers.map((answer) => {
    if (answer.status === 'rejected') throw answer.reason;
    return answer.value;
  });
  const nameOf = (item: Named): string => String(item.name);
  switch (how) {
    case 'nothing':
      return values[0];
    case 'lists':
      return values.flat();
    case 'bdevs':
      return directory.sort('bdev', values.flat() as Named[], nameOf);
    case 'arrays':
      return directory.sort('array', values.flat() as Named[], nameOf);
    case 'exports':
      return directory.sort('export', values.flat() as Named[], nameOf);
    case 'iostat': {
      const stats = values as { bdevs: Named[] }[];
      return {
        ...stats[0],
        bdevs: directory.sort(
          'bdev',
          stats.flatMap(({ bdevs }) => bdevs),
          nameOf,
        ),
      };
    }
    case 'threads': {
      const stats = values as { threads: Named[] }[];
      return { ...stats[0], threads: stats.flatMap(({ threads }) => threads) };
    }
    case 'config':
      return mergeConfig(values as ConfigCall[][], directory);
  }
}

/** Merges lists, without the answers of reactors that do not know the device. */
function mergeKnown(answers: readonly PromiseSettledResult<unknown>[]): unknown {
  const isUnknown = (answer: PromiseSettledResult<unknown>): boolean =>
    answer.status === 'rejected' && answer.reason instanceof RpcError && answer.reason.code === -19;
  const known = answers.filter((answer) => !isUnknown(answer));
  return (known.length > 0 ? known : answers.slice(0, 1)).flatMap((answer) => {
    if (answer.status === 'rejected') throw answer.reason;
    return answer.value;
  });
}

interface ConfigCall {
  method: string;
  params?: { name?: string };
}

/**
 * Merges configurations: first the options, which are the same everywhere, then devices, arrays, spares and volumes that are
 * members, limits, exports and kernel attachments, and then the wait for all of them.
 */
function mergeConfig(configs: readonly ConfigCall[][], directory: Directory): ConfigCall[] {
  const isOption = ({ method }: ConfigCall): boolean => method === 'bdev_set_options' || method === 'bdev_raid_set_options';
  const isAddition = ({ method }: ConfigCall): boolean => method === 'raidkit_add_spare' || method === 'bdev_examine';
  const isLast = ({ method }: ConfigCall): boolean => method === 'raidkit_nbd_export' || method === 'bdev_set_qos_limit';
  const isAttachment = ({ method }: ConfigCall): boolean => method === 'nbd_start_disk';
  const isWait = ({ method }: ConfigCall): boolean => method === 'bdev_wait_for_examine';
  const all = configs.flat();
  const first = configs[0] ?? [];
  const made = all.filter(
    (call) => !isOption(call) && !isAddition(call) && !isLast(call) && !isAttachment(call) && !isWait(call),
  );
  return [
    ...first.filter(isOption),
    ...directory.sort('bdev', made, ({ params }) => params?.name ?? ''),
    ...all.filter(isAddition),
    ...all.filter(isLast),
    ...all.filter(isAttachment),
    ...first.filter(isWait),
  ];
}
