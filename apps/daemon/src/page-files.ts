import { readFile } from 'node:fs/promises';

/** What the page is made of, and the types that it is served as. */
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
  // Where the build puts it, seen from src/ as well as from dist/.
  return { type, body: await readFile(new URL(`../dist/dashboard/${name}`, import.meta.url)) };
}
