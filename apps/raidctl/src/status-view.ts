import type { ArrayDocument, ProcessDocument, SlotDocument } from './documents.js';
import { exitCodeOf } from './exit-code.js';
import { formatBytes, formatSeconds, plural } from './format.js';
import { renderTable } from './table.js';
import type { Terminal } from './terminal.js';
import { ofTargets } from './work.js';

/** Width of a progress bar, in characters. */
const barWidth = 24;

const columns = [
  { heading: 'NAME' },
  { heading: 'STATE' },
  { heading: 'READ', align: 'right' },
  { heading: 'WRITE', align: 'right' },
  { heading: 'REPAIRED', align: 'right' },
  { heading: 'DEVICE' },
] as const;

/** The default policy, which is not shown. */
const usualPolicy = 'least-outstanding';
const readNotes: Readonly<Record<string, string>> = { prefer: 'preferred', 'write-mostly': 'write-mostly' };

const memberStates: Readonly<Record<string, string>> = { current: 'in sync', unresponsive: 'slow' };

/** Formats a health: in capitals if it needs the operator, and coloured if possible. */
export function showHealth({ colors }: Terminal, health: string): string {
  const code = exitCodeOf(health);
  if (code === 0) return colors.green(health);
  const shown = health === 'configuring' ? 'WAITING' : health.toUpperCase();
  return code === 1 ? colors.red(colors.bold(shown)) : colors.yellow(colors.bold(shown));
}

/** Renders an array with all details. `all` is used to show arrays that are members below their slots. */
export function renderArray(terminal: Terminal, array: ArrayDocument, all: readonly ArrayDocument[]): string {
  const facts: [string, string][] = [
    ['array', terminal.colors.bold(array.name)],
    ['state', showHealth(terminal, array.health)],
    ['status', sentence(array.status)],
  ];
  if (array.action !== null) facts.push(['action', array.action]);
  facts.push(['layout', layoutOf(array)]);
  const ofLevel = factsOf(array);
  if (ofLevel !== '') facts.push([array.level, ofLevel]);
  if (array.read_policy !== usualPolicy) facts.push(['reads', array.read_policy]);
  if (array.process !== null) facts.push(['process', renderProcess(terminal, array.process)]);
  if (array.waits_for !== null) facts.push(['process', `waits for that of array ${array.waits_for}, on the same disks`]);
  if (array.last_check !== null) facts.push(['checked', renderCheck(array.last_check)]);
  for (const uri of array.uris) facts.push(['export', uri]);
  const width = Math.max(...facts.map(([name]) => name.length));
  const words = array.slots.flatMap(({ device, last_device: last, path }) => [device, last, path]);
  // A command must not be broken across lines, so that it can be copied.
  const commands = array.action?.match(/\braidctl .*?(?=$|[,;]| or )/g) ?? [];
  const whole = [...commands, array.name, ...words.filter((word) => word !== null)];
  const fold = (name: string, value: string): string => (name === 'export' ? value : terminal.fold(value, width + 2, whole));
  const head = facts.map(([name, value]) => `${name.padStart(width)}: ${fold(name, value)}\n`).join('');
  const rows = treeRows(terminal, array, all, '', new Set());
  return `${head}\n${renderTable(terminal, columns, rows)}`;
}

export function renderProcess({ symbols }: Terminal, process: ProcessDocument): string {
  const { bytes_done: done, bytes_total: total } = process;
  const full = total === 0 ? 0 : Math.min(barWidth, Math.floor((done / total) * barWidth));
  const bar = symbols.full.repeat(full) + symbols.empty.repeat(barWidth - full);
  const target = ofTargets(process);
  const amount = `${formatBytes(done)} of ${formatBytes(total)}`;
  const mismatches = process.mismatch_blocks > 0 ? `, ${plural(process.mismatch_blocks, 'mismatched block')}` : '';
  return `${process.type}${target} [${bar}] ${process.percent} %, ${amount}, ${paceOf(process)}${mismatches}`;
}

/** Formats the estimate. Unwritten blocks are skipped, so the time left is at most `at_most_sec`. */
function paceOf({ at_least_sec: least, at_most_sec: left, bytes_per_sec: rate, is_paused: isPaused }: ProcessDocument): string {
  if (isPaused) return 'paused';
  if (left === null) return 'no estimate yet';
  const [from, to] = [formatSeconds(least ?? left), formatSeconds(left)];
  return `${formatBytes(rate)}/s, ${from === to ? `at most ${to}` : `${from} to ${to}`} left`;
}

