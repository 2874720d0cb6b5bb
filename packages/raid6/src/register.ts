import { globalRegistry } from '@raidkit/core';
import { raid6 } from './raid6.js';

globalRegistry().register(raid6);
