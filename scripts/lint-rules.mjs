/**
 * Checks that packages of ours take one another by ranges, so that a consumer does not get two copies of one of them, and that
 * the rules of
 * eslint.config.js that hold the design are in force where they should be: of two configurations of one rule for the same file, the
 * later one replaces the earlier. Each of these lines must be refused.
 */
import fs from 'node:fs';
import { ESLint, Linter } from 'eslint';

const wrong = [
  ['no-restricted-syntax', 'packages/core/src/start/start.ts', 'slot.descriptor.submit(io);'],
  ['no-restricted-syntax', 'packages/core/src/io/read-repair.ts', 'new BlockClient(descriptor).read(0, 1, buffer);'],
  ['no-restricted-syntax', 'packages/core/src/start/start.ts', "throw new RaidError('ERR_RAID_INVALID', 22, message);"],
  ['no-restricted-syntax', 'packages/nbd/src/server/server.ts', "throw new NbdError('ERR_NBD_CLOSED', 108, message);"],
  ['no-restricted-imports', 'packages/core/src/format/store.ts', "import '../io/quiesce.js';"],
  ['no-restricted-imports', 'packages/nbd/src/transmission/turns.ts', "import '../server/export.js';"],
  ['no-restricted-imports', 'packages/core/src/sync/grow.ts', "import '@raidkit/raid1';"],
  ['no-restricted-imports', 'packages/raid6/src/index.ts', "import '@raidkit/core';"],
  ['no-restricted-imports', 'packages/bdev/src/index.ts', "import '@raidkit/core';"],
  ['no-restricted-imports', 'apps/raidctl/src/main.ts', "import '@raidkit/daemon';"],
  ['no-restricted-globals', 'packages/core/src/sync/grow.ts', 'setTimeout(() => {}, 1);'],
  ['no-restricted-properties', 'packages/raid1/src/index.ts', 'Date.now();'],
];

const eslint = new ESLint();
let isWrong = false;
for (const kind of ['packages', 'apps'])
  for (const folder of fs.readdirSync(kind)) {
    const file = `${kind}/${folder}/package.json`;
    const { dependencies = {}, peerDependencies = {} } = JSON.parse(fs.readFileSync(file, 'utf8'));
    for (const [name, range] of Object.entries({ ...dependencies, ...peerDependencies })) {
      if (!name.startsWith('@raidkit/') || /^(\^|>=)\d/.test(range)) continue;
      console.error(`${file}: ${name} must be a range, not ${range}`);
      isWrong = true;
    }
  }
for (const [rule, file, code] of wrong) {
  const { rules } = await eslint.calculateConfigForFile(file);
  const messages = new Linter().verify(code, [{ files: ['**'], rules: { [rule]: rules[rule] } }], file);
  if (messages.some(({ ruleId }) => ruleId === rule)) continue;
  console.error(`${file}: ${rule} lets this through: ${code}`);
  isWrong = true;
}
if (isWrong) process.exitCode = 1;
