#!/usr/bin/env node
// npm create @raidkit/level NAME -- --flavour copies|parity|plain
import { randomInt } from 'node:crypto';
import { cpSync, existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';

const flavours = {
  copies: 'each block on every member',
  parity: 'data in strips, and one parity',
  plain: 'data in strips, no redundancy',
};
const usage = `npm create @raidkit/level FOLDER -- [--flavour ${Object.keys(flavours).join('|')}] [--level ID] [--package NAME]

Makes a package with a RAID level that works, its tests, and a script that tries it.
${Object.entries(flavours)
  .map(([name, what]) => `  ${name.padEnd(8)}${what}`)
  .join('\n')}
The level's id, which users write, is the folder's name unless --level says another.`;

function refuse(message) {
  process.stderr.write(`create-level: ${message}\n\n${usage}\n`);
  process.exit(2);
}

function read() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        flavour: { type: 'string', default: 'copies' },
        level: { type: 'string' },
        package: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    return refuse(error.message);
  }
}

const { positionals, values } = read();
if (values.help) {
  process.stdout.write(`${usage}\n`);
  process.exit(0);
}
if (positionals.length !== 1) refuse(`one folder must be named, not ${positionals.length}`);
if (!Object.hasOwn(flavours, values.flavour)) refuse(`there is no flavour ${values.flavour}`);
const folder = resolve(positionals[0]);
if (existsSync(folder) && readdirSync(folder).length > 0) refuse(`${folder} is not empty`);
const level = values.level ?? basename(folder);
if (!/^[a-z][a-z0-9_-]{0,31}$/.test(level))
  refuse(`the level's id must be 1 to 32 characters of a-z, 0-9, _ and -, a letter first, not ${level}: say --level ID`);
const name = values.package ?? `raidkit-${level}`;
if (!/^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/.test(name)) refuse(`${name} is not the name of a package`);

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const code = `0x${randomInt(0x1_0000, 0x7fff_ffff).toString(16)}`;
const words = {
  __LEVEL__: level,
  __PACKAGE__: name,
  __CODE__: code,
  __VERSION__: version,
  __TITLE__: `The level ${level}`,
};

const template = new URL('../template/', import.meta.url);
for (const part of ['common', values.flavour]) cpSync(new URL(part, template), folder, { recursive: true });
// npm treats these names specially, so the package has them under other names.
renameSync(join(folder, 'manifest.json'), join(folder, 'package.json'));
renameSync(join(folder, 'gitignore'), join(folder, '.gitignore'));
renameSync(join(folder, 'github'), join(folder, '.github'));
for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath, entry.name);
  const text = readFileSync(path, 'utf8');
  const filled = Object.entries(words).reduce((so, [word, value]) => so.replaceAll(word, value), text);
  if (filled !== text) writeFileSync(path, filled);
}
if (values.flavour === 'parity') {
  const path = join(folder, 'package.json');
  const about = JSON.parse(readFileSync(path, 'utf8'));
  // The level shares core's buffers and kernels, so there must be only one copy of this package.
  about.peerDependencies['@raidkit/parity'] = '>=0.1.0 <1';
  writeFileSync(path, `${JSON.stringify(about, null, 2)}\n`);
}
process.stdout.write(`${name} is in ${folder}: the level ${level} (${values.flavour}), number ${code} on disk, for ever.

  cd ${positionals[0]}
  npm install
  npm test
  npm run try
`);
