import { globalRegistry } from '@raidkit/core/level';
import { level } from './level.js';

globalRegistry().register(level);
