import { readFile } from 'node:fs/promises';

/** Files of the page, with their content types. */
const types: Readonly<Record<string, string>> = {
  'index.html': 'text/html; charset=utf-8',
  'app.js': 'text/javascript; charset=utf-8',
  'app.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
};

/** A file of the page. */
export interface PageFile {
  readonly type: string;
  readonly body: Buffer;
}

/** Reads the file that is served at this path; null if there is none. Rejects if the page was not built. */
export async function readPageFile(path: string): Promise<PageFile | null> {
  const name = path === '/' ? 'index.html' : path.slice(1);
  const type = Object.hasOwn(types, name) ? types[name] : undefined;
  if (type === undefined) return null;
  // The build's output folder, which has the same relative path from src/ and dist/.
  return { type, body: await readFile(new URL(`../dist/dashboard/${name}`, import.meta.url)) };
}
