export { raid6 } from './raid6.js';
