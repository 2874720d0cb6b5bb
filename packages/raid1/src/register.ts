import { globalRegistry } from '@raidkit/core';
import { raid1 } from './raid1.js';

globalRegistry().register(raid1);
