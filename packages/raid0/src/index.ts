export { raid0 } from './raid0.js';
