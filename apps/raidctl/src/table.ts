import Table from 'cli-table3';
import type { Terminal } from './terminal.js';

/** A column: its heading, and the alignment of its cells. */
export interface Column {
  heading: string;
  align?: 'left' | 'right';
}

const noBorders = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** Renders a table without lines as text that ends with a newline. Cells may have colours. */
export function renderTable({ colors }: Terminal, columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    chars: noBorders,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: columns.map(({ align = 'left' }) => align),
  });
  table.push(
    columns.map(({ heading }) => colors.bold(heading)),
    ...rows.map((row) => [...row]),
  );
  const lines = table.toString().split('\n');
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}
