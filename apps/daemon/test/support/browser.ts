import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';

const { resolve } = createRequire(import.meta.url);
const axeSource = readFileSync(resolve('axe-core/axe.min.js'), 'utf8');

/** These options keep the browser from using the network by itself. */
const quiet = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** How a page is displayed. */
export interface Look {
  width: number;
  height: number;
  isDark?: boolean;
}

/** A page, and what went wrong on it so far. */
export interface WatchedPage {
  page: Page;
  /** Complaints: of the content security policy, errors of scripts, requests to elsewhere. */
  complaints: string[];
}

/** Chromium for the tests of the file that calls this. */
export function oneBrowser(): {
  open(url: string, look: Look): Promise<WatchedPage>;
  /** Gives a test an empty page for a while. */
  use<T>(what: (page: Page) => Promise<T>): Promise<T>;
} {
  let browser: Browser | null = null;
  let home = '';
  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'raidkit-chromium-'));
    const env = { PATH: process.env.PATH ?? '', HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home };
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: quiet, env });
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(home, { recursive: true, force: true });
  });
  return {
    async open(url, { height, isDark = false, width }) {
      if (browser === null) throw new Error('the browser runs only in tests');
      const page = await browser.newPage({ viewport: { width, height }, colorScheme: isDark ? 'dark' : 'light' });
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
      page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
      });
      page.on('request', (request) => {
        if (!request.url().startsWith(url)) complaints.push(`request to ${request.url()}`);
      });
      await page.goto(url);
      return { page, complaints };
    },
    async use(what) {
      if (browser === null) throw new Error('the browser runs only in tests');
      const page = await browser.newPage();
      try {
        return await what(page);
      } finally {
        await page.close();
      }
    },
  };
}

/** What axe finds against WCAG 2.2 AA and its own best practices; empty for nothing. */
export async function accessibilityProblems(page: Page): Promise<string[]> {
  // It is not added as a script of the page, because the page's policy would refuse that.
  await page.evaluate(axeSource);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> };
    };
    const { violations } = await axe.run();
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`));
  });
}

/** Columns of the terminal in pictures. */
const terminalColumns = 124;

/** A picture of a terminal that shows `text`, with the colours and box-drawing characters that it has. */
export async function terminalPicture(page: Page, text: string): Promise<Buffer> {
  await page.setViewportSize({ width: 1200, height: 900 });
  await page.setContent('<body style="background: #15191f"><div style="display: inline-block; padding: 16px"></div>');
  await page.addStyleTag({ path: resolve('@xterm/xterm/css/xterm.css') });
  await page.addScriptTag({ path: resolve('@xterm/xterm') });
  const show = async ({ columns, text }: { columns: number; text: string }): Promise<void> => {
    const { document, Terminal } = globalThis as unknown as {
      document: { querySelector(selector: string): object };
      Terminal: new (options: object) => { open(at: object): void; write(text: string, done: () => void): void };
    };
    const rows = text.split('\n').reduce((sum, line) => sum + Math.ceil(Math.max(1, line.length) / columns), 0);
    const theme = {
      background: '#15191f',
      foreground: '#e6e9ee',
      cursor: '#15191f',
      red: '#ff8f87',
      brightRed: '#ff8f87',
      green: '#6fd39a',
      brightGreen: '#6fd39a',
      yellow: '#f0b95b',
      brightYellow: '#f0b95b',
    };
    const font = { fontFamily: 'DejaVu Sans Mono, monospace', fontSize: 14, fontWeightBold: 'bold' };
    const terminal = new Terminal({ cols: columns, rows, convertEol: true, cursorInactiveStyle: 'none', theme, ...font });
    terminal.open(document.querySelector('div'));
    await new Promise<void>((written) => terminal.write(text, written));
  };
  await page.evaluate(show, { columns: terminalColumns, text: text.trimEnd() });
  return page.locator('div').first().screenshot();
}
