export { concat } from './concat.js';
