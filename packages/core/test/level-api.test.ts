import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

/* What `@raidkit/core/level` exports, as the compiler sees it. */

const file = fileURLToPath(new URL('../src/level/index.ts', import.meta.url));
const program = ts.createProgram([file], {
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts'],
  types: ['node'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  customConditions: ['@raidkit/source'],
  strict: true,
  noEmit: true,
});
const checker = program.getTypeChecker();
const entry = checker.getSymbolAtLocation(program.getSourceFile(file)!)!;

/** What is exported, by name, where it is declared. */
const exported = new Map(
  checker
    .getExportsOfModule(entry)
    .map((symbol) => [symbol.name, (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol)]),
);

/** Declared in core; the rest comes from packages that are published themselves. */
function isOurs(node: ts.Node): boolean {
  return node.getSourceFile().fileName.includes('/packages/core/src/');
}

function hasDoc(symbol: ts.Symbol): boolean {
  return symbol.getDocumentationComment(checker).length > 0;
}

/** Interfaces and classes that are exported, with their public members. */
function membersOf(symbol: ts.Symbol): ts.Symbol[] {
  return (symbol.declarations ?? []).filter(isOurs).flatMap((node) => {
    if (!ts.isInterfaceDeclaration(node) && !ts.isClassDeclaration(node)) return [];
    return [...node.members]
      .filter((member) => member.name !== undefined && !ts.isPrivateIdentifier(member.name))
      .map((member) => checker.getSymbolAtLocation(member.name!)!);
  });
}

it('says what each of its exports, and each of their members, is', () => {
  const silent: string[] = [];
  for (const [name, symbol] of exported) {
    if ((symbol.declarations ?? []).every(isOurs) && !hasDoc(symbol)) silent.push(name);
    for (const member of membersOf(symbol)) if (!hasDoc(member)) silent.push(`${name}.${member.name}`);
  }
  expect(silent).toEqual([]);
  expect(exported.size).toBeGreaterThan(40);
});

it('names no type in its declarations that it does not export', () => {
  const foreign = new Set<string>();
  const visit = (node: ts.Node): void => {
    // Bodies, and what begins with #, are in no declaration.
    if (ts.isBlock(node) || (ts.isPropertyDeclaration(node) && ts.isPrivateIdentifier(node.name))) return;
    if (ts.isTypeReferenceNode(node) || ts.isExpressionWithTypeArguments(node)) {
      const name = ts.isTypeReferenceNode(node) ? node.typeName : node.expression;
      const symbol = checker.getSymbolAtLocation(name);
      const target =
        symbol !== undefined && (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
      const isParameter = ((target?.flags ?? 0) & ts.SymbolFlags.TypeParameter) !== 0;
      const isOwn = target?.declarations?.some(isOurs) === true && !isParameter;
      if (isOwn && ![...exported.values()].includes(target)) foreign.add(target.name);
    }
    ts.forEachChild(node, visit);
  };
  for (const symbol of exported.values()) for (const node of symbol.declarations ?? []) if (isOurs(node)) visit(node);
  expect([...foreign]).toEqual([]);
});

it('has nothing of what core does with a level', () => {
  const names = [...exported.keys()];
  for (const internal of ['RaidArray', 'RaidArrays', 'RaidIo', 'Slot', 'SuperblockStore', 'RaidLevel'])
    expect(names).not.toContain(internal);
});
