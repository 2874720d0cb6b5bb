import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { moduleResolve } from 'import-meta-resolve';
import { RaidModuleRegistry } from '@raidkit/core';
import type { RaidModule } from '@raidkit/core';

/** A level, and the package that contains it. */
export interface LoadedLevel {
  module: RaidModule;
  /** Folder of its package.json. */
  folder: string;
  packageName: string;
  version: string;
}

/**
 * Loads the level that a package, a folder with one, or a file exports; `wanted` is its id if there are several. Throws an
 * error for people if there is none.
 */
export async function loadLevel(named: string, wanted?: string): Promise<LoadedLevel> {
  const url = locate(named);
  const exported = (await import(url.href)) as Record<string, unknown>;
  const modules = [...new Set(Object.values(exported).filter(isModule))];
  const ids = modules.map(({ level }) => level).join(', ');
  if (modules.length === 0) throw new Error(`${named} exports no RAID level: an object with level, apiVersion and start`);
  const module = wanted === undefined ? modules[0] : modules.find(({ level }) => level === wanted);
  if (module === undefined) throw new Error(`${named} exports no level ${String(wanted)}; it has ${ids}`);
  if (wanted === undefined && modules.length > 1)
    throw new Error(`${named} exports several levels, ${ids}: say with --level which is meant`);
  // Refuses now what a daemon would refuse, naming the field.
  new RaidModuleRegistry().register(module);
  return { module, ...packageOf(fileURLToPath(url)) };
}

function locate(named: string): URL {
  const path = resolve(named);
  const isPath = /^[./]/.test(named) || existsSync(path);
  if (!isPath) {
    try {
      return moduleResolve(named, pathToFileURL(join(process.cwd(), 'package.json')), new Set(['node', 'import']));
    } catch (error) {
      throw new Error(`the package ${named} cannot be loaded from ${process.cwd()}: ${messageOf(error)}`, { cause: error });
    }
  }
  if (!existsSync(path)) throw new Error(`there is no file or folder ${path}`);
  if (!statSync(path).isDirectory()) {
    if (/\.[cm]?tsx?$/.test(path)) throw new Error(`${named} is TypeScript: build it, and name what was built`);
    return pathToFileURL(path);
  }
  const file = join(path, 'package.json');
  if (!existsSync(file)) throw new Error(`${path} has no package.json`);
  const { name } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string };
  if (name === undefined) throw new Error(`${file} has no name`);
  let url: URL;
  try {
    // A package with exports can be resolved from itself by its name.
    url = moduleResolve(name, pathToFileURL(file), new Set(['node', 'import']));
  } catch (error) {
    throw new Error(`the package in ${path} cannot be loaded: is it built? ${messageOf(error)}`, { cause: error });
  }
  if (!existsSync(url)) throw new Error(`${fileURLToPath(url)} is not there: build the package first`);
  return url;
}

function packageOf(file: string): Omit<LoadedLevel, 'module'> {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const path = join(folder, 'package.json');
    if (existsSync(path)) {
      const { name, version } = JSON.parse(readFileSync(path, 'utf8')) as { name?: string; version?: string };
      if (name !== undefined) return { folder, packageName: name, version: version ?? '0.0.0' };
    }
    if (folder === dirname(folder)) return { folder: dirname(file), packageName: '', version: '0.0.0' };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isModule(value: unknown): value is RaidModule {
  return typeof value === 'object' && value !== null && 'level' in value && 'apiVersion' in value && 'start' in value;
}
