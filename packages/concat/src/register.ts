import { globalRegistry } from '@raidkit/core/level';
import { concat } from './concat.js';

globalRegistry().register(concat);
