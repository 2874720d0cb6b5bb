import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { RaidkitClient } from '@raidkit/client';
import { commandLine } from '../command-line.js';
import { DeviceFinder, occupantOf, openSteps, requireFree, wipeStep } from '../devices.js';
import type { Device } from '../devices.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { callStep, carryOut } from '../plan.js';
import type { ChangeOptions, Step } from '../plan.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { takeSnapshot } from '../snapshot.js';
import { addChangeOptions, addOpenOptions, collectName, examples, parseWhole } from './options.js';
import type { ParsedOpenOptions } from './options.js';
import { policyOption } from './reads.js';
import type { ReadPolicy } from './reads.js';

interface CreateOptions extends ChangeOptions, ParsedOpenOptions {
  stripSize?: number;
  uuid?: string;
  superblock: boolean;
  integrity?: boolean;
  assumeClean?: boolean;
  option: Record<string, unknown>;
  readPolicy?: ReadPolicy;
  prefer?: string[];
  writeMostly?: string[];
}

/** Argument for a slot that stays empty for now. */
const missing = 'missing';
/** Default strip size in KiB, for levels that have strips. */
const defaultStripKb = 64;

export function addCreate(program: Command, run: Run): void {
  const command = program
    .command('create')
    .description('create an array over devices, which are opened if necessary')
    .argument('<level>', 'raid0, raid1, raid10, raid5f, raid6, concat, or another level of raidctl modules')
    .argument('<name>', 'name of the new array: 1 to 63 bytes')
    .argument('<devices...>', `paths of block devices or files, names of open devices, or "${missing}" for an empty slot`)
    .option('--strip-size <KiB>', `size of a strip, a power of two (${defaultStripKb})`, parseWhole(1, 1 << 20))
    .option('--uuid <uuid>', 'uuid of the array (random)')
    .option('--no-superblock', 'write no superblocks to the members: the array is not assembled again automatically')
    .option('--integrity', 'keep checksums of the members’ blocks: silent corruption is detected, and repaired from redundancy')
    .option('-o, --option <name=value>', 'an option of the level, its value as JSON or a word; repeatable', collectOption, {})
    .addOption(policyOption('--read-policy'))
    .option('--prefer <device>', 'prefer this member for reads of copies; repeatable', collectName)
    .option('--write-mostly <device>', 'read copies from this member only if no other one can be read; repeatable', collectName)
    .option('--assume-clean', 'not supported: explains why')
    .option('-f, --force', 'overwrite other data on the devices');
  addChangeOptions(addOpenOptions(command))
    .addHelpText(
      'after',
      examples(
        ['raidctl create raid1 vol /dev/sdx /dev/sdy', 'a mirror'],
        ['raidctl create raid10 vol /dev/sd[w-z] -o copies=2', 'striped mirrors'],
        ['raidctl create raid5f vol /dev/sd[x-z]', 'parity over three disks'],
        [
          'raidctl create raid1 vol /dev/sdx missing',
          'a mirror with one member; add the other one with raidctl add vol /dev/sdy',
        ],
        ['raidctl create raid1 vol /dev/sdx /dev/nbd0 --write-mostly /dev/nbd0', 'one member is remote: it is only written'],
        ['raidctl create -n raid1 vol ./a.img ./b.img', 'only show what would be done'],
      ),
    )
    .action((level: string, name: string, devices: string[], options: CreateOptions) =>
      run((session) => create(session, level, name, devices, options)),
    );
}

