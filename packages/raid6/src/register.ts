import { globalRegistry } from '@raidkit/core/level';
import { raid6 } from './raid6.js';

globalRegistry().register(raid6);
