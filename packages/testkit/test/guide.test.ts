import { readFileSync } from 'node:fs';
import { compileFunction } from 'node:vm';
import * as levelInterface from '@raidkit/core/level';
import type { RaidModule } from '@raidkit/core/level';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { clauses, conformanceCases, runFaultLoop, sweep } from '@raidkit/testkit';
import ts from 'typescript';
import { expect, it } from 'vitest';

const guide = readFileSync(new URL('../../../docs/guides/write-a-level.md', import.meta.url), 'utf8');

/** What the guide's example exports. */
function example(): RaidModule {
  const code = [...guide.matchAll(/```ts\n([\s\S]*?)```/g)]
    .map((match) => match[1]!)
    .find((text) => text.includes('class First'));
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS };
  const { outputText } = ts.transpileModule(code!, { compilerOptions });
  const exported: { first?: RaidModule } = {};
  const run = compileFunction(outputText, ['require', 'exports']) as (require: () => unknown, exports: object) => void;
  run(() => levelInterface, exported);
  return exported.first!;
}

it('explains every clause, under its number, in the words of the kit', () => {
  const plain = guide
    .replaceAll('`', '')
    .replaceAll(/\b(context|request)\./g, '')
    .replaceAll(/ \([^)]*\)/g, '');
  for (const [id, text] of Object.entries(clauses)) {
    expect(guide).toContain(`<a id="${id.toLowerCase()}"></a>**${id}**`);
    expect(plain, id).toContain(text.slice(0, -1).split(';')[0]);
  }
});

it('has an example that gets through everything, and is never asked for what it does not do', async () => {
  const module = example();
  for (const { run } of conformanceCases(module)) await run({ module, store });
  const { failures, coverage } = await sweep({ module, store, from: 1, count: 20 });
  expect(failures.map(({ seed, violation }) => `seed ${seed}: ${String(violation)}`)).toEqual([]);
  expect(coverage.count('event arrayOnline')).toBeGreaterThan(20);
  const faults = await runFaultLoop({ module, store, every: 211 });
  expect(faults.failures.map(({ scenario, violation }) => `${scenario}: ${String(violation)}`)).toEqual([]);
});
