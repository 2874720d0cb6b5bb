import { globalRegistry } from '@raidkit/core';
import { raid0 } from './raid0.js';

globalRegistry().register(raid0);
