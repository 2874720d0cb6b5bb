import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The repository. */
export const root = join(import.meta.dirname, '..', '..', '..', '..');

export function pathOf({ file }) {
  return join(root, 'packages', file);
}

/** The mutated text of the file. Throws if the line is not there exactly once. */
export async function mutated(mutation) {
  const text = await readFile(pathOf(mutation), 'utf8');
  const [before, after, ...more] = text.split(mutation.line);
  if (after === undefined || more.length > 0) {
    throw new Error(
      `the line occurs ${after === undefined ? 0 : more.length + 1} times in packages/${mutation.file}:\n${mutation.line}`,
    );
  }
  return before + mutation.becomes + after;
}
