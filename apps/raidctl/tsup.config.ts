import { defineConfig } from 'tsup';
import { packageBuild } from '../../tsup.base.js';

export default defineConfig(packageBuild(['src/index.ts', 'src/findings-for-people.ts', 'src/main.ts', 'src/run.ts']));
