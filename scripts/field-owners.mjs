// Which layer of core assigns which fields, by their types: `npm run lint` fails if a field of a class or an interface of core is
// assigned, or a collection that it holds is changed, outside the folder that declares it and the one that the table names.
// `node scripts/field-owners.mjs --print` prints each assignment outside the declaring folder.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const source = path.join(root, 'packages/core/src');

/**
 * Fields that another layer than the declaring one assigns. Each has one such layer: what several layers change, they change by
 * methods.
 */
const exceptions = [
  {
    type: 'RaidArray',
    layer: 'start',
    reason: 'start/ makes the parts of an array that is online, puts them in place, and takes them away again',
    fields: ['bdev', 'bitmap', 'isReadOnly', 'isRecordable', 'journal', 'level', 'mustKeepAll', 'options', 'uuid'],
  },
  {
    type: 'RaidArray',
    layer: 'assembly',
    reason: 'assembly/ makes arrays from superblocks, under a free name',
    fields: ['isAssembled', 'name', 'recordedBlocks'],
  },
  {
    type: 'AssemblyFacts',
    layer: 'assembly',
    reason: 'the facts are learned by assembly/; layers below it read them',
    fields: ['endStartWait', 'isOfMost', 'isVouchedFor', 'lineages', 'seen', 'splitBrain'],
  },
  {
    type: 'AssemblyFacts',
    layer: 'start',
    reason: 'start/ reads the headers of all members, and finds which are too old',
    fields: ['nonFresh', 'optionsGeneration'],
  },
  {
    type: 'RaidIo',
    layer: 'io',
    reason:
      'a request is declared in level/, whose interfaces it implements, and is core’s own: io/ describes and completes it',
    fields: [
      ...[
        'addr',
        'addrs',
        'excluded',
        'filler',
        'flags',
        'isMarked',
        'isUsers',
        'numBlocks',
        'offsetBlocks',
        'owner',
        'parent',
      ],
      ...['sink', 'slot', 'slots', 'status', 'type'],
    ],
  },
  {
    type: 'RaidIo',
    layer: 'journal',
    reason: 'what the journal knows of a request hangs on the request, so that a write allocates nothing',
    fields: ['isAtLevel', 'journalSlots', 'journalStatus', 'journalWrites', 'journaled'],
  },
  {
    type: 'RaidIo',
    layer: 'bitmap',
    reason: 'what the bitmap knows of a request hangs on the request, so that a write allocates nothing',
    fields: ['begunAt'],
  },
];

/** Lines in a file of a layer that must be found, to prove that the check is in force. */
const wrong = [
  ['sync', "import type { RaidArray } from '../array/array.js';", '(it: RaidArray) => (it.bitmap = null)'],
  ['io', "import type { Slot } from '../members/slot.js';", '(it: Slot) => it.partsInFlight++'],
  ['io', "import type { Slot } from '../members/slot.js';", '(it: Slot) => (it.errors.read += 1)'],
  ['start', "import type { RaidArray } from '../array/array.js';", '(it: RaidArray) => it.assembly.seen.add(it.uuid)'],
  ['metadata', "import type { RaidIo } from '../level/raid-io.js';", '(it: RaidIo | null) => it?.journaled.pop()'],
];

/** Methods of built-in collections that change them. */
const changes = /^(push|pop|shift|unshift|splice|sort|reverse|fill|set|add|delete|clear)$/;
const collections = /^(Array|Map|Set|WeakMap|WeakSet|\w+Array)$/;

