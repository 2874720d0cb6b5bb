import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasCommands } from '../apps/daemon/test/support/process.js';

// Tests of what is installed: the manual pages, the unit, the package. These need a build, and root.

const root = fileURLToPath(new URL('..', import.meta.url));
const unit = join(root, 'packaging/systemd/raidkitd.service');

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-package-'));
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** What a command prints, whatever its exit code. */
function outputOf(command: string, ...args: string[]): string {
  const { error, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (error !== undefined) throw error;
  return stdout + stderr;
}

function build(version: string): string {
  const script = join(root, 'packaging/build-deb.mjs');
  return execFileSync(process.execPath, [script, folder, version], { encoding: 'utf8' }).trim();
}

describe.runIf(hasCommands('mandoc'))('manual pages', () => {
  beforeAll(() => {
    execFileSync(process.execPath, [join(root, 'scripts/manual-pages.mjs'), join(folder, 'man')]);
  });

  it('are there for each program and file, and mandoc has nothing to say', () => {
    const pages = readdirSync(join(folder, 'man'));
    expect(pages.sort()).toEqual(['raidctl.8', 'raidkit-level.7', 'raidkit.conf.5', 'raidkitd.8']);
    for (const page of pages) expect(outputOf('mandoc', '-T', 'lint', join(folder, 'man', page))).toBe('');
  });

  it('have every option and command that the programs have', () => {
    // Lines are folded, and hyphens may be escaped.
    const text = (page: string): string =>
      readFileSync(join(folder, 'man', page), 'utf8')
        .replaceAll('\\', '')
        .replace(/\s+/g, ' ');
    const options = outputOf(process.execPath, 'apps/daemon/bin/raidkitd.js', '--help').match(/--[a-z][a-z-]+/g) ?? [];
    expect(options.length).toBeGreaterThan(20);
    const daemon = text('raidkitd.8');
    expect([...new Set(options)].filter((option) => !daemon.includes(option))).toEqual([]);
    const help = outputOf(process.execPath, 'apps/raidctl/bin/raidctl.js', '--help');
    const commands = [...help.slice(help.indexOf('Commands:')).matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name ?? '');
    expect(commands.length).toBeGreaterThan(20);
    const raidctl = text('raidctl.8');
    expect(commands.filter((name) => name !== 'help' && !raidctl.includes(`.SS "${name} `))).toEqual([]);
  });
});

describe.runIf(hasCommands('systemd-analyze', 'strace'))('the unit', () => {
  it('is understood by systemd, which has nothing to say but that the program is not installed here', () => {
    const complaints = outputOf('systemd-analyze', 'verify', unit).split('\n');
    expect(complaints.filter((line) => line !== '' && !/is not executable|Command 'man /.test(line))).toEqual([]);
  });

  it('leaves the daemon little that it could do to the machine', () => {
    const report = outputOf('systemd-analyze', 'security', '--offline=true', unit);
    expect(Number(/Overall exposure level for \S+: ([\d.]+)/.exec(report)?.[1])).toBeLessThanOrEqual(1.5);
  });

  it('allows every system call that the daemon makes', () => {
    const trace = join(folder, 'calls');
    const script = join(root, 'apps/daemon/bin/raidkitd.js');
    // The demonstration makes files, an array and an export; then it is told to stop.
    const untilItIsUp = `
      "$@" 2> ${folder}/log & pid=$!
      for i in $(seq 600); do
        if grep -q 'raidkitd is ready' ${folder}/log; then break; fi
        sleep 0.1
      done
      kill -TERM $pid
      wait $pid`;
    const daemon = [process.execPath, script, '--engine', 'auto', '--demo', `${folder}/demo`, '--memory', '64'];
    outputOf('strace', '-f', '-qq', '-o', trace, 'sh', '-c', untilItIsUp, 'sh', ...daemon);
    const used = new Set([...readFileSync(trace, 'utf8').matchAll(/^\d+ +([a-z_0-9]+)\(/gm)].map(([, name]) => name ?? ''));
    for (const name of ['bind', 'io_uring_enter']) expect(used).toContain(name);
    const filters = [...readFileSync(unit, 'utf8').matchAll(/^SystemCallFilter=(.*)$/gm)].map(([, names]) => names ?? '');
    const [allowed = new Set(), denied = new Set()] = filters.map((names) => expand(names.replace(/^~/, '').split(' ')));
    // Node and V8 ask for more open files, and for memory protection keys; they continue without.
    const done = ['prlimit64', 'pkey_alloc'];
    const others = [...used].filter((name) => !allowed.has(name) || denied.has(name));
    expect(others.filter((name) => !done.includes(name))).toEqual([]);
  });
});

/** The system calls of systemd's sets. */
function expand(names: readonly string[]): Set<string> {
  const calls = new Set<string>();
  for (const name of names) {
    if (!name.startsWith('@')) {
      calls.add(name);
      continue;
    }
    const members = outputOf('systemd-analyze', 'syscall-filter', name).split('\n').slice(1);
    for (const call of expand(members.map((line) => line.trim()).filter((line) => /^[@a-z]/.test(line)))) calls.add(call);
  }
  return calls;
}

const canInstall = hasCommands('dpkg-deb', 'lintian', 'mandoc', 'unshare', 'qemu-io', 'udevadm') && process.getuid?.() === 0;

describe.runIf(canInstall)('the Debian package', () => {
  it(
    'is installed, serves, is upgraded under a client, removed and purged, and lintian has little to say',
    { timeout: 300_000 },
    () => {
      const [old, fresh] = [build('0.0.1'), build('0.0.2')];
      const tags = outputOf('lintian', '--allow-root', fresh).match(/^[EW]: .*/gm) ?? [];
      // The package has no maintainer's address yet.
      expect(tags.filter((tag) => !tag.includes('bogus-mail-host'))).toEqual([]);
      const tried = spawnSync(join(root, 'packaging/try-deb.sh'), [old, fresh], { encoding: 'utf8' });
      expect(tried.stdout + tried.stderr).toContain('removed and purged');
      expect(tried.status).toBe(0);
    },
  );
});
