import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';

/**
 * The types as authors and embedders meet them: with every TypeScript that there is, and nothing passed over. Built first:
 * `npm run build`.
 */
const root = fileURLToPath(new URL('..', import.meta.url));
const execute = promisify(execFile);
/** Compilers at a time. */
const atOnce = 2;

/** What an author imports. */
const ofAuthors = ['core/level', 'parity', 'testkit', 'superblock'];
/** What a program that embeds arrays imports besides. */
const ofEmbedders = [
  ...['core', 'bdev', 'bdev/node', 'backend-linux', 'backend-virtual', 'nbd'],
  ...['raid0', 'raid1', 'raid5f', 'raid6', 'raid10', 'concat', 'raid6/register'],
];

/** Of a library that takes a compiler longer than all of ours, so it is tried once. */
const ofClients = 'client';

interface Way {
  /** The package of the compiler. */
  readonly compiler: string;
  readonly module: 'node16' | 'nodenext' | 'esnext';
  readonly moduleResolution: 'node16' | 'nodenext' | 'bundler';
  readonly types: readonly string[];
  readonly hasClient?: boolean;
}

const oldest = 'typescript-5.7';
const newest = 'typescript-7.0';
const between = ['typescript-5.8', 'typescript-5.9', 'typescript'];
const resolutions = [
  { module: 'node16', moduleResolution: 'node16' },
  { module: 'nodenext', moduleResolution: 'nodenext' },
  { module: 'esnext', moduleResolution: 'bundler' },
] as const;
const withTypes = ['node'];
const ways: Way[] = [
  ...resolutions.map((how) => ({ compiler: newest, ...how, types: [] })),
  ...resolutions.map((how, index) => ({ compiler: newest, ...how, types: withTypes, hasClient: index === 0 })),
  { compiler: oldest, ...resolutions[0], types: [] },
  { compiler: oldest, ...resolutions[2], types: withTypes },
  // Between them each has one way to go wrong.
  ...between.map((compiler, index) => ({ compiler, ...resolutions[index % 3]!, types: index === 0 ? withTypes : [] })),
];

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-types-'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}\n');
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function program(hasClient: boolean): string {
  const entries = [...ofAuthors, ...ofEmbedders, ...(hasClient ? [ofClients] : [])];
  const imports = entries.map((entry, index) => `import type * as m${index} from '@raidkit/${entry}';`);
  // The guide's own example is a level as its author writes it.
  const guide = readFileSync(join(root, 'docs/guides/write-a-level.md'), 'utf8');
  const example = [...guide.matchAll(/```ts\n([\s\S]*?)```/g)]
    .map((match) => match[1]!)
    .find((code) => code.includes('class First'));
  return `${imports.join('\n')}\nexport type All = [${imports.map((_, index) => `typeof m${index}`).join(', ')}];\n${example ?? ''}`;
}

/** What the compiler has to say; nothing if all is well. */
async function compile({ compiler, hasClient = false, types, ...how }: Way, index: number): Promise<string> {
  const here = join(folder, String(index));
  mkdirSync(here);
  writeFileSync(join(here, 'program.ts'), program(hasClient));
  const compilerOptions = {
    ...how,
    types,
    target: 'es2022',
    // Where nothing says that there is Node, it is a browser's fetch and URL.
    lib: types.length > 0 ? ['es2022'] : ['es2022', 'dom'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    noEmit: true,
  };
  writeFileSync(join(here, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
  const manifest = join(root, 'node_modules', compiler, 'package.json');
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8')) as { bin: { tsc: string } };
  try {
    await execute(process.execPath, [join(dirname(manifest), bin.tsc), '-p', here]);
    return '';
  } catch (error) {
    const { stdout } = error as { stdout: string };
    return `${compiler}, ${how.moduleResolution}, types [${types.join()}]:\n${stdout}`;
  }
}

it('the packages’ types are right for every TypeScript from 5.7 on, whichever way it finds them', async () => {
  const found: string[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < ways.length; index = next++) found.push(await compile(ways[index]!, index));
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  expect(found.filter((text) => text !== '')).toEqual([]);
}, 300_000);
