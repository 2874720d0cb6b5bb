import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { defineConfig } from 'tsup';

/** What comes along in the script has to come with its licence. */
const licence = readFileSync(join(dirname(createRequire(import.meta.url).resolve('preact')), '../LICENSE'), 'utf8');

/** The page of the dashboard: one script with all that it needs, and what is in `public`. */
export default defineConfig({
  entry: { app: 'dashboard/src/app.tsx' },
  outDir: 'dist/dashboard',
  publicDir: 'dashboard/public',
  tsconfig: 'dashboard/tsconfig.json',
  format: ['esm'],
  target: 'es2022',
  platform: 'browser',
  splitting: false,
  minify: true,
  clean: true,
  banner: { js: `/*! with preact:\n${licence}*/` },
});
