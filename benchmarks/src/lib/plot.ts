import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { CaseResult } from './rounds.js';
import { spread } from './statistics.js';

const colours: Readonly<Record<string, string>> = {
  raidkit: '#2563eb',
  nbdkit: '#9ca3af',
  'qemu-nbd': '#d1a054',
  'raidkit-nospin': '#93c5fd',
  'raidkit-portable': '#c4b5fd',
};
const barHeight = 12;
const groupGap = 14;
const labelWidth = 250;
const plotWidth = 330;
const columnGap = 40;

/** Bars of rate and of CPU per operation, relative to the first contender, with lines from the least to the most. */
export function plot(cases: readonly CaseResult[], name: string): void {
  writeFileSync(fileURLToPath(new URL(`../results/${name}.svg`, import.meta.url)), plotSvg(cases));
}

export function plotSvg(cases: readonly CaseResult[]): string {
  const parts: string[] = [];
  const text = (x: number, y: number, what: string, extra = ''): number =>
    parts.push(`<text x="${x}" y="${y}" ${extra}>${what}</text>`);
  const left = labelWidth;
  const right = labelWidth + plotWidth + columnGap;
  text(left, 16, 'rate, first = 1 (more is better)', 'font-weight="bold"');
  text(right, 16, 'CPU per operation (less is better)', 'font-weight="bold"');
  let y = 30;
  for (const { title, contenders } of cases) {
    text(labelWidth - 8, y + (contenders.length * barHeight) / 2 + 4, title, 'text-anchor="end"');
    const columns = [
      { x: left, values: contenders.map(({ samples }) => samples.map(({ value }) => value)) },
      { x: right, values: contenders.map(({ samples }) => samples.flatMap(({ cpuUs }) => cpuUs ?? [])) },
    ];
    for (const { x, values } of columns) {
      if (values.some((list) => list.length === 0)) continue;
      const spreads = values.map(spread);
      const base = spreads[0]?.median ?? 1;
      const scale = plotWidth / Math.max(...spreads.map(({ max, median }) => Math.min(max, median * 1.5))) / 1.25;
      for (const [index, { median, min, max }] of spreads.entries()) {
        const top = y + index * barHeight;
        const fill = colours[contenders[index]?.name ?? ''] ?? '#6b7280';
        const end = Math.min(max, median * 1.5);
        const middle = top + (barHeight - 2) / 2;
        parts.push(
          `<rect x="${x}" y="${top}" width="${(median * scale).toFixed(1)}" height="${barHeight - 2}" fill="${fill}"/>`,
        );
        parts.push(
          `<line x1="${(x + min * scale).toFixed(1)}" x2="${(x + end * scale).toFixed(1)}" y1="${middle}" y2="${middle}" stroke="#111827"/>`,
        );
        text(Math.ceil(x + end * scale + 4), top + barHeight - 3, (median / base).toFixed(2));
      }
    }
    y += contenders.length * barHeight + groupGap;
  }
  const names = [...new Set(cases.flatMap(({ contenders }) => contenders.map((one) => one.name)))];
  for (const [index, name] of names.entries()) {
    const x = labelWidth + index * 120;
    parts.push(`<rect x="${x}" y="${y}" width="10" height="10" fill="${colours[name] ?? '#6b7280'}"/>`);
    text(x + 14, y + 9, name);
  }
  const width = right + plotWidth + 40;
  const height = y + 24;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}