async function create(
  session: Session,
  level: string,
  name: string,
  args: readonly string[],
  options: CreateOptions,
): Promise<void> {
  if (options.assumeClean === true)
    throw new Failure(
      ExitCode.Refused,
      'a new array reads zeros until it is written, whatever its devices contain, and needs no initial resync',
      { hint: 'without --assume-clean it is usable at once; with --no-superblock it keeps the data of the devices' },
    );
  const client = await session.client();
  const [snapshot, modules] = await Promise.all([takeSnapshot(client), client.call('raidkit_get_modules')]);
  const module = modules.find((other) => other.level === level || other.aliases.includes(level));
  if (module === undefined) {
    const known = modules.map((other) => other.level).join(', ');
    throw new Failure(ExitCode.NotFound, `there is no level ${level}`, { hint: `the levels are: ${known}` });
  }
  if (snapshot.arrays.some((array) => array.name === name)) {
    throw new Failure(ExitCode.Refused, `there is an array ${name} already`, { hint: commandLine('raidctl status', name) });
  }
  const finder = new DeviceFinder(snapshot, session);
  const devices = args.map((argument) => (argument === missing ? null : finder.find(argument)));
  const given = devices.filter((device) => device !== null);
  requireDifferent(given);
  for (const device of given) requireFree(snapshot, device);
  const { overwrites, wipes } = await occupants(client, given);
  const warnings = options.superblock
    ? []
    : [
        'without superblocks the array is lost after a restart unless a configuration creates it again, and a crash leaves its members inconsistent',
      ];
  const isSingle = devices.length === 1 && module.redundant && module.base_bdevs_min === 1;
  if (isSingle) warnings.push('one copy has no redundancy; raidctl add --mirror adds another one');
  const params = {
    name,
    raid_level: module.level,
    base_bdevs: devices.map((device) => device?.name ?? null),
    superblock: options.superblock,
    ...(options.integrity === true ? { integrity: true } : {}),
    ...(isSingle ? { single: true } : {}),
    ...(module.strip_size === 'none' && options.stripSize === undefined
      ? {}
      : { strip_size_kb: options.stripSize ?? defaultStripKb }),
    ...(options.uuid === undefined ? {} : { uuid: options.uuid }),
    ...(Object.keys(options.option).length === 0 ? {} : { level_options: options.option }),
    ...(options.readPolicy === undefined ? {} : { read_policy: options.readPolicy }),
    ...readsOf(given, 'prefer', options.prefer),
    ...readsOf(given, 'write_mostly', options.writeMostly),
    // Set only if the user has agreed to the loss.
    ...(overwrites.length === 0 ? {} : { force: true }),
  };
  const steps: Step[] = [
    ...wipes,
    ...given.flatMap((device) => openSteps(device, options)),
    callStep(
      `create the ${module.level} array ${name} over ${devices.map((device) => device?.name ?? missing).join(', ')}`,
      'bdev_raid_create',
      params,
    ),
  ];
  await carryOut(session, { steps, warnings, graver: overwrites }, options, async () => {
    const [array] = await client.call('raidkit_get_arrays', { name });
    const lines = [`array ${name} is ${array?.state ?? 'gone'}\n`, ...(array?.ext.uris ?? []).map((uri) => `  ${uri}\n`)];
    return lines.join('');
  });
}

/** Members with a read preference, by their names in the daemon. */
function readsOf(
  given: readonly Device[],
  key: 'prefer' | 'write_mostly',
  wanted: readonly string[] = [],
): Record<string, string[]> {
  if (wanted.length === 0) return {};
  const names = wanted.map((argument) => {
    const device = given.find((one) => one.argument === argument || one.name === argument);
    if (device === undefined) throw new Failure(ExitCode.Usage, `${argument} is not a device of the new array`);
    return device.name;
  });
  return { [key]: names };
}

function requireDifferent(devices: readonly Device[]): void {
  const seen = new Set<string>();
  for (const { argument, name, toOpen } of devices) {
    const key = toOpen?.path ?? name;
    if (seen.has(key)) throw new Failure(ExitCode.Usage, `${argument} is given twice`);
    seen.add(key);
  }
}

/**
 * Returns what would be lost, and steps that wipe old superblocks, so that their arrays do not come up as soon as the devices
 * are opened.
 */
async function occupants(client: RaidkitClient, devices: readonly Device[]): Promise<{ overwrites: string[]; wipes: Step[] }> {
  const overwrites: string[] = [];
  const wipes: Step[] = [];
  for (const device of devices) {
    const occupant = await occupantOf(client, device);
    if (occupant === null) continue;
    overwrites.push(`${device.argument} has ${occupant.what}: its data will be lost`);
    if (occupant.isSuperblock) wipes.push(wipeStep(device));
  }
  return { overwrites, wipes };
}

function collectOption(text: string, before: Record<string, unknown>): Record<string, unknown> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be NAME=VALUE.');
  const value = text.slice(at + 1);
  return { ...before, [text.slice(0, at)]: parseValue(value) };
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
