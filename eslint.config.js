import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

/**
 * The layers of docs/architecture.md. A package imports only from layers below it; what a package may import is listed
 * here, and anything else of ours is an error.
 */
const layers = {
  sys: [],
  parity: [],
  bdev: ['parity'],
  core: ['bdev', 'parity'],
  'backend-linux': ['bdev', 'sys'],
  'backend-virtual': ['bdev', 'parity'],
  nbd: ['bdev', 'parity', 'sys'],
  reactor: ['bdev', 'parity', 'sys'],
  raid0: ['core'],
  raid1: ['core'],
  raid10: ['core'],
  raid5f: ['core', 'parity'],
  raid6: ['core', 'parity'],
  concat: ['core'],
  superblock: ['core', 'bdev', 'parity'],
  signatures: ['bdev'],
  testkit: ['core', 'bdev', 'parity'],
  client: [],
};
/** The same for applications; the daemon puts everything together. */
const apps = {
  raidctl: ['client', 'bdev', 'backend-linux', 'superblock', 'signatures'],
};
/** Levels, of ours and as a stranger would write them. */
const levels = ['raid0', 'raid1', 'raid10', 'raid5f', 'raid6', 'concat'];
const packages = [...Object.keys(layers), ...Object.keys(apps), 'daemon'];

/**
 * The layers within a package: its folders below `src`, lowest first. A file imports from its own folder, from folders
 * before it, and from the files of `src` itself (errors, events), which import from none of them.
 */
const folders = {
  core: [
    'format',
    'level',
    'members',
    'checksums',
    'metadata',
    'bitmap',
    'journal',
    'io',
    'sync',
    'array',
    'start',
    'membership',
    'assembly',
    'service',
  ],
  nbd: ['wire', 'tls', 'handshake', 'commands', 'transmission', 'transport', 'server'],
};

/** What a file of core must not write. */
const dataRules = [
  ...['object.property.name', 'object.name'].map((name) => ({
    selector: `CallExpression[callee.property.name="submit"][callee.${name}="descriptor"]`,
    message: 'I/O on a member’s data goes to `Slot.data`.',
  })),
  {
    selector:
      'CallExpression[callee.property.name=/^(read|write|writeZeroes|unmap)$/][callee.object.type="NewExpression"][callee.object.arguments.length=1]',
    message: 'I/O on a member’s data goes to `Slot.data`: give it to the client as its path.',
  },
];
/** The numbers of errors have names, in one place. */
const errnoRule = {
  selector: 'NewExpression[callee.name=/^(Raid|Bdev|Nbd)Error$/] > Literal.arguments[raw=/^\\d+$/]',
  message: 'Name the error number: Status of @raidkit/bdev.',
};
// What is read of a member's data is verified on one way, which begins in checksums/; places of the journal lie in front of the data.
const syntaxRules = [
  {
    files: ['packages/*/src/**/*.ts', 'apps/*/src/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', errnoRule] },
  },
  {
    files: ['packages/core/src/*/**/*.ts'],
    ignores: ['packages/core/src/checksums/**/*.ts', 'packages/core/src/journal/journal.ts'],
    rules: { 'no-restricted-syntax': ['error', errnoRule, ...dataRules] },
  },
];

/** What may not be touched where the simulator must be able to hand in the world: time, chance and the process. */
const deterministic = ['bdev', 'core', ...levels, 'superblock', 'signatures', 'testkit'];

/** What files of a package, or an application, must not import. `folder`: where it is. */
function foreignImports(name, folder = `packages/${name}`) {
  const allowed = layers[name] ?? apps[name];
  return [
    {
      group: packages
        .filter((other) => other !== name && !allowed.includes(other))
        .flatMap((other) => [`@raidkit/${other}`, `@raidkit/${other}/*`]),
      message: `${folder} may import only: ${allowed.join(', ') || 'nothing of ours'} (docs/architecture.md).`,
    },
    { group: ['**/packages/*', '../../../*'], message: 'Import another package by its name.' },
    ...(levels.includes(name)
      ? [{ regex: '^@raidkit/core$', message: 'A level imports @raidkit/core/level: what is not there it needs not.' }]
      : []),
  ];
}

const importers = [
  ...Object.keys(layers).map((name) => ({ name, folder: `packages/${name}` })),
  ...Object.keys(apps).map((name) => ({ name, folder: `apps/${name}` })),
];
const layerRules = importers.map(({ name, folder }) => ({
  files: [`${folder}/src/**/*.ts`],
  rules: { 'no-restricted-imports': ['error', { patterns: foreignImports(name, folder) }] },
}));

const folderRules = Object.entries(folders).flatMap(([name, layers]) =>
  layers.map((layer, rank) => ({
    files: [`packages/${name}/src/${layer}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            ...foreignImports(name),
            {
              group: [...layers.slice(rank + 1).map((above) => `../${above}/*`), '../index.js'],
              message: `${layer}/ lies below that folder (the layers in eslint.config.js).`,
            },
          ],
        },
      ],
    },
  })),
);

export default tseslint.config(
  {
    ignores: [
      'site/**',
      '**/dist/**',
      '**/node_modules/**',
      '**/.turbo/**',
      'coverage/**',
      '**/fixtures/**',
      'packages/create-level/template/**',
    ],
  },
  eslint.configs.recommended,
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      // Enumerations of bit fields are computed.
      '@typescript-eslint/prefer-literal-enum-member': 'off',
      eqeqeq: 'error',
      // Both take `this.#x ??= …` for no use at all; the compiler (noUnusedLocals) does not.
      'no-unused-private-class-members': 'off',
      '@typescript-eslint/no-unused-private-class-members': 'off',
    },
  },
  {
    files: ['packages/*/src/**/*.ts', 'apps/*/src/**/*.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'error' },
  },
  {
    // Tests reach for elements that they know to be there.
    files: ['**/test/**/*.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  ...layerRules,
  ...folderRules,
  ...syntaxRules,
  {
    // The command brings the store with it: an author needs no other package.
    files: ['packages/testkit/src/cli/**/*.ts'],
    rules: { 'no-restricted-imports': 'off' },
  },
  {
    files: deterministic.map((name) => `packages/${name}/src/**/*.ts`),
    // The one door through which Node's own world comes in.
    // And the kit's command, which is a program.
    ignores: ['packages/bdev/src/node.ts', 'packages/testkit/src/cli/**'],
    rules: {
      'no-restricted-globals': [
        'error',
        ...['process', 'performance', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'crypto'].map((name) => ({
          name,
          message: 'The world comes in through Runtime (packages/bdev/src/runtime/runtime.ts).',
        })),
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Use Runtime.now().' },
        { object: 'Math', property: 'random', message: 'Use Runtime.randomBytes().' },
      ],
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: {
      globals: { console: 'readonly', process: 'readonly', URL: 'readonly', Buffer: 'readonly', setTimeout: 'readonly' },
    },
  },
);
