import { defineConfig } from 'tsup';
import { packageBuild } from '../tsup.base.js';

const benches = [
  'nbd',
  'levels',
  'engine',
  'parity',
  'overhead',
  'control',
  'scale',
  'reactors',
  'attack',
  'javascript',
  'fairness',
  'tls',
  'integrity',
];
const programs = ['light-client', 'engine-driver', 'allocations', 'quiet-client', 'javascript-worker'];

export default defineConfig({ ...packageBuild([...benches, ...programs].map((name) => `src/${name}.ts`)), dts: false });
