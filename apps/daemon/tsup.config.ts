import { defineConfig } from 'tsup';
import { packageBuild } from '../../tsup.base.js';

export default defineConfig(
  packageBuild(['src/index.ts', 'src/main.ts', 'src/cli.ts', 'src/reactor-worker.ts', 'src/tls-worker.ts']),
);
