import { globalRegistry } from '@raidkit/core/level';
import { raid5f } from './raid5f.js';

globalRegistry().register(raid5f);
