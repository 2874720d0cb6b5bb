import { globalRegistry } from '@raidkit/core';
import { concat } from './concat.js';

globalRegistry().register(concat);
