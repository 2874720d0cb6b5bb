import { execFileSync } from 'node:child_process';
import { Writable } from 'node:stream';
import { arraySchema } from '@raidkit/client';
import type { RaidArrayInfo } from '@raidkit/client';
import { expect, it } from 'vitest';
import { ExitCode, exitCodeOf, worst } from '../src/exit-code.js';
import { actionOf, findingsOf, statusOf } from '../src/findings.js';
import { formatBytes, formatCount, formatSeconds } from '../src/format.js';
import { describeArray, nothing } from '../src/snapshot.js';
import { renderArray } from '../src/status-view.js';
import { Terminal, visible } from '../src/terminal.js';

/* States that take a broken disk to come by: what is said of them. */

const member = {
  state: 'current',
  last_member: null,
  read_errors: 0,
  write_errors: 0,
  repaired_blocks: 0,
  bad_blocks: 0,
  can_leave: true,
};
const record = {
  target: null,
  started_at: 1,
  seconds: 1,
  blocks: 1,
  mismatch_blocks: 0,
  repaired_blocks: 0,
  undecided_blocks: 0,
  unreadable_blocks: 0,
  lost_blocks: 0,
  error: null,
};

/** A mirror of two, with what is said of it changed. */
function mirror(ext: Record<string, unknown>, members: readonly Record<string, unknown>[] = [{}, {}]): RaidArrayInfo {
  return arraySchema.parse({
    name: 'vol',
    uuid: '6c5a9c3e-6f0a-4c63-8a57-3a4dd1b3b1a5',
    strip_size_kb: 0,
    state: 'online',
    raid_level: 'raid1',
    superblock: true,
    num_base_bdevs: 2,
    num_base_bdevs_discovered: 2,
    num_base_bdevs_operational: 2,
    base_bdevs_list: [],
    ext: {
      health: 'optimal',
      reason: null,
      reactor: 0,
      block_size: 512,
      num_blocks: 1000,
      min_operational: 1,
      can_lose: 0,
      process: null,
      waits_for: null,
      history: [],
      regions: null,
      uris: [],
      members: members.map((one, slot) => ({ ...member, slot, name: `d${slot}`, ...one })),
      ...ext,
    },
  });
}

it.each([
  [
    'a device that is late',
    mirror({}, [{}, { state: 'unresponsive' }]),
    'check the device, or replace it: raidctl replace vol d1 NEWDEVICE',
  ],
  [
    'errors that were mended',
    mirror({}, [{ read_errors: 2, repaired_blocks: 8 }, {}]),
    'check the health of the device, and replace it before it fails: raidctl replace vol d0 NEWDEVICE',
  ],
  [
    'blocks whose contents are not known',
    mirror({}, [{}, { bad_blocks: 3 }]),
    'rewrite them, or restore the data from a backup: raidctl history vol',
  ],
  [
    'copies that differ',
    mirror({ history: [{ ...record, type: 'check', mismatch_blocks: 4 }] }),
    'repair them: raidctl repair vol',
  ],
  [
    'copies of which the right one is not known',
    mirror({ history: [{ ...record, type: 'repair', undecided_blocks: 4 }] }),
    'give the member that is right, or the one that is wrong: raidctl repair --source DEVICE vol',
  ],
  [
    'a flush that failed',
    mirror({ health: 'failed', reason: 'a flush failed on slot 0 (d0)' }),
    'save what can still be read, fix the device, then stop the array and start it again: raidctl stop vol',
  ],
  ['nothing', mirror({}), null],
])('says what to do about %s', (_name, array, action) => {
  expect(actionOf(nothing, array)).toBe(action);
});

it('says the worst first, and how much more can be lost', () => {
  const array = mirror({ health: 'degraded', reason: 'the array runs without slot 1 (d1)' }, [
    { read_errors: 1 },
    { state: 'failed', name: null },
  ]);
  expect(statusOf(array)).toBe(
    'the array runs without slot 1 (d1); data is served, and the loss of one more member takes the array offline',
  );
  expect(findingsOf(nothing, array).map(({ severity }) => severity)).toEqual(['degraded', 'notice']);
  const spare = { ...nothing, spares: [{ bdev_name: 's', name: null }] };
  expect(actionOf(spare, array)).toMatch(/^the spare s fills the slot/);
});

