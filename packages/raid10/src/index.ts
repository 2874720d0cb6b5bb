export { raid10 } from './raid10.js';