/** Returns the node of the field that the expression assigns or changes, or null. */
function assigned(node, checker) {
  const isUpdate =
    (ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) &&
    (node.operator === ts.SyntaxKind.PlusPlusToken || node.operator === ts.SyntaxKind.MinusMinusToken);
  if (isUpdate) return fieldOf(node.operand);
  if (ts.isDeleteExpression(node)) return fieldOf(node.expression);
  if (ts.isBinaryExpression(node)) {
    const { kind } = node.operatorToken;
    const isAssignment = kind >= ts.SyntaxKind.FirstAssignment && kind <= ts.SyntaxKind.LastAssignment;
    return isAssignment ? fieldOf(node.left) : null;
  }
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return null;
  const { expression, name } = node.expression;
  if (!changes.test(name.text) || !ts.isPropertyAccessExpression(expression)) return null;
  return collections.test(checker.getNonNullableType(checker.getTypeAtLocation(expression)).symbol?.name ?? '')
    ? expression
    : null;
}

function fieldOf(target) {
  const field = ts.isElementAccessExpression(target) ? target.expression : target;
  return ts.isPropertyAccessExpression(field) ? field : null;
}

/** The source files to check, with the lines of {@link wrong} as files that do not exist. */
function programOf(planted) {
  const config = ts.readConfigFile(path.join(root, 'tsconfig.json'), ts.sys.readFile);
  const parsed = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const options = { ...parsed.options, noEmit: true, incremental: false };
  const host = ts.createCompilerHost(options);
  const { fileExists, getSourceFile } = host;
  host.fileExists = (file) => planted.has(file) || fileExists.call(host, file);
  host.getSourceFile = (file, target, ...rest) =>
    planted.has(file)
      ? ts.createSourceFile(file, planted.get(file), target, true)
      : getSourceFile.call(host, file, target, ...rest);
  const files = [...ts.sys.readDirectory(source, ['.ts']), ...planted.keys()];
  return { files, program: ts.createProgram(files, options, host) };
}

/** Every assignment of a field outside the layer that declares it. */
function foreignAssignments(planted) {
  const { files, program } = programOf(planted);
  const checker = program.getTypeChecker();
  const layerOf = (file) => path.dirname(path.relative(source, file)).split(path.sep)[0];
  const found = [];
  for (const file of files) {
    const visit = (node) => {
      ts.forEachChild(node, visit);
      const field = assigned(node, checker);
      const declaration = field === null ? undefined : checker.getSymbolAtLocation(field.name)?.declarations?.[0];
      const owner = declaration?.getSourceFile().fileName;
      if (owner === undefined || !owner.startsWith(source + path.sep) || layerOf(owner) === layerOf(file)) return;
      const type = declaration.parent.name?.text ?? declaration.parent.parent?.name?.text ?? 'object';
      const line = node.getSourceFile().getLineAndCharacterOfPosition(node.getStart()).line + 1;
      found.push({ type, name: field.name.text, owner: layerOf(owner), layer: layerOf(file), file, line });
    };
    visit(program.getSourceFile(file));
  }
  return found;
}

const planted = new Map(
  wrong.map(([layer, imports, code], index) => [
    path.join(source, layer, `planted-${index}.ts`),
    `${imports}\nexport const run = ${code};\n`,
  ]),
);
const found = foreignAssignments(planted);
const isAllowed = ({ type, name, layer }) =>
  exceptions.some((exception) => exception.type === type && exception.layer === layer && exception.fields.includes(name));
const problems = [];
for (const { type, name, owner, layer, file, line } of found) {
  const text = `${path.relative(root, file)}:${line}: ${layer}/ assigns ${type}.${name}, which ${owner}/ declares`;
  if (process.argv.includes('--print') && !planted.has(file)) console.log(text);
  if (!planted.has(file) && !isAllowed({ type, name, layer }))
    problems.push(`${text} (give it a method there, or see the table in scripts/field-owners.mjs)`);
}
for (const [file, code] of planted)
  if (!found.some((one) => one.file === file && !isAllowed(one)))
    problems.push(`the check of field owners lets this through: ${code}`);
for (const { type, layer, fields } of exceptions)
  for (const name of fields)
    if (!found.some((one) => one.type === type && one.layer === layer && one.name === name))
      problems.push(`scripts/field-owners.mjs: ${layer}/ does not assign ${type}.${name}: take it out of the table`);
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