it.each([
  'a b',
  "it's",
  '~',
  '*',
  '',
  '-x',
  '--yes',
  'x;echo',
  'x$(echo 1)`echo 2`',
  'back\\slash',
  'line\nbreak',
  "\u001b[2J\u009b\u202e it's \\",
])('proposes commands in which %j is one word, and no option', (name) => {
  const array = { ...mirror({}, [{}, { state: 'unresponsive', name }]), name };
  const [{ commands } = { commands: [] }] = findingsOf(nothing, array);
  const [command = ''] = commands;
  expect(command).not.toMatch(/[\p{Cc}\u202e]/u);
  const words = execFileSync('bash', ['-c', `raidctl() { printf '%s\\0' "$@"; }; ${command}`])
    .toString()
    .split('\0');
  const end = name.startsWith('-') ? ['--'] : [];
  expect(words).toEqual(['replace', ...end, name, name, 'NEWDEVICE', '']);
});

it('shows what a terminal would obey, and leaves colours and documents as they are', () => {
  expect(visible('a\u001b[2Jb\u009b\u202e\r\n')).toBe('a\\u001b[2Jb\\u009b\\u202e\\u000d\n');
  const coloured = '\u001b[33m\u001b[1mDEGRADED\u001b[22m\u001b[39m däta ├─\n';
  expect(visible(coloured)).toBe(coloured);
  const document = { name: '\u001b\u007f\u009b\u202e\\' };
  expect(JSON.parse(visible(JSON.stringify(document)))).toEqual(document);
});

it('has an exit code for each health, and for several the worst', () => {
  expect(['optimal', 'resyncing', 'degraded', 'rebuilding', 'configuring', 'offline', 'failed'].map(exitCodeOf)).toEqual([
    0, 0, 5, 5, 1, 1, 1,
  ]);
  expect(worst([])).toBe(ExitCode.Ok);
  expect(worst([ExitCode.Ok, ExitCode.Degraded, ExitCode.Failed])).toBe(ExitCode.Failed);
});

it('writes sizes, numbers and times as people do', () => {
  expect([0, 1023, 1024, 1536, 12.5 * 1024, 300 * 1024 ** 3, 5 * 1024 ** 4].map(formatBytes)).toEqual([
    '0 B',
    '1023 B',
    '1 KiB',
    '1.50 KiB',
    '12.5 KiB',
    '300 GiB',
    '5 TiB',
  ]);
  expect([0, 0.5, 12, 1500, 2_500_000].map(formatCount)).toEqual(['0', '0.5', '12', '1.5k', '2.5M']);
  expect([0, 59, 60, 3725, 90_000].map(formatSeconds)).toEqual(['0 s', '59 s', '1 min', '1 h 2 min', '1 d 1 h']);
});

it('has a disk replaced that says that it is failing, while it serves', () => {
  const disk = { bdev_name: 'd1', path: '/dev/sdx', verdict: 'bad', reason: 'it no longer accepts writes' };
  const snapshot = { ...nothing, diskHealth: { is_on: true, reason: null, disks: [disk] } };
  const array = mirror({}, [{ name: 'd0' }, { name: 'd1' }]);
  expect(findingsOf(snapshot, array)).toMatchObject([
    {
      severity: 'notice',
      what: 'the disk of slot 1, d1 (/dev/sdx), is failing: it no longer accepts writes',
      commands: ['raidctl replace vol d1 NEW'],
    },
  ]);
  expect(actionOf(snapshot, array)).toBe('replace it while it still works: raidctl replace vol d1 NEW');
});

it('shows the serial numbers of disks, of the one that is gone too', () => {
  const members = [
    { name: 'sda', serial: 'WD-1' },
    { name: null, state: 'missing', last_member: { name: 'sdb', uuid: 'x', serial: 'WD-2' } },
  ];
  const array = describeArray(nothing, mirror({ health: 'degraded' }, members));
  expect(array.slots).toMatchObject([
    { serial: 'WD-1', last_serial: null },
    { serial: null, last_device: 'sdb', last_serial: 'WD-2' },
  ]);
  const stdout = Object.assign(new Writable(), { isTTY: false }) as unknown as NodeJS.WriteStream;
  const streams = { stdin: process.stdin, stdout, stderr: process.stderr, env: {} };
  const text = renderArray(new Terminal(streams), array, [array]);
  expect(text).toMatch(/slot 0 {2}sda .* serial WD-1\n/);
  expect(text).toMatch(/slot 1 {2}\(sdb\) .* serial WD-2\n/);
});

it('says of a mirror with one slot that it has no redundancy', () => {
  expect(statusOf({ ...mirror({}, [{}]), num_base_bdevs: 1 })).toBe('1 member, in sync, and no redundancy');
});
