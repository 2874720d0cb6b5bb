import { execFile } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { spawnDaemon } from '../apps/daemon/test/support/process.js';

/** A project outside the workspace, with the packages as `npm pack` makes them. Built first: `npm run build`. */
const root = fileURLToPath(new URL('..', import.meta.url));
const execute = promisify(execFile);
let project: string;

beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), 'raidkit-project-'));
  const modules = join(project, 'node_modules');
  mkdirSync(join(modules, '@raidkit'), { recursive: true });
  writeFileSync(join(project, 'package.json'), '{"name":"outside","private":true,"type":"module"}\n');
  // What npm would fetch from the registry is taken from the workspace's own installation.
  for (const entry of readdirSync(join(root, 'node_modules'))) {
    if (entry !== '@raidkit' && !entry.startsWith('.')) symlinkSync(join(root, 'node_modules', entry), join(modules, entry));
  }
  const folders = [
    ...readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name)),
    join(root, 'apps/daemon'),
    join(root, 'apps/raidctl'),
  ];
  for (const folder of folders) {
    const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name: string };
    const { stdout } = await execute('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', project], {
      cwd: folder,
    });
    const target = join(modules, name);
    mkdirSync(target, { recursive: true });
    await execute('tar', ['-xzf', join(project, stdout.trim()), '--strip-components=1', '-C', target]);
    // The package has versions of its own, where the workspace's root has others.
    const own = join(folder, 'node_modules');
    if (existsSync(own)) symlinkSync(own, join(target, 'node_modules'));
  }
}, 120_000);

afterAll(() => rmSync(project, { recursive: true, force: true }));

/** The first TypeScript example of a document that contains `marker`, as JavaScript. */
function example(document: string, marker: string): string {
  const text = readFileSync(join(root, document), 'utf8');
  const found = [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]!).find((code) => code.includes(marker));
  if (found === undefined) throw new Error(`${document} has no example with ${marker}`);
  return ts.transpileModule(found, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } })
    .outputText;
}

function makeFile(name: string): string {
  const path = join(project, name);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 8 << 20);
  closeSync(fd);
  return path;
}

it('the README’s array program runs, and finds its data again', async () => {
  makeFile('a.img');
  makeFile('b.img');
  const program = join(project, 'mirror.js');
  writeFileSync(program, example('README.md', "level: 'raid1'"));
  for (let round = 0; round < 2; round++) {
    const { stdout } = await execute(process.execPath, [program], { cwd: project });
    expect(stdout).toBe('hello, mirror\n');
  }
});

it('a package’s own `register` puts its level into the global registry, whatever imports it', async () => {
  const program =
    "import { globalRegistry } from '@raidkit/core'; import '@raidkit/raid1/register'; import '@raidkit/raid5f/register'; console.log(globalRegistry().list().map((m) => m.level).join());";
  const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', program], { cwd: project });
  expect(stdout).toBe('raid1,raid5f\n');
});

it('the daemon loads a stranger’s level by its package name', async () => {
  const level = join(project, 'node_modules/@acme/raidkit-first');
  mkdirSync(level, { recursive: true });
  writeFileSync(
    join(level, 'package.json'),
    '{"name":"@acme/raidkit-first","version":"1.0.0","type":"module","exports":"./index.js"}\n',
  );
  writeFileSync(join(level, 'index.js'), example('docs/guides/write-a-level.md', 'class First'));
  const rpc = join(project, 'rpc.sock');
  const daemon = await spawnDaemon(
    rpc,
    ['-r', rpc, '--level', '@acme/raidkit-first', '--level-folder', project, '--memory', '128'],
    project,
  );
  const { client } = daemon;
  expect(await client.call('raidkit_get_modules')).toEqual(
    expect.arrayContaining([expect.objectContaining({ level: 'acme-first' })]),
  );
  const files = [makeFile('c.img'), makeFile('d.img')];
  for (const [index, filename] of files.entries())
    await client.call('bdev_aio_create', { name: `f${index}`, filename, block_size: 512 });
  await client.call('bdev_raid_create', { name: 'mine', raid_level: 'acme-first', base_bdevs: ['f0', 'f1'], superblock: true });
  expect(await client.call('bdev_raid_get_bdevs', { category: 'online' })).toMatchObject([
    { name: 'mine', raid_level: 'acme-first' },
  ]);
  daemon.child.kill('SIGTERM');
  expect(await daemon.exited).toBe(0);
});

it('a level that is not installed, or is no level, is named', async () => {
  const start = (name: string): Promise<unknown> => {
    const rpc = join(project, 'rpc2.sock');
    return spawnDaemon(rpc, ['-r', rpc, '--level', name, '--level-folder', project], project);
  };
  await expect(start('@acme/nowhere')).rejects.toThrow(/@acme\/nowhere is not installed/);
  await expect(start('../evil')).rejects.toThrow(/is not a package name/);
  await expect(start('uuid')).rejects.toThrow(/uuid exports no RAID level/);
});

