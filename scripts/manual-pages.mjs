// Makes the manual pages of docs/man, with the options and commands that the programs themselves say they have.
// node scripts/manual-pages.mjs FOLDER   (after `npm run build`)
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import remarkMan from 'remark-man';
import remarkParse from 'remark-parse';
import { unified } from 'unified';
import { makeCommand } from '../apps/daemon/dist/cli.js';
import { makeProgram } from '../apps/raidctl/dist/run.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, 'apps/daemon/package.json'), 'utf8'));
const programs = { raidkitd: makeCommand(version), raidctl: makeProgram(() => Promise.resolve()) };

/** Text that Markdown is to leave as it is. */
const plain = (text) => text.replace(/[\\`*_{}[\]<>#|]/g, '\\$&').replace(/\s*\n\s*/g, ' ');

function optionList(command) {
  const visible = command.createHelp().visibleOptions(command);
  return visible
    .map((option) => `- **${plain(option.flags)}**: ${plain(command.createHelp().optionDescription(option))}`)
    .join('\n');
}

/** What a command prints behind its help: examples, mostly. */
function textAfterHelp(command) {
  let whole = '';
  const output = { writeOut: (text) => (whole += text) };
  command.configureOutput(output);
  command.outputHelp();
  return whole.slice(command.helpInformation().length).trim();
}

function section(command, parents) {
  const names = [...parents, command.name()];
  const children = command.commands.filter((child) => child.name() !== 'help');
  if (children.length > 0) return children.map((child) => section(child, names)).join('\n\n');
  const usage = plain(`${names.join(' ')} ${command.usage()}`);
  const parts = [`### ${usage}`, plain(command.description()), optionList(command)];
  const after = textAfterHelp(command);
  if (after !== '') parts.push(`\`\`\`\n${after.replace(/^Examples:\n/, '')}\n\`\`\``);
  return parts.filter((part) => part !== '').join('\n\n');
}

/** ISO 8601, as mandoc wants it. */
const date = new Date(Number(process.env.SOURCE_DATE_EPOCH ?? Date.now() / 1000) * 1000).toISOString().slice(0, 10);

/**
 * One page as roff. What remark-man writes has paragraphs that begin a section, empty lines and long lines, of which mandoc
 * complains.
 */
async function toRoff(markdown) {
  const settings = { manual: 'raidkit', version: `raidkit ${version}` };
  const text = String(await unified().use(remarkParse).use(remarkMan, settings).process(markdown));
  return text
    .replace(/^(\.TH "[^"]*" "[^"]*") "[^"]*"/m, `$1 "${date}"`)
    .replace(/\n{2,}/g, '\n')
    .replace(/^(\.S[HS] .*)\n\.P\n/gm, '$1\n')
    .replace(/^\.nf\n[^]*?^\.fi$|^[^.'\n].*$/gm, (part) => (part.startsWith('.nf') ? part : fold(part)));
}

/** Lines of at most 79 characters. None begins with what roff would take for a request. */
function fold(line) {
  const lines = [''];
  for (const word of line.split(' ')) {
    const last = lines[lines.length - 1];
    if (last === '') lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= 79) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(/^[.']/.test(word) ? `\\&${word}` : word);
  }
  return lines.join('\n');
}

const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: node scripts/manual-pages.mjs FOLDER');
mkdirSync(folder, { recursive: true });
for (const file of readdirSync(join(root, 'docs/man'))) {
  const page = file.replace(/\.md$/, '');
  const program = programs[page.split('.')[0]];
  let markdown = readFileSync(join(root, 'docs/man', file), 'utf8');
  if (program !== undefined) {
    markdown = markdown.replace('<!-- options -->', () => optionList(program));
    markdown = markdown.replace('<!-- commands -->', () =>
      program.commands
        .filter((child) => child.name() !== 'help')
        .map((child) => section(child, []))
        .join('\n\n'),
    );
  }
  writeFileSync(join(folder, page), await toRoff(markdown));
}
