export { Reactor, openReactor } from './reactor.js';
export type { ReactorOptions } from './reactor.js';
