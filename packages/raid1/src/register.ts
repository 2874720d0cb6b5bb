import { globalRegistry } from '@raidkit/core/level';
import { raid1 } from './raid1.js';

globalRegistry().register(raid1);
