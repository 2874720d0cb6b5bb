// Builds a Debian package of raidkitd and raidctl.
// node packaging/build-deb.mjs FOLDER [VERSION]   (after `npm run build`; needs dpkg-deb)
// It takes what is in node_modules, so that nothing is downloaded, and what it holds is what was tested.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const [folder, givenVersion] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: node packaging/build-deb.mjs FOLDER [VERSION]');

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
const version = givenVersion ?? readJson(join(root, 'apps/daemon/package.json')).version;
const architecture = execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();
/** The name that npm gives to the processor. */
const cpu = { amd64: 'x64', arm64: 'arm64' }[architecture];
if (cpu === undefined) throw new Error(`there is no package for ${architecture}: raidkit is for amd64 and arm64`);
const date = new Date(Number(process.env.SOURCE_DATE_EPOCH ?? Date.now() / 1000) * 1000);

const tree = mkdtempSync(join(tmpdir(), 'raidkit-deb-'));
const place = (path) => {
  const whole = join(tree, path);
  mkdirSync(dirname(whole), { recursive: true });
  return whole;
};
const write = (path, text, mode = 0o644) => {
  writeFileSync(place(path), text);
  chmodSync(join(tree, path), mode);
};
/** What packages hold beside their programs, by name, below their folder. */
const ofNoUse =
  /\.([cm]?ts|map|md|markdown|html?|sh|ya?ml|ico|cc|hh)$|\/(\.[^/]*|docs?|tests?|fixtures|vendor|musl_[^/]*|cnoke\.cjs|trampolines\.cjs|bin|bin\.js|bench(mark)?s?(\.js)?|examples?(\.js)?|CNAME|test\.js|eslint\.config\.[cm]?js|licen[cs]e[^/]*)$/i;
/** The texts of the packages that come along, by where they are. */
const licences = new Map();
const compressed = (text) => gzipSync(text, { level: 9 });

