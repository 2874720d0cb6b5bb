import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlockClient } from '@raidkit/bdev';
import { pino } from 'pino';
import type { Page } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HttpToken } from '../src/dashboard/token.js';
import { runHere } from '../../raidctl/test/support/raidctl.js';
import { defaultLevelPackages, startDaemon } from '../src/index.js';
import type { Daemon } from '../src/index.js';
import { accessibilityProblems, oneBrowser, terminalPicture } from './support/browser.js';
import type { Look } from './support/browser.js';
import { makeFile } from './support/files.js';
import { hasCommands } from './support/process.js';

/*
 * The dashboard in a real browser, and what raidctl shows of the same arrays. With RAIDKIT_SCREENSHOTS=FOLDER the pictures that the
 * documents show are made, after a minute of load (apps/daemon/scripts/screenshots.mjs).
 */

const pictures = process.env.RAIDKIT_SCREENSHOTS;
/** Seconds of load before the first picture. */
const loadSeconds = pictures === undefined ? 0 : 60;
/** MiB that are there to rebuild, and at which rate: it takes a minute, and must not end before it has been looked at. */
const [filled, rebuildRate] = pictures === undefined ? [64, 1] : [240, 4];
/** Largest picture in the documents, in bytes. */
const mostPictureBytes = 100 * 1024;
const shownPictures = new URL('../../../docs/images/', import.meta.url);
const token = 'a-token-of-the-tests';
const desktop: Look = { width: 1200, height: 900 };
const phone: Look = { width: 390, height: 844, isDark: true };
const mebibyte = 1024 * 1024;

let folder: string;
let daemon: Daemon;
let url: string;
/** Programs that do I/O on volumes, and the function that ends each. */
let workers: Promise<void>[];
let workIsOver: AbortController;

function call(method: string, params?: object): Promise<unknown> {
  return daemon.caller.call(method, params);
}

async function openDevice(name: string, mebibytes: number): Promise<void> {
  const filename = join(folder, `${name}.img`);
  makeFile(filename, mebibytes * mebibyte);
  await call('bdev_aio_create', { name, filename, block_size: 512, fallocate: true });
}

/** Writes so much of a volume, so that there is something to rebuild. */
async function fill(volume: string, mebibytes: number): Promise<void> {
  const client = new BlockClient(daemon.service.registry.open(volume, { writable: true }));
  const piece = Buffer.alloc(mebibyte, 0x5a);
  for (let at = 0; at < mebibytes; at++) {
    await client.write(at * 2048, piece);
    if (pictures !== undefined) await sleep(100);
  }
  client.descriptor.close();
}

/** Reads and writes as a user's program might, until the signal comes. */
async function work(volume: string, rate: number): Promise<void> {
  const { signal } = workIsOver;
  const client = new BlockClient(daemon.service.registry.open(volume, { writable: true }));
  const piece = Buffer.alloc(64 * 1024, 0xa5);
  for (let round = 0; !signal.aborted; round++) {
    const reads = (1.2 + Math.sin(round / 60)) * rate;
    const writes = (1.1 + Math.sin(round / 25 + 1)) * rate;
    for (let one = 0; one < reads; one++) await client.read(((round * 37 + one * 11) % 512) * 128, 128);
    for (let one = 0; one < writes; one++) await client.write(((round * 29 + one * 7) % 512) * 128, piece);
    await sleep(200, undefined, { signal }).catch(() => undefined);
  }
  client.descriptor.close();
}

async function endWork(): Promise<void> {
  workIsOver.abort();
  await Promise.all(workers);
}

beforeEach(async () => {
  workers = [];
  workIsOver = new AbortController();
  folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  daemon = await startDaemon({
    rpc: [{ path: join(folder, 'rpc.sock') }],
    nbd: [{ unix: join(folder, 'nbd.sock') }],
    http: [{ host: '127.0.0.1', port: 0 }],
    httpToken: new HttpToken(token),
    levels: defaultLevelPackages,
    conditions: ['@raidkit/source'],
    memoryBytes: 128 << 20,
    log: pino({ level: 'silent' }),
  });
  url = `http://${daemon.httpAddresses[0]!}/`;
});

