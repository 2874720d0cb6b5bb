import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { says } from './support/devices.js';
import { makeFile } from './support/files.js';
import { oneDaemon } from './support/one-daemon.js';
import { hasCommands, run } from './support/process.js';

const test = oneDaemon();

function call(method: string, params?: unknown): Promise<unknown> {
  return test.daemon!.client.call(method, params);
}

const methods = [
  'start',
  'resize',
  'resize later',
  'submitRw',
  'submitNullPayload',
  'submitProcessRequest',
  'routeRead',
  'describe',
  'stop',
];

/** Mirrors that throw in the method that the option names. */
function installLevel(): void {
  const place = join(test.folder, 'node_modules/@acme/throws');
  mkdirSync(place, { recursive: true });
  writeFileSync(
    join(place, 'package.json'),
    '{"name":"@acme/throws","version":"1.0.0","type":"module","exports":"./index.js"}\n',
  );
  const raid1 = new URL('../../../packages/raid1/dist/index.js', import.meta.url).href;
  writeFileSync(
    join(place, 'index.js'),
    `import { raid1 } from ${JSON.stringify(raid1)};
const slip = (where) => { throw new Error('a slip in ' + where); };
export const throws = {
  ...raid1, level: 'acme-throws', aliases: [], code: 0x1c1b,
  options: { where: { type: 'string', enum: ${JSON.stringify(methods)}, default: 'describe', description: 'which method throws' } },
  start(context) {
    const { where } = context.options;
    if (where === 'start') slip(where);
    const level = raid1.start(context);
    let resized = 0;
    return new Proxy(level, { get(_, name) {
      const value = Reflect.get(level, name);
      if (where === 'resize later' && name === 'resize') return (...args) => ++resized > 1 ? slip(where) : level.resize(...args);
      if (name === where) return () => slip(where);
      // Otherwise all reads would bypass the other methods.
      if (name === 'routeRead' && where !== undefined) return undefined;
      return typeof value === 'function' ? value.bind(level) : value;
    } });
  },
};
`,
  );
}

interface Shown {
  name: string;
  state: string;
  ext: { reason: string | null };
}

async function shown(name: string): Promise<Shown | undefined> {
  return ((await call('raidkit_get_arrays')) as Shown[]).find((array) => array.name === name);
}

/** One request of a client to the volume, which may be refused. */
async function ask(volume: string, request: string): Promise<boolean> {
  const { code } = await run('nbdsh', ['-u', `nbd+unix:///${volume}?socket=${test.nbdPath}`, '-c', request]);
  return code === 0;
}

let made = 0;
const fileOf = (member: string): string => join(test.folder, `${member}.img`);

async function create(where?: string): Promise<string> {
  const name = `v${made++}`;
  const base_bdevs = [`${name}a`, `${name}b`];
  for (const member of base_bdevs) {
    makeFile(fileOf(member), 2 << 20);
    await call('bdev_aio_create', { name: member, filename: fileOf(member), block_size: 512 });
  }
  await call('bdev_raid_create', {
    name,
    ...(where === undefined ? { raid_level: 'raid1' } : { raid_level: 'acme-throws', level_options: { where } }),
    base_bdevs,
  });
  return name;
}

const read = 'h.pread(4096, 0)';
const write = 'h.pwrite(b"x" * 4096, 0)';

/** What makes core call each method. */
const provoked: Record<string, (name: string) => Promise<unknown>> = {
  submitRw: (name) => ask(name, write),
  submitNullPayload: (name) => ask(name, 'h.zero(65536, 0)'),
  routeRead: (name) => ask(name, read),
  submitProcessRequest: async (name) => {
    await call('bdev_raid_remove_base_bdev', { name: `${name}a` });
    await call('bdev_raid_add_base_bdev', { raid_bdev: name, base_bdev: `${name}a` });
  },
};

it.skipIf(!hasCommands('nbdsh'))(
  'a level that throws, in whatever method, takes its own array down and nothing else',
  async () => {
    installLevel();
    await test.start([
      '--nbd',
      `unix:${test.nbdPath}`,
      '--memory',
      '128',
      '--level',
      '@acme/throws',
      '--level-folder',
      test.folder,
    ]);
    const sound = await create();
    expect(await ask(sound, write)).toBe(true);
    const isFine = async (): Promise<void> => {
      expect(await ask(sound, `assert h.pread(4096, 0) == b"x" * 4096; ${write}; h.flush()`)).toBe(true);
      expect(await shown(sound)).toMatchObject({ state: 'online' });
    };

    for (const [where, provoke] of Object.entries(provoked)) {
      const name = await create(where);
      await provoke(name);
      await expect.poll(async () => (await shown(name))?.state, { message: where }).toBe('offline');
      expect((await shown(name))?.ext.reason).toBe(`its level acme-throws threw: a slip in ${where}`);
      expect(await call('bdev_raid_get_bdevs', { category: 'offline' })).toContainEqual(
        expect.objectContaining({ name, state: 'offline', raid_level: 'acme-throws' }),
      );
      // A volume that is not there is served to no client.
      expect(await ask(name, read)).toBe(false);
      await isFine();
    }
    // In calls that make an array there is none yet: the client that asked is told.
    for (const where of ['start', 'resize']) {
      await expect(create(where), where).rejects.toThrow(`a slip in ${where}`);
      await isFine();
    }
    // A method that only describes the array may throw without harm.
    const silent = await create('describe');
    expect(await ask(silent, write)).toBe(true);
    expect(await shown(silent)).toMatchObject({ state: 'online' });
    // An array that cannot grow stays as it is.
    const kept = await create('resize later');
    for (const member of [`${kept}a`, `${kept}b`]) {
      truncateSync(fileOf(member), 4 << 20);
      await call('bdev_aio_rescan', { name: member });
    }
    await says(test.daemon!, 'a slip in resize later');
    expect(await ask(kept, write)).toBe(true);
    expect(await shown(kept)).toMatchObject({ state: 'online' });
    // An array that cannot be stopped cleanly is removed all the same.
    const stopped = await create('stop');
    expect(await ask(stopped, write)).toBe(true);
    await call('raidkit_stop', { name: stopped }).catch(() => undefined);
    expect((await shown(stopped))?.state).not.toBe('online');
    await isFine();
    test.daemon!.child.kill('SIGTERM');
    expect(await test.daemon!.exited).toBe(0);
  },
);
