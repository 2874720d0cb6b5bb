// `npm test`: every check the project has, in the order in which a failure is cheapest to find.
import { spawnSync } from 'node:child_process';

const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1' };
const steps = [
  ['npm', ['run', '--silent', 'typecheck']],
  ['npm', ['run', '--silent', 'lint']],
  ['npm', ['run', '--silent', 'build']],
  ['npm', ['run', '--silent', 'check:packages']],
  ['npm', ['run', '--silent', 'test:unit']],
];
for (const [command, args] of steps) {
  console.log(`\n> ${args.at(-1)}`);
  const { status } = spawnSync(command, args, { stdio: 'inherit', env });
  if (status !== 0) process.exit(status ?? 1);
}
