// Builds the documentation site, from docs/ and the comments of what the packages export: npm run docs:site [-- FOLDER]
// A link that leads nowhere, to a page, a heading, a picture or a symbol, ends it with an error. The manual pages are not in it.
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Application, Converter, KindRouter, MinimalSourceFile, ReflectionKind } from 'typedoc';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const site = process.argv[2] ?? join(root, 'site');
rmSync(site, { recursive: true, force: true });

/** The group of a document in the table of contents, by its folder. */
const groups = {
  'docs/guides': 'Guides',
  examples: 'Guides',
  docs: 'Reference',
  'docs/decisions': 'Decisions',
  benchmarks: 'Project',
  '.': 'Project',
};

/** What the packages publish: the name under which it is imported, its source, and the README that explains it. */
const entries = readdirSync(join(root, 'packages')).flatMap((folder) => {
  const at = join(root, 'packages', folder);
  const { exports, name } = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8'));
  return Object.entries(exports).flatMap(([path, { '@raidkit/source': source }]) => {
    // `register` exports nothing.
    if (source === undefined || path === './register') return [];
    return [{ name: join(name, path), source: join(at, source), readme: path === '.' ? join(at, 'README.md') : null }];
  });
});

const app = await Application.bootstrap({
  name: 'raidkit',
  entryPoints: entries.map(({ source }) => source),
  tsconfig: join(root, 'tsconfig.json'),
  readme: join(root, 'README.md'),
  projectDocuments: [
    ...['docs/guides', 'docs', 'docs/decisions'].map((folder) => join(root, folder, '*.md')),
    ...['examples/README.md', 'benchmarks/README.md', 'CONTRIBUTING.md', 'SECURITY.md'].map((file) => join(root, file)),
  ],
  // The repository has no public address that sources could be linked to.
  disableSources: true,
  includeHierarchySummary: false,
  githubPages: false,
  // `npm run typecheck` looks for errors of types.
  skipErrorChecking: true,
  excludeInternal: true,
  excludePrivate: true,
  groupOrder: ['Guides', 'Reference', 'Modules', 'Decisions', 'Project', '*'],
  navigation: { includeGroups: true },
  customCss: join(root, 'scripts/docs-site.css'),
  router: 'paths',
  validation: { invalidLink: true, invalidPath: true, rewrittenLink: true, notExported: false },
});

/** The path of a document from the root of the repository. */
const pathOf = (document) => relative(root, document.project.files.getReflectionPath(document));

/** Documents are found under the paths that they have here, whatever they are called. */
app.renderer.defineRouter(
  'paths',
  class extends KindRouter {
    getIdealBaseName(reflection) {
      return reflection.isDocument() ? pathOf(reflection).replace(/\.md$/, '') : super.getIdealBaseName(reflection);
    }
  },
);

const title = /^# (.*)\n+/;

app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_context, document) => {
  document.name = title.exec(document.content[0].text)?.[1] ?? document.name;
  document.frontmatter.group = groups[dirname(pathOf(document))];
});

/** Takes the title off a text: the page that it is on has one. */
function withoutTitle(content) {
  content[0].text = content[0].text.replace(title, '');
  return content;
}

app.converter.on(Converter.EVENT_CREATE_DECLARATION, ({ project }, module) => {
  const entry = entries.find(({ name }) => module.kind === ReflectionKind.Module && name === module.name);
  if (entry === undefined || entry.readme === null) return;
  const file = new MinimalSourceFile(readFileSync(entry.readme, 'utf8'), entry.readme);
  module.readme = withoutTitle(app.converter.parseRawComment(file, project.files).content);
  // Links to the README lead to the page that it is on.
  project.files.registerReflectionPath(entry.readme, module);
});

const entryPoints = app.getEntryPoints() ?? [];
for (const entryPoint of entryPoints) {
  const entry = entries.find(({ source }) => source === entryPoint.sourceFile.fileName);
  entryPoint.displayName = entry.name;
}
const project = app.converter.convert(entryPoints);
withoutTitle(project.readme);
project.files.registerReflectionPath(join(root, 'README.md'), project);
app.validate(project);
await app.generateDocs(project, site);
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);

/** The links of the pages as they are, besides what TypeDoc has looked at: also within a page. */
const files = new Set(readdirSync(site, { recursive: true }));
const pages = [...files].filter((file) => file.endsWith('.html'));
const texts = new Map(pages.map((page) => [page, readFileSync(join(site, page), 'utf8')]));
const anchors = new Map(
  [...texts].map(([page, text]) => [page, new Set([...text.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id))]),
);
const dead = [...texts].flatMap(([page, text]) =>
  [...text.matchAll(/ (?:href|src)="([^"]+)"/g)].flatMap(([, link]) => {
    if (/^[a-z]+:/.test(link)) return [];
    const [path, anchor = ''] = decodeURI(link.replaceAll('&amp;', '&')).split('#');
    const target = path === '' ? page : join(dirname(page), path);
    // What is not a page, an example say, has no headings.
    const isThere = files.has(target) && (anchor === '' || (anchors.get(target)?.has(anchor) ?? true));
    return isThere && !target.endsWith('.md') ? [] : [`${page}: ${link}`];
  }),
);
if (dead.length > 0) {
  console.error(`these links lead nowhere:\n  ${[...new Set(dead)].join('\n  ')}`);
  process.exit(1);
}
console.log(`${pages.length} pages in ${relative(process.cwd(), site)}; no link leads nowhere`);
