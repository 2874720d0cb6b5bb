// Makes the pictures of the dashboard and of raidctl in docs/images anew: node apps/daemon/scripts/screenshots.mjs   (after `npm run build`)
// Needs Chromium, and pngquant to make them small: apt install chromium pngquant
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const folder = join(root, 'docs/images');
const run = (command, args, env = {}) => {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (status !== 0) process.exit(status ?? 1);
};
run('npx', ['vitest', 'run', 'apps/daemon/test/dashboard.test.ts', '-t', 'shows what is wrong'], {
  RAIDKIT_SCREENSHOTS: folder,
});
const pictures = readdirSync(folder).filter((file) => /^(dashboard|raidctl)-/.test(file));
run('pngquant', [
  '--force',
  '--strip',
  '--ext',
  '.png',
  '--speed',
  '1',
  '64',
  '--',
  ...pictures.map((file) => join(folder, file)),
]);
