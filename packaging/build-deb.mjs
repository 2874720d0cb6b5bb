// Builds a Debian package of raidkitd and raidctl.
// node packaging/build-deb.mjs FOLDER [VERSION]   (after `npm run build`; needs dpkg-deb)
// It takes what is in node_modules, so that nothing is downloaded, and what it holds is what was tested.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { copyPrograms, joinLicences, programs } from './programs.mjs';

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
/** The texts of the packages that come along, by where they are. */
let licences;
const compressed = (text) => gzipSync(text, { level: 9 });

try {
  licences = copyPrograms(join(tree, 'usr/lib/raidkit'), cpu);
  for (const name of ['raidkitd', 'raidctl']) symlinkSync(`../lib/raidkit/${programs[name]}`, place(`usr/bin/${name}`));
  addManualPages();
  addSystemFiles();
  addDocuments();
  addControl();
  for (const path of [tree, ...foldersBelow(tree)]) chmodSync(path, 0o755);
  mkdirSync(folder, { recursive: true });
  const target = join(folder, `raidkit_${version}_${architecture}.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '--build', tree, target], { stdio: ['ignore', 'ignore', 'inherit'] });
  console.log(target);
} finally {
  rmSync(tree, { recursive: true });
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
  write('usr/lib/tmpfiles.d/raidkit.conf', from('systemd/raidkit.tmpfiles.conf'));
  write('usr/lib/udev/rules.d/61-raidkit.rules', from('udev/61-raidkit.rules'));
  write('usr/lib/udev/raidkit-probe', from('udev/raidkit-probe'), 0o755);
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
  write('usr/share/doc/raidkit/licences.gz', compressed(joinLicences(licences)));
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

function foldersBelow(path) {
  const entries = readdirSync(path, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}

function* filesBelow(path) {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) yield* filesBelow(join(path, entry.name));
    else if (entry.isFile()) yield join(path, entry.name);
  }
}
