import { globalRegistry } from '@raidkit/core';
import { raid10 } from './raid10.js';

globalRegistry().register(raid10);