try {
  addPrograms();
  addManualPages();
  addSystemFiles();
  addDocuments();
  addControl();
  normaliseModes(tree);
  mkdirSync(folder, { recursive: true });
  const target = join(folder, `raidkit_${version}_${architecture}.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '--build', tree, target], { stdio: ['ignore', 'ignore', 'inherit'] });
  console.log(target);
} finally {
  rmSync(tree, { recursive: true });
}

/** Both programs and all that they import, as npm would install them without what is for development. */
function addPrograms() {
  const seen = new Map();
  for (const name of ['@raidkit/daemon', '@raidkit/raidctl']) collect(name, root, seen);
  for (const [source, at] of seen) {
    const { files } = readJson(join(source, 'package.json'));
    const target = join('usr/lib/raidkit', at);
    // Of our own packages what npm would publish, without sources and their maps; of others all but what is of no use here.
    if (/^node_modules\/@raidkit\/[^/]+$/.test(at)) {
      for (const file of ['package.json', ...files.filter((one) => one !== 'src')])
        cpSync(join(source, file), place(join(target, file)), { recursive: true, filter: (path) => !path.endsWith('.map') });
    } else {
      copy(source, target);
    }
  }
  for (const [name, of] of [
    ['raidkitd', 'daemon'],
    ['raidctl', 'raidctl'],
  ]) {
    chmodSync(join(tree, `usr/lib/raidkit/node_modules/@raidkit/${of}/bin/${name}.js`), 0o755);
    symlinkSync(`../lib/raidkit/node_modules/@raidkit/${of}/bin/${name}.js`, place(`usr/bin/${name}`));
  }
}

/** Adds a package and what it depends on: where it is now, and where it goes. */
function collect(name, from, seen) {
  let at = from;
  while (!existsSync(join(at, 'node_modules', name))) {
    if (at === root) return; // An optional one that is not for this machine.
    at = dirname(at);
  }
  const found = join(at, 'node_modules', name);
  // Nested copies stay nested; workspaces are at the top.
  const isOwn = name.startsWith('@raidkit/');
  const source = isOwn ? execFileSync('readlink', ['-f', found], { encoding: 'utf8' }).trim() : found;
  const target = isOwn ? join('node_modules', name) : placeOf(found, seen);
  if (seen.has(source)) return;
  const {
    dependencies = {},
    optionalDependencies = {},
    peerDependencies = {},
    os,
    cpu: processors,
  } = readJson(join(source, 'package.json'));
  if ((os !== undefined && !os.includes('linux')) || (processors !== undefined && !processors.includes(cpu))) return;
  seen.set(source, target);
  for (const dependency of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }))
    collect(dependency, source, seen);
}

/** The path in the tree of a package that is at `found`; one in a workspace's own node_modules belongs below that workspace. */
function placeOf(found, seen) {
  for (const [source, target] of seen)
    if (found.startsWith(join(source, 'node_modules') + sep)) return join(target, relative(source, found));
  return relative(root, found);
}

function copy(source, target) {
  cpSync(source, place(target), { recursive: true, filter: (path) => !ofNoUse.test(path.slice(source.length)) });
  for (const file of existsSync(join(source, 'package.json')) ? readdirSync(source) : []) {
    if (/^licen[cs]e/i.test(file)) licences.set(target, readFileSync(join(source, file), 'utf8').trim());
  }
}

function addManualPages() {
  const pages = mkdtempSync(join(tmpdir(), 'raidkit-man-'));
  try {
    execFileSync('node', [join(root, 'scripts/manual-pages.mjs'), pages], { stdio: 'inherit' });
    for (const page of readdirSync(pages))
      write(`usr/share/man/man${page.split('.').pop()}/${page}.gz`, compressed(readFileSync(join(pages, page))));
  } finally {
    rmSync(pages, { recursive: true });
  }
}

function addSystemFiles() {
  const from = (file) => readFileSync(join(root, 'packaging', file));
  write('usr/lib/systemd/system/raidkitd.service', from('systemd/raidkitd.service'));
  write('usr/lib/sysusers.d/raidkit.conf', from('systemd/raidkit.sysusers.conf'));
  write('etc/default/raidkitd', from('debian/default'));
}

function addDocuments() {
  const stamp = date.toUTCString().replace(/GMT$/, '+0000');
  write(
    'usr/share/doc/raidkit/changelog.gz',
    compressed(
      `raidkit (${version}) unstable; urgency=medium\n\n  * See the changelogs of the npm packages.\n\n -- raidkit <raidkit@localhost>  ${stamp}\n`,
    ),
  );
  const texts = [...licences].map(([at, text]) => `${at.replace('usr/lib/raidkit/', '')}\n\n${text}\n`);
  write('usr/share/doc/raidkit/licences.gz', compressed(texts.join('\n----\n\n')));
  write('usr/share/doc/raidkit/copyright', readFileSync(join(root, 'packaging/debian/copyright')));
}

function addControl() {
  const kibibytes = Math.ceil(Number(execFileSync('du', ['-sk', tree], { encoding: 'utf8' }).split('\t')[0]));
  const control = readFileSync(join(root, 'packaging/debian/control'), 'utf8');
  write(
    'DEBIAN/control',
    control.replace('@VERSION@', version).replace('@ARCHITECTURE@', architecture).replace('@SIZE@', String(kibibytes)),
  );
  write('DEBIAN/conffiles', '/etc/default/raidkitd\n');
  for (const script of ['postinst', 'prerm', 'postrm'])
    write(`DEBIAN/${script}`, readFileSync(join(root, 'packaging/debian', script)), 0o755);
  const sums = [...filesBelow(tree)]
    .map((path) => relative(tree, path))
    .filter((path) => !path.startsWith('DEBIAN') && !path.startsWith('etc'))
    .sort()
    .map(
      (path) =>
        `${createHash('md5')
          .update(readFileSync(join(tree, path)))
          .digest('hex')}  ${path}\n`,
    );
  write('DEBIAN/md5sums', sums.join(''));
}

function* filesBelow(path) {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) yield* filesBelow(join(path, entry.name));
    else if (entry.isFile()) yield join(path, entry.name);
  }
}

/** Packages of npm come with all sorts of modes. */
function normaliseModes(path) {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const whole = join(path, entry.name);
    if (entry.isSymbolicLink()) continue;
    if (entry.isDirectory()) {
      chmodSync(whole, 0o755);
      normaliseModes(whole);
    } else {
      const isProgram = path.endsWith('DEBIAN') ? (statSync(whole).mode & 0o100) !== 0 : /bin\/raid(kitd|ctl)\.js$/.test(whole);
      chmodSync(whole, isProgram ? 0o755 : 0o644);
    }
  }
  chmodSync(path, 0o755);
}
