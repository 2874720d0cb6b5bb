import { readFileSync } from 'node:fs';

/** Returns this package's version, such as `0.1.0`. */
export function packageVersion(): string {
  // The package's folder is one level above both src/ and dist/.
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
  return manifest.version;
}
