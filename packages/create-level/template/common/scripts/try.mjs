// A daemon with the level, and an array of it on sparse files in a folder of its own. Ends with Ctrl-C; --once: when the array is up.
import { spawn } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { level } from '../dist/index.js';

const root = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), `${level.level}-`));
const socket = join(folder, 'rpc.sock');
const { name } = createRequire(import.meta.url)('../package.json');

// As in a folder into which a user has installed the package.
mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true });
symlinkSync(root, join(folder, 'node_modules', name));

const main = createRequire(import.meta.url).resolve('@raidkit/daemon/package.json');
const daemon = spawn(
  process.execPath,
  [join(dirname(main), 'bin/raidkitd.js'), '-r', socket, '--memory', '128', '--level', name, '--level-folder', folder],
  { stdio: ['ignore', 'inherit', 'inherit'] },
);
const ended = new Promise((resolve) => daemon.on('close', resolve));
process.on('SIGINT', () => daemon.kill('SIGTERM'));

async function call(method, params) {
  return new Promise((resolve, reject) => {
    const client = connect(socket, () => client.write(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })));
    let text = '';
    client.on('error', reject);
    client.on('data', (piece) => {
      text += piece;
      let answer;
      try {
        answer = JSON.parse(text);
      } catch {
        return;
      }
      client.end();
      if (answer.error === undefined) resolve(answer.result);
      else reject(new Error(`${method}: ${answer.error.message}`));
    });
  });
}

async function whenUp() {
  for (let left = 200; ; left--) {
    try {
      return await call('framework_wait_init');
    } catch (error) {
      if (left === 0 || daemon.exitCode !== null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

try {
  await whenUp();
  const members = [];
  for (let index = 0; index < level.baseBdevsMin; index++) {
    const filename = join(folder, `disk${index}.img`);
    const fd = openSync(filename, 'w');
    ftruncateSync(fd, 64 << 20);
    closeSync(fd);
    members.push(`disk${index}`);
    await call('bdev_aio_create', { name: `disk${index}`, filename, block_size: 512 });
  }
  await call('bdev_raid_create', {
    name: 'volume',
    raid_level: level.level,
    base_bdevs: members,
    superblock: true,
    ...(level.manifest.stripSize === 'required' ? { strip_size_kb: 16 } : {}),
  });
  const [array] = await call('bdev_raid_get_bdevs', { category: 'online' });
  console.log(`array ${array.name} of level ${array.raid_level} is ${array.state}: ${members.length} members in ${folder}`);
  if (process.argv.includes('--once')) daemon.kill('SIGTERM');
  else console.log(`Look at it with: npx raidctl --socket ${socket} status`);
  await ended;
} finally {
  daemon.kill('SIGTERM');
  await ended;
  rmSync(folder, { recursive: true, force: true });
}
