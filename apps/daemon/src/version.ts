import { readFileSync } from 'node:fs';

/** This package's version, `0.1.0`. */
export function packageVersion(): string {
  // One folder up from src/ as well as from dist/.
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
  return manifest.version;
}
