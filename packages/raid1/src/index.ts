export { raid1 } from './raid1.js';
