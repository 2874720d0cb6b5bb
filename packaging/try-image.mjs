// Tries packaging/container/Containerfile where there is no container engine: carries out what makes the image proper (all
// behind the last FROM) in a copy of this machine's file system, which stands for the base, and runs its entry point there. The
// stage before is what `npm ci` and `npm run build` have done here. Needs root.
// unshare --mount --pid --fork --kill-child --mount-proc node packaging/try-image.mjs
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { copyPrograms } from './programs.mjs';

const say = (text) => console.log(`try-image: ${text}`);
const text = readFileSync(fileURLToPath(new URL('container/Containerfile', import.meta.url)), 'utf8');
const lines = text.replaceAll(/^#.*\n/gm, '').replaceAll(/\\\n/g, ' ');
const [, build, image] = lines.split(/^FROM .*$/m).map((stage) => stage.split('\n').filter((line) => line.trim() !== ''));

const work = mkdtempSync(join(tmpdir(), 'raidkit-image-'));
const mount = (...args) => execFileSync('mount', args);
mount('-t', 'tmpfs', 'none', work);
const root = join(work, 'root');
const stage = join(work, 'stage');
for (const folder of ['upper', 'work', 'root', 'stage']) mkdirSync(join(work, folder));
mount('-t', 'overlay', 'none', '-o', `lowerdir=/,upperdir=${work}/upper,workdir=${work}/work`, root);
for (const folder of ['dev', 'proc']) mount('--rbind', `/${folder}`, join(root, folder));
for (const folder of ['run', 'tmp']) mount('-t', 'tmpfs', 'none', join(root, folder));

// The stage before: that its last command is the one whose work is done here.
const made = /node packaging\/programs\.mjs (\/\S+)$/.exec(build.at(-1))?.[1];
if (made === undefined) throw new Error('the first stage does not end in packaging/programs.mjs');
copyPrograms(join(stage, made), process.arch);

const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
const settings = { user: 'root', volumes: [], health: [], entry: [] };
const instructions = {
  COPY(rest) {
    const [, from, to] = /^--from=build (\S+) (\S+)$/.exec(rest);
    cpSync(join(stage, from), join(root, to), { recursive: true });
  },
  RUN: (rest) => execFileSync('chroot', [root, 'sh', '-c', rest], { stdio: ['ignore', 'inherit', 'inherit'], env }),
  ENV(rest) {
    const [, name, value] = /^([A-Z_]+)=(\S+)$/.exec(rest);
    env[name] = value;
  },
  VOLUME: (rest) => (settings.volumes = JSON.parse(rest)),
  USER: (rest) => (settings.user = rest),
  HEALTHCHECK: (rest) => (settings.health = JSON.parse(/ CMD (\[.*\])$/.exec(rest)[1])),
  ENTRYPOINT: (rest) => (settings.entry = JSON.parse(rest)),
};
for (const line of image) {
  const [, name, rest] = /^([A-Z]+) +(.*)$/.exec(line);
  instructions[name](rest);
}
say(
  `made, ${execFileSync('du', ['-sm', join(root, 'usr/lib/raidkit')], { encoding: 'utf8' }).split('\t')[0]} MiB over its base`,
);

// As with `--read-only`: nothing but the volumes, /run and /tmp can be written.
for (const volume of settings.volumes) {
  const kept = join(work, 'stage', volume);
  cpSync(join(root, volume), kept, { recursive: true });
  execFileSync('chown', ['--reference', join(root, volume), kept]);
  execFileSync('chmod', ['--reference', join(root, volume), kept]);
  mount('--bind', kept, join(root, volume));
}
mount('-o', 'remount,ro', root);
const asUser = (command) => [
  ...[root, 'setpriv', '--reuid', settings.user, '--regid', settings.user, '--init-groups'],
  ...['--no-new-privs', '--bounding-set=-all', '--inh-caps=-all', ...command],
];
const run = (...command) => execFileSync('chroot', asUser(command), { encoding: 'utf8', env, cwd: '/' });

/** Starts the entry point, and waits until it is healthy. Returns what ends it, and says how it ended. */
async function start() {
  const daemon = spawn('chroot', asUser([...settings.entry, '--memory', '64']), {
    stdio: ['ignore', 'ignore', 'pipe'],
    env,
    cwd: '/',
  });
  let log = '';
  daemon.stderr.on('data', (piece) => (log += piece));
  const ended = new Promise((resolve) => daemon.on('close', (code, signal) => resolve(code ?? signal)));
  for (let tries = 1; ; tries++) {
    try {
      execFileSync('chroot', asUser(settings.health), { env, cwd: '/', stdio: 'ignore' });
      break;
    } catch (error) {
      if (daemon.exitCode !== null || tries === 50) throw new Error(`it does not become healthy: ${log}`, { cause: error });
    }
  }
  return async () => {
    daemon.kill('SIGTERM');
    if ((await ended) !== 0) throw new Error(`it did not end in good order: ${log}`);
  };
}

let stop = await start();
say(`healthy, as ${run('id', '-un').trim()}, on a read-only root`);
for (const disk of ['a', 'b']) run('truncate', '-s', '16M', `/var/lib/raidkit/${disk}`);
run('raidctl', 'create', 'raid1', 'vol', '/var/lib/raidkit/a', '/var/lib/raidkit/b', '--yes');
await stop();
stop = await start();
run('raidctl', 'wait', 'vol', '--for', 'optimal');
say('the next container has the volume');
await stop();
say('stopped in good order');
