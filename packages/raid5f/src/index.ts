export { raid5f } from './raid5f.js';
