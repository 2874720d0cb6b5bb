import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hasCommands } from '../apps/daemon/test/support/process.js';

// Tests the image of packaging/container without a container engine. This needs a build, and root.

const script = fileURLToPath(new URL('../packaging/try-image.mjs', import.meta.url));
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-image-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe.runIf(hasCommands('unshare', 'setpriv') && process.getuid?.() === 0)('the container image', () => {
  it('serves as its own user on a read-only root, and the next container finds the volume', () => {
    const args = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', process.execPath, script];
    const tried = spawnSync('unshare', args, { encoding: 'utf8', env: { ...process.env, TMPDIR: folder } });
    expect(tried.stdout + tried.stderr).toContain('stopped in good order');
    expect(tried.status).toBe(0);
  });
});