function renderCheck(record: NonNullable<ArrayDocument['last_check']>): string {
  const found = [
    record.mismatch_blocks === 0 ? 'no mismatches' : plural(record.mismatch_blocks, 'mismatched block'),
    ...(record.repaired_blocks > 0 ? [`${record.repaired_blocks} rewritten`] : []),
    ...(record.unreadable_blocks > 0 ? [`${record.unreadable_blocks} could not be read`] : []),
    ...(record.lost_blocks > 0 ? [`${record.lost_blocks} lost`] : []),
    ...(record.unproven_blocks > 0 ? [`${record.unproven_blocks} not verified`] : []),
    ...(record.error === null ? [] : [`it did not succeed: ${record.error}`]),
  ];
  return `${record.type} of ${record.started_at}, ${formatSeconds(record.seconds)}: ${found.join(', ')}`;
}

function layoutOf(array: ArrayDocument): string {
  const strip = array.strip_size_kb === 0 ? '' : `, strips of ${array.strip_size_kb} KiB`;
  const size = array.size_bytes === 0 ? '' : `, ${formatBytes(array.size_bytes)}`;
  return `${array.level}, ${plural(array.slots.length, 'slot')}${strip}${size}${checksumsOf(array)}${array.has_superblock ? '' : ', without superblocks'}`;
}

function checksumsOf({ checksums, has_integrity: hasIntegrity }: ArrayDocument): string {
  if (checksums === 'partly') return ', with checksums of some blocks';
  return hasIntegrity ? ', with checksums' : '';
}

/** Formats the level's description of the array as a list. */
function factsOf({ level_facts: facts }: ArrayDocument): string {
  return Object.entries(facts)
    .map(([name, value]) => `${name.replaceAll('_', ' ')} ${typeof value === 'boolean' ? (value ? 'yes' : 'no') : value}`)
    .join(', ');
}

/** Rows of the array and its slots with their devices; a slot whose device is an array is followed by that array's rows. */
function treeRows(
  terminal: Terminal,
  array: ArrayDocument,
  all: readonly ArrayDocument[],
  indent: string,
  above: ReadonlySet<string>,
): string[][] {
  const { symbols } = terminal;
  const rows: string[][] = [];
  if (indent === '') rows.push([array.name, showHealth(terminal, array.health), ...sums(array), '']);
  array.slots.forEach((slot, index) => {
    const isLast = index === array.slots.length - 1;
    const inner = all.find(({ name }) => name === slot.device);
    rows.push(slotRow(terminal, slot, `${indent}${isLast ? symbols.last : symbols.branch}`, inner));
    // Guards against endless recursion: an array is never among its own members, but a document might say so.
    if (inner === undefined || above.has(inner.name)) return;
    const deeper = `${indent}${isLast ? '   ' : symbols.line}`;
    rows.push(...treeRows(terminal, inner, all, deeper, new Set([...above, array.name])));
  });
  return rows;
}

function slotRow(terminal: Terminal, slot: SlotDocument, branch: string, inner: ArrayDocument | undefined): string[] {
  const name = slot.device ?? (slot.last_device === null ? '-' : `(${slot.last_device})`);
  const serial = slot.device === null ? slot.last_serial : slot.serial;
  const parts = [slot.path, serial === null ? null : `serial ${serial}`, readNotes[slot.reads] ?? null].filter(
    (part) => part !== null,
  );
  const place = inner === undefined ? parts.join(', ') : `array ${inner.name}: ${showHealth(terminal, inner.health)}`;
  const problems = [
    ...(slot.bad_blocks > 0 ? [plural(slot.bad_blocks, 'bad block')] : []),
    ...(slot.checksum_errors > 0 ? [plural(slot.checksum_errors, 'checksum error')] : []),
  ];
  const notes = problems.length > 0 ? terminal.colors.red(` ${problems.join(', ')}`) : '';
  const counts = [slot.read_errors, slot.write_errors, slot.repaired_blocks].map((count) => showCount(terminal, count));
  return [`${branch}slot ${slot.slot}  ${name}`, showMemberState(terminal, slot.state), ...counts, `${place}${notes}`.trim()];
}

function showMemberState({ colors }: Terminal, state: string): string {
  const shown = memberStates[state] ?? state;
  if (state === 'current') return shown;
  return state === 'unresponsive' || state === 'rebuilding'
    ? colors.yellow(shown)
    : colors.red(colors.bold(shown.toUpperCase()));
}

function sums({ slots }: ArrayDocument): string[] {
  const sum = (of: (slot: SlotDocument) => number): string => String(slots.reduce((total, slot) => total + of(slot), 0));
  return [sum((slot) => slot.read_errors), sum((slot) => slot.write_errors), sum((slot) => slot.repaired_blocks)];
}

function showCount({ colors }: Terminal, count: number): string {
  return count === 0 ? '0' : colors.yellow(String(count));
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