it('a level is loaded from the folder that was named, and only if no other user could have put it there', async () => {
  const rpc = join(project, 'rpc3.sock');
  const start = (...args: string[]): Promise<unknown> =>
    spawnDaemon(rpc, ['-r', rpc, '--level', '@acme/raidkit-first', ...args], project);
  // The package is in the working directory, which the command line does not name.
  await expect(start()).rejects.toThrow(
    /does not come with raidkitd: give the directory where it is installed with --level-folder/,
  );
  // The package is in a directory above the named one.
  mkdirSync(join(project, 'below'));
  await expect(start('--level-folder', join(project, 'below'))).rejects.toThrow(/is not installed in/);
  const level = join(project, 'node_modules/@acme/raidkit-first');
  for (const path of [level, join(level, 'index.js'), project]) {
    chmodSync(path, 0o777);
    await expect(start('--level-folder', project)).rejects.toThrow(/every user can write to/);
    chmodSync(path, 0o755);
  }
});

it('raidctl works outside the workspace, with a daemon and without', async () => {
  makeFile('e.img');
  makeFile('f.img');
  const rpc = join(project, 'rpc3.sock');
  const daemon = await spawnDaemon(rpc, ['-r', rpc, '--memory', '128'], project);
  const bin = join(project, 'node_modules/@raidkit/raidctl/bin/raidctl.js');
  const raidctl = async (...args: string[]): Promise<string> =>
    (await execute(process.execPath, [bin, '--socket', rpc, ...args], { cwd: project })).stdout;
  expect(await raidctl('create', 'raid1', 'packed', './e.img', './f.img')).toContain('array packed is online');
  expect(await raidctl('list')).toMatch(/packed +optimal/);
  daemon.child.kill('SIGTERM');
  expect(await daemon.exited).toBe(0);
  expect(await raidctl('examine', './e.img')).toContain('member of array packed');
});

/** Of each flavour of create-level: a mistake that only it can make, and how many members `npm run try` gives it. */
const flavours = [
  { flavour: 'copies', bug: 'no-lock', members: 2 },
  { flavour: 'parity', bug: 'last-parity-not-written', members: 3 },
  { flavour: 'plain', bug: 'volume-too-big', members: 2 },
] as const;

// Most of it waits for one process after another, so that they take less together.
it.concurrent.each(flavours)(
  'from an empty folder a level is made, gets through the kit, and serves an array in the daemon: $flavour',
  async ({ bug, flavour, members }) => {
    const node = async (cwd: string, ...args: string[]): Promise<string> =>
      (await execute(process.execPath, args, { cwd })).stdout;
    const began = performance.now();
    const bin = join(project, 'node_modules/@raidkit/create-level/bin/create-level.js');
    const level = `acme-${flavour}`;
    expect(await node(project, bin, level, '--flavour', flavour)).toContain(`the level ${level} (${flavour})`);
    const cwd = join(project, level);
    // What `npm run build`, `npm run conformance` and the like run, without npm.
    await node(cwd, join(root, 'node_modules/typescript/bin/tsc'));
    const kit = join(project, 'node_modules/@raidkit/testkit/bin/raidkit-testkit.js');
    expect(await node(cwd, kit, 'conformance', '.')).toMatch(new RegExp(`${level}: (\\d+) of \\1 cases`));
    const planted = await node(cwd, kit, 'mutants', '.', '--seeds', '0', '--only', bug);
    expect(planted).toContain('1 of 1 planted bugs were found');
    expect(await node(cwd, kit, 'sim', '.', '--seeds', '3')).toContain('3 of 3 seeds break no rule');
    const report = JSON.parse(readFileSync(join(cwd, 'raidkit-conformance.json'), 'utf8')) as object;
    const passed = { conformance: { failed: [] }, mutants: { missed: [] }, simulation: { failed: [] } };
    expect(report).toMatchObject({ level, ...passed });
    const tried = await node(cwd, 'scripts/try.mjs', '--once');
    expect(tried).toContain(`array volume of level ${level} is online: ${members} members`);
    console.log(`create-level to an array in the daemon, ${flavour}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
  },
  120_000,
);

it('the commands of the kit say what is wrong with what they are given', async () => {
  const kit = join(project, 'node_modules/@raidkit/testkit/bin/raidkit-testkit.js');
  const refused: [string[], RegExp][] = [
    [['sim', '@acme/nowhere'], /the package @acme\/nowhere cannot be loaded from/],
    [['sim', './nothing.js'], /there is no file or folder/],
    [['sim', 'uuid'], /uuid exports no RAID level/],
    [['sim', '@raidkit/raid1', '--seeds', 'many'], /whole number/],
    [['mutants', '@raidkit/raid1', '--only', 'none-such'], /there is no such bug; there are skips-a-member/],
  ];
  for (const [args, why] of refused)
    await expect(execute(process.execPath, [kit, ...args], { cwd: project }), args.join(' ')).rejects.toThrow(why);
});
