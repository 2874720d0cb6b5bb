import { globalRegistry } from '@raidkit/core/level';
import { raid0 } from './raid0.js';

globalRegistry().register(raid0);
