import { globalRegistry } from '@raidkit/core/level';
import { raid10 } from './raid10.js';

globalRegistry().register(raid10);
