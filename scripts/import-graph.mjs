// Import circles of every package and application, types included: `npm run lint` fails if there is one.
// `node scripts/import-graph.mjs --print [PACKAGE]` prints which folders import which.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Every source file below `folder`. */
function sourceFiles(folder) {
  return fs.readdirSync(folder, { withFileTypes: true, recursive: true }).flatMap((entry) => {
    return entry.isFile() && entry.name.endsWith('.ts') ? [path.join(entry.parentPath, entry.name)] : [];
  });
}

/** What each file of a `src` folder imports from the same folder, types and re-exports included. */
export function importGraph(src) {
  const graph = new Map();
  for (const file of sourceFiles(src)) {
    const { importedFiles } = ts.preProcessFile(fs.readFileSync(file, 'utf8'), true, false);
    const targets = importedFiles
      .filter(({ fileName }) => fileName.startsWith('.'))
      .map(({ fileName }) => path.resolve(path.dirname(file), fileName.replace(/\.js$/, '.ts')));
    graph.set(file, [...new Set(targets)]);
  }
  return graph;
}

/** The strongly connected components of more than one file (Tarjan). */
export function circles(graph) {
  const found = [];
  const index = new Map();
  const low = new Map();
  const stack = [];
  const onStack = new Set();
  const visit = (node) => {
    index.set(node, index.size);
    low.set(node, index.get(node));
    stack.push(node);
    onStack.add(node);
    for (const next of graph.get(node) ?? []) {
      if (!graph.has(next)) continue;
      if (!index.has(next)) {
        visit(next);
        low.set(node, Math.min(low.get(node), low.get(next)));
      } else if (onStack.has(next)) low.set(node, Math.min(low.get(node), index.get(next)));
    }
    if (low.get(node) !== index.get(node)) return;
    const component = stack.splice(stack.indexOf(node));
    for (const member of component) onStack.delete(member);
    if (component.length > 1 || graph.get(node)?.includes(node)) found.push(component);
  };
  for (const node of graph.keys()) if (!index.has(node)) visit(node);
  return found;
}

function sources() {
  return ['packages', 'apps'].flatMap((kind) =>
    fs
      .readdirSync(path.join(root, kind))
      .map((name) => path.join(root, kind, name, 'src'))
      .filter((src) => fs.existsSync(src)),
  );
}

/** Prints, for each folder of `src`, the folders that its files import. */
function print(src, graph) {
  const folderOf = (file) => path.relative(src, path.dirname(file)) || '.';
  const folders = new Map();
  for (const [file, targets] of graph) {
    const from = folderOf(file);
    const set = folders.get(from) ?? new Map();
    folders.set(from, set);
    for (const target of targets)
      if (folderOf(target) !== from) set.set(folderOf(target), (set.get(folderOf(target)) ?? 0) + 1);
  }
  console.log(`\n${path.relative(root, src)}: ${graph.size} files`);
  for (const [from, to] of [...folders].sort()) {
    console.log(`  ${from} -> ${[...to].map(([name, count]) => `${name} (${count})`).join(', ') || 'nothing'}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [flag, only] = process.argv.slice(2);
  let count = 0;
  for (const src of sources()) {
    const graph = importGraph(src);
    if (flag === '--print' && (only === undefined || src.endsWith(`/${only}/src`))) print(src, graph);
    for (const component of circles(graph)) {
      count++;
      console.error(`${path.relative(root, src)}: ${component.length} files import one another in a circle:`);
      for (const file of component) console.error(`  ${path.relative(src, file)}`);
    }
  }
  if (count > 0) process.exitCode = 1;
}
