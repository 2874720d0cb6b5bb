import type { Command } from 'commander';
import type { Examination, RaidkitClient } from '@raidkit/client';
import { DeviceFinder } from '../devices.js';
import type { Device } from '../devices.js';
import type { Document } from '../documents.js';
import { formatBytes } from '../format.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { nothing, takeSnapshot } from '../snapshot.js';
import type { Snapshot } from '../snapshot.js';
import { examples } from './options.js';

type Examined = Extract<Document, { command: 'examine' }>['devices'][number];

export function addExamine(program: Command, run: Run): void {
  program
    .command('examine')
    .description('show the superblocks of devices, without starting or changing anything; works without the daemon, too')
    .argument('<device...>', 'paths of block devices or files, or names of open devices')
    .addHelpText(
      'after',
      examples(
        ['raidctl examine /dev/sd?', 'which disks belong to which array'],
        ['raidctl examine --json ./disk.img', 'an image file, for a program'],
      ),
    )
    .action((args: string[]) => run((session) => examine(session, args)));
}

async function examine(session: Session, args: readonly string[]): Promise<void> {
  const needsDaemon = args.some((argument) => !argument.includes('/'));
  const client = await session.client().catch((error: unknown) => {
    if (!needsDaemon) return null;
    throw error;
  });
  const snapshot = client === null ? nothing : await takeSnapshot(client);
  const finder = new DeviceFinder(snapshot, session);
  const levels = new Map((await client?.call('raidkit_get_modules'))?.map(({ code, level }) => [code, level]));
  const devices: Examined[] = [];
  for (const argument of args) {
    const device = finder.find(argument);
    devices.push(
      device.toOpen === null && client !== null
        ? await examineOpen(client, device, serialOf(snapshot, device))
        : await examineClosed(device, levels),
    );
  }
  session.print({ version: 1, command: 'examine', devices }, devices.map(describe).join('\n'));
}

async function examineOpen(client: RaidkitClient, { argument, bdev, name }: Device, serial: string | null): Promise<Examined> {
  const examination: Examination = await client.call('raidkit_examine', { bdev_name: name });
  const base = { device: argument, opened_by_daemon: true, serial, signature: null, reason: null, array: null };
  switch (examination.superblock) {
    case 'none':
      return { ...base, superblock: 'none', signature: examination.signature ?? null };
    case 'unusable':
      return { ...base, superblock: 'unusable', reason: examination.reason };
    case 'found': {
      const { block_size: blockSize } = examination;
      return {
        ...base,
        superblock: 'found',
        array: {
          name: examination.name,
          uuid: examination.uuid,
          level: examination.raid_level,
          level_code: examination.level,
          size_bytes: examination.num_blocks * blockSize,
          strip_size_kb: (examination.strip_size_blocks * blockSize) / 1024,
          sequence_number: examination.seq_number,
          has_integrity: examination.integrity,
          slot: slotOf(examination.slots, bdev?.uuid),
          slots: examination.slots.map(({ uuid, state, data_offset_blocks: offset }) => ({
            uuid,
            state,
            data_offset_bytes: offset * blockSize,
          })),
        },
      };
    }
  }
}

async function examineClosed({ argument, toOpen }: Device, levels: ReadonlyMap<number, string>): Promise<Examined> {
  const { examineLocally } = await import('../local-device.js');
  const { found, hasIntegrity, serial, signature, uuid } = await examineLocally(toOpen?.path ?? argument);
  const base = { device: argument, opened_by_daemon: false, serial, signature, reason: null, array: null };
  if (found.kind === 'none') return { ...base, superblock: 'none' };
  if (found.kind === 'unusable') return { ...base, superblock: 'unusable', reason: found.message };
  const { record } = found;
  return {
    ...base,
    superblock: 'found',
    array: {
      name: record.name,
      uuid: record.uuid,
      level: levels.get(record.level) ?? null,
      level_code: record.level,
      size_bytes: record.numBlocks * record.blockSize,
      strip_size_kb: (record.stripSizeBlocks * record.blockSize) / 1024,
      sequence_number: record.seqNumber,
      has_integrity: hasIntegrity,
      slot: slotOf(record.slots, uuid),
      slots: record.slots.map(({ dataOffsetBlocks, state, uuid: slotUuid }) => ({
        uuid: slotUuid,
        state,
        data_offset_bytes: dataOffsetBlocks * record.blockSize,
      })),
    },
  };
}

/** Serial number of an open device, if an array has it as a member. */
function serialOf({ arrays }: Snapshot, { name }: Device): string | null {
  const members = arrays.flatMap(({ ext }) => ext.members);
  return members.find((member) => member.name === name)?.serial ?? null;
}

function slotOf(slots: readonly { uuid: string }[], uuid: string | undefined): number | null {
  const index = slots.findIndex((slot) => slot.uuid === uuid);
  return index < 0 ? null : index;
}

function describe({ array, device, reason, serial, signature, superblock }: Examined): string {
  if (array === null) {
    const what = superblock === 'unusable' ? `a superblock that cannot be used: ${String(reason)}` : 'no superblock';
    return `${device}${serial === null ? '' : `, serial ${serial}`}: ${what}${signature === null ? '' : `; it has ${signature}`}\n`;
  }
  // If a device does not say which slot is its own, the data must start at the same offset in all slots.
  const own = array.slot === null ? array.slots : [array.slots[array.slot]];
  const [offset, another] = new Set(own.map((slot) => slot?.data_offset_bytes));
  const lines = [
    `${device}: member of array ${array.name}`,
    ...(serial === null ? [] : [`  serial    ${serial}`]),
    `  uuid      ${array.uuid}`,
    `  level     ${array.level ?? `code ${array.level_code}`}`,
    `  size      ${formatBytes(array.size_bytes)}${array.strip_size_kb === 0 ? '' : `, strips of ${array.strip_size_kb} KiB`}`,
    `  sequence  ${array.sequence_number}`,
    ...(array.has_integrity ? ['  checksums kept'] : []),
    ...(offset === undefined || another !== undefined ? [] : [`  data      from ${formatBytes(offset)} on`]),
    ...array.slots.map(
      ({ state, uuid }, index) => `  slot ${index}    ${uuid}  ${state}${index === array.slot ? '  (this device)' : ''}`,
    ),
  ];
  return lines.map((line) => `${line}\n`).join('');
}
