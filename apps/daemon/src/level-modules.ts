import { pathToFileURL } from 'node:url';
import { RaidModuleRegistry } from '@raidkit/core';
import type { RaidModule } from '@raidkit/core';
import { moduleResolve } from 'import-meta-resolve';

/** The levels that a daemon has when nothing else is said, by package. */
export const defaultLevelPackages = ['@raidkit/raid0', '@raidkit/raid1', '@raidkit/raid5f', '@raidkit/concat'] as const;

/**
 * Loads level modules by package name: from the daemon's own dependencies if it has the package, else from the deployer's
 * folder (the working directory). Registers whatever a package exports that is a module. Throws, naming the package, if one
 * cannot be found, has no module, or is refused. `conditions`: further ones under which packages' exports are looked up.
 */
export async function loadLevels(
  packages: readonly string[],
  folder: string,
  conditions: readonly string[] = [],
): Promise<RaidModuleRegistry> {
  const registry = new RaidModuleRegistry();
  for (const name of new Set(packages)) {
    const exported = await importPackage(name, folder, new Set([...conditions, 'node', 'import']));
    const modules = Object.values(exported).filter(isModule);
    if (modules.length === 0) throw new Error(`the package ${name} exports no RAID level`);
    for (const module of modules) registry.register(module);
  }
  return registry;
}

async function importPackage(name: string, folder: string, conditions: Set<string>): Promise<object> {
  if (!/^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/.test(name)) {
    throw new Error(`${name} is not a package name: levels are loaded by the name of an installed package`);
  }
  const bases = [new URL(import.meta.url), pathToFileURL(`${folder}/package.json`)];
  for (const base of bases) {
    let url;
    try {
      url = moduleResolve(name, base, conditions);
    } catch {
      continue;
    }
    return (await import(url.href)) as object;
  }
  throw new Error(`the package ${name} is not installed in ${folder}: run npm install ${name} there`);
}

function isModule(value: unknown): value is RaidModule {
  return typeof value === 'object' && value !== null && 'level' in value && 'apiVersion' in value && 'start' in value;
}
