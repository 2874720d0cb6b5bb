// Copies raidkitd and raidctl, and all that they import, out of what was built and installed here.
// node packaging/programs.mjs FOLDER   (after `npm run build`)
// Nothing is downloaded, and what is copied is what was tested.
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Where the programs are, below the folder to which they were copied. */
export const programs = {
  raidkitd: 'node_modules/@raidkit/daemon/bin/raidkitd.js',
  raidctl: 'node_modules/@raidkit/raidctl/bin/raidctl.js',
};

/** What packages hold beside their programs, by name, below their folder. */
const ofNoUse =
  /\.([cm]?ts|map|md|markdown|html?|sh|ya?ml|ico|cc|hh)$|\/(\.[^/]*|docs?|tests?|fixtures|vendor|musl_[^/]*|cnoke\.cjs|trampolines\.cjs|bin|bin\.js|bench(mark)?s?(\.js)?|examples?(\.js)?|CNAME|test\.js|eslint\.config\.[cm]?js|licen[cs]e[^/]*)$/i;

/**
 * Copies both programs and their packages to `folder`, as npm would install them without what is for development. `cpu` is npm's
 * name of the processor. Returns the texts of the licences of others, by where their packages are below `folder`.
 */
export function copyPrograms(folder, cpu) {
  const licences = new Map();
  const packages = new Map();
  for (const name of ['@raidkit/daemon', '@raidkit/raidctl']) collect(name, root, packages, cpu);
  for (const [source, at] of packages) {
    const target = join(folder, at);
    mkdirSync(target, { recursive: true });
    if (/^node_modules\/@raidkit\/[^/]+$/.test(at)) {
      // What npm would publish, without sources and their maps.
      const { files } = readJson(join(source, 'package.json'));
      for (const file of ['package.json', ...files.filter((one) => one !== 'src')])
        cpSync(join(source, file), join(target, file), { recursive: true, filter: (path) => !path.endsWith('.map') });
    } else {
      cpSync(source, target, { recursive: true, filter: (path) => !ofNoUse.test(path.slice(source.length)) });
      for (const file of readdirSync(source)) {
        if (/^licen[cs]e/i.test(file)) licences.set(at, readFileSync(join(source, file), 'utf8').trim());
      }
    }
  }
  normaliseModes(folder);
  return licences;
}

/** The texts of licences in one. */
export function joinLicences(licences) {
  return [...licences].map(([at, text]) => `${at}\n\n${text}\n`).join('\n----\n\n');
}

/** Adds a package and what it depends on: where it is now, and where it goes. */
function collect(name, from, packages, cpu) {
  let at = from;
  while (!existsSync(join(at, 'node_modules', name))) {
    if (at === root) return; // An optional one that is not for this machine.
    at = dirname(at);
  }
  const found = join(at, 'node_modules', name);
  // Nested copies stay nested; workspaces are at the top.
  const isOwn = name.startsWith('@raidkit/');
  const source = isOwn ? realpathSync(found) : found;
  const target = isOwn ? join('node_modules', name) : placeOf(found, packages);
  if (packages.has(source)) return;
  const about = readJson(join(source, 'package.json'));
  if (about.os?.includes('linux') === false || about.cpu?.includes(cpu) === false) return;
  packages.set(source, target);
  const wanted = { ...about.dependencies, ...about.optionalDependencies, ...about.peerDependencies };
  for (const dependency of Object.keys(wanted)) collect(dependency, source, packages, cpu);
}

/** The path in the copy of a package that is at `found`; one in a workspace's own node_modules belongs below that workspace. */
function placeOf(found, packages) {
  for (const [source, target] of packages)
    if (found.startsWith(join(source, 'node_modules') + sep)) return join(target, relative(source, found));
  return relative(root, found);
}

/** Packages of npm come with all sorts of modes. */
function normaliseModes(path) {
  chmodSync(path, 0o755);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const whole = join(path, entry.name);
    if (entry.isDirectory()) normaliseModes(whole);
    else if (entry.isFile())
      chmodSync(whole, Object.values(programs).some((program) => whole.endsWith(program)) ? 0o755 : 0o644);
  }
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const folder = argv[2];
  if (folder === undefined) throw new Error('usage: node packaging/programs.mjs FOLDER');
  const licences = copyPrograms(folder, process.arch);
  writeFileSync(join(folder, 'LICENCES'), `${readFileSync(join(root, 'LICENSE'), 'utf8')}\n----\n\n${joinLicences(licences)}`);
}