afterEach(async () => {
  await endWork();
  await daemon.stop();
  rmSync(folder, { recursive: true });
});

describe.skipIf(!hasCommands('chromium'))('the dashboard', () => {
  const browser = oneBrowser();

  function keep(name: string, picture: Buffer): void {
    if (pictures === undefined) return;
    mkdirSync(pictures, { recursive: true });
    writeFileSync(join(pictures, `${name}.png`), picture);
  }

  /** The pictures of a state; nothing is wider than the screen. Returns what `raidctl status` shows of it. */
  async function take(name: string, pages: Readonly<Record<string, Page>>): Promise<string> {
    for (const [kind, page] of Object.entries(pages)) {
      const width = await page.evaluate<number>('document.documentElement.scrollWidth - window.innerWidth');
      expect({ name, kind, width }).toEqual({ name, kind, width: 0 });
      keep(`dashboard-${name}-${kind}`, await page.screenshot());
    }
    const args = ['-s', join(folder, 'rpc.sock'), 'status', 'backup'];
    const { stdout } = await runHere(args, { TERM: 'xterm-256color', LANG: 'C.UTF-8' });
    keep(`raidctl-${name}`, await browser.use((page) => terminalPicture(page, `$ raidctl status backup\n${stdout}`)));
    return stdout;
  }

  it('shows what is wrong and what to do, to every visitor, at any width', { timeout: 600_000 }, async () => {
    for (const name of ['sda', 'sdb', 'sdc', 'sde']) await openDevice(name, 130);
    for (const name of ['nvme0', 'nvme1']) await openDevice(name, 66);
    await call('bdev_raid_create', {
      name: 'backup',
      raid_level: 'raid5f',
      strip_size_kb: 64,
      base_bdevs: ['sda', 'sdb', 'sdc'],
      superblock: true,
    });
    await call('bdev_raid_create', { name: 'system', raid_level: 'raid1', base_bdevs: ['nvme0', 'nvme1'], superblock: true });
    await fill('backup', filled);
    if (loadSeconds > 0) workers = [work('backup', 12), work('system', 3)];
    await sleep(loadSeconds * 1000);

    const wide = await browser.open(url, desktop);
    const narrow = await browser.open(url, phone);
    const pages = { desktop: wide.page, phone: narrow.page };
    const shows = async (text: string): Promise<void> => {
      for (const page of Object.values(pages)) await page.getByText(text).first().waitFor();
    };
    const article = wide.page.getByRole('article', { name: 'backup' });

    await shows('2 arrays, all optimal');
    expect(await article.innerText()).toContain('3 of 3 members in sync');
    expect(await article.getByRole('img', { name: /^Throughput over the last/ }).count()).toBe(1);
    expect(await take('healthy', pages)).toMatch(/state: .*optimal/);
    expect(await accessibilityProblems(wide.page)).toEqual([]);

    await call('raidkit_fail', { name: 'backup', member: 'sdb' });
    await shows('2 arrays: 1 degraded');
    // The device is released a moment later.
    await shows('was sdb');
    const degraded = await article.innerText();
    expect(degraded).toContain('data is served, and the loss of one more member takes the array offline');
    expect(degraded).toContain('What to do: Bring the absent device back, or add a new one.');
    expect(degraded).toContain('raidctl add backup DEVICE');
    const happened = wide.page.getByRole('region', { name: 'Events' });
    expect(await happened.innerText()).toContain('sdb');
    expect(await take('degraded', pages)).toMatch(/state: .*DEGRADED[^]*FAILED/);

    await call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: rebuildRate });
    await call('bdev_raid_add_base_bdev', { raid_bdev: 'backup', base_bdev: 'sde' });
    await shows('2 arrays: 1 rebuilding');
    await article.getByText(/iB\/s, at most .* left/).waitFor();
    const bar = article.getByRole('progressbar', { name: 'Rebuild of sde' });
    expect(Number(await bar.getAttribute('value'))).toBeGreaterThan(0);
    if (pictures !== undefined) await sleep(12_000);
    expect(await take('rebuilding', pages)).toMatch(/state: .*REBUILDING[^]*rebuild of sde \[/);
    // It does not end before the next member is lost.
    await call('raidkit_control_process', { name: 'backup', action: 'pause' });
    expect(await accessibilityProblems(narrow.page)).toEqual([]);

    await endWork();
    await call('bdev_aio_delete', { name: 'sdc' });
    await shows('2 arrays: 1 offline');
    const offline = await article.innerText();
    expect(offline).toContain('Offline');
    expect(offline).toContain('raidctl open DEVICE');
    expect(await take('failed', pages)).toMatch(/state: .*OFFLINE/);
    expect(await accessibilityProblems(wide.page)).toEqual([]);

    // Those that are made now are made small afterwards.
    for (const state of pictures === undefined ? ['healthy', 'degraded', 'rebuilding', 'failed'] : []) {
      for (const name of [`dashboard-${state}-desktop`, `dashboard-${state}-phone`, `raidctl-${state}`]) {
        const picture = readFileSync(new URL(`${name}.png`, shownPictures));
        expect(picture.length).toBeLessThan(mostPictureBytes);
      }
    }
    expect({ wide: wide.complaints, narrow: narrow.complaints }).toEqual({ wide: [], narrow: [] });
  });

  it('lets a user who knows the token act, by keyboard alone', async () => {
    // A minute for the check at its limit: it must not end before it is cancelled.
    for (const name of ['a', 'b', 'standby']) await call('bdev_malloc_create', { name, num_blocks: 131_072, block_size: 512 });
    await call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: ['a', 'b'] });
    await call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 1 });
    const { complaints, page } = await browser.open(url, desktop);
    const press = async (...keys: string[]): Promise<void> => {
      for (const key of keys) await page.keyboard.press(key);
    };
    /** Confirms the question of the button with the focus, after it has been asked. */
    const agree = async (): Promise<void> => {
      await press('Enter');
      await page.getByRole('dialog').waitFor();
      await press('Tab', 'Enter');
    };
    await page.getByRole('heading', { name: 'vol' }).waitFor();
    expect(await page.getByRole('button', { name: 'Start check' }).count()).toBe(0);

    await press('Tab');
    await page.keyboard.type('wrong');
    await press('Enter');
    expect(await page.getByRole('alert').innerText()).toBe('the token is wrong');
    await page.keyboard.type(token);
    await press('Enter');
    const check = page.getByRole('button', { name: 'Start check' });
    await check.waitFor();

    await check.focus();
    await press('Enter');
    const cancel = page.getByRole('button', { name: 'Cancel check' });
    await cancel.waitFor();
    await cancel.focus();
    // The user can answer no.
    await press('Enter');
    await page.getByRole('dialog').waitFor();
    await press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    expect(await page.getByRole('progressbar').count()).toBe(1);
    await cancel.focus();
    await agree();
    await check.waitFor();

    expect(await accessibilityProblems(page)).toEqual([]);
    await page.getByRole('button', { name: 'Add spare…' }).focus();
    await agree();
    await page.getByRole('button', { name: 'Remove standby' }).waitFor();
    expect(await call('raidkit_get_spares')).toEqual([{ bdev_name: 'standby', name: null }]);
    // The refusal of the wrong token is the one complaint.
    expect(complaints.filter((text) => !text.includes('401'))).toEqual([]);
  });

  it('shows names as text, whatever is in them', async () => {
    const evil = '<img src=x onerror=alert(1)><script>';
    for (const name of [evil, 'b']) await call('bdev_malloc_create', { name, num_blocks: 16_384, block_size: 512 });
    await call('bdev_raid_create', { name: `v${evil}`, raid_level: 'raid1', base_bdevs: [evil, 'b'] });
    await call('raidkit_fail', { name: `v${evil}`, member: evil });
    const { complaints, page } = await browser.open(url, desktop);
    await page.getByRole('heading', { name: `v${evil}` }).waitFor();
    await page.getByText(`was ${evil}`).waitFor();
    // Only the icon is requested.
    expect(await page.locator('img').count()).toBe(1);
    expect(await page.locator('script').count()).toBe(1);
    expect(complaints).toEqual([]);
  });
});
