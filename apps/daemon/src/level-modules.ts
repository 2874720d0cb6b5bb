import { existsSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { RaidModuleRegistry } from '@raidkit/core';
import type { RaidModule } from '@raidkit/core';
import { moduleResolve } from 'import-meta-resolve';
import { noteClaim } from './level-claims.js';

/** Packages of the levels that a daemon has by default. */
export const defaultLevelPackages = [
  '@raidkit/raid0',
  '@raidkit/raid1',
  '@raidkit/raid10',
  '@raidkit/raid5f',
  '@raidkit/raid6',
  '@raidkit/concat',
] as const;

/**
 * Loads level modules by package name: from the daemon's dependencies if it has the package, else from the folder that the
 * operator has named. Registers every module that a package exports. Throws, naming the package, if one cannot be found, has no
 * module, is refused, or could have been changed by another user. `conditions` are further export conditions for the lookup.
 */
export async function loadLevels(
  packages: readonly string[],
  folder?: string,
  conditions: readonly string[] = [],
): Promise<RaidModuleRegistry> {
  const registry = new RaidModuleRegistry();
  for (const name of new Set(packages)) {
    const { exported, file } = await importPackage(name, folder, new Set([...conditions, 'node', 'import']));
    const modules = Object.values(exported).filter(isModule);
    if (modules.length === 0) throw new Error(`the package ${name} exports no RAID level`);
    for (const module of modules) {
      registry.register(module);
      noteClaim(module, file);
    }
  }
  return registry;
}

/** Exports of a package, and the file they come from. */
interface Imported {
  exported: object;
  file: string;
}

async function importPackage(name: string, folder: string | undefined, conditions: Set<string>): Promise<Imported> {
  if (!/^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/.test(name)) {
    throw new Error(`${name} is not a package name: levels are loaded by the name of an installed package`);
  }
  const own = resolvePackage(name, new URL(import.meta.url), conditions);
  if (own !== null) return importFrom(own);
  if (folder === undefined) {
    throw new Error(
      `the package ${name} does not come with raidkitd: give the directory where it is installed with --level-folder`,
    );
  }
  const modules = join(folder, 'node_modules');
  const place = join(modules, name);
  // Checked first, because Node would search the parent folders as well.
  const found = existsSync(place) ? resolvePackage(name, pathToFileURL(join(folder, 'package.json')), conditions) : null;
  if (found === null) throw new Error(`the package ${name} is not installed in ${folder}: run npm install ${name} there`);
  for (const path of [folder, modules, realpathSync(place), fileURLToPath(found)]) refuseForeignCode(name, path);
  return importFrom(found);
}

async function importFrom(url: URL): Promise<Imported> {
  return { exported: (await import(url.href)) as object, file: fileURLToPath(url) };
}

function resolvePackage(name: string, base: URL, conditions: Set<string>): URL | null {
  try {
    return moduleResolve(name, base, conditions);
  } catch {
    return null;
  }
}

/** Imported code can do everything the daemon can, so it must belong to the daemon's user or root. */
function refuseForeignCode(name: string, path: string): void {
  const { uid, mode } = statSync(path);
  const own = process.geteuid?.() ?? 0;
  if (uid !== 0 && uid !== own) {
    throw new Error(
      `the package ${name} is not loaded: ${path} belongs to user ${uid}, and neither to root nor to user ${own}`,
    );
  }
  if ((mode & 0o002) !== 0)
    throw new Error(`the package ${name} is not loaded: every user can write to ${path}; chmod o-w ${path}`);
}

function isModule(value: unknown): value is RaidModule {
  return typeof value === 'object' && value !== null && 'level' in value && 'apiVersion' in value && 'start' in value;
}
