import { RaidError } from '../errors.js';
import type { LevelOptions } from './context.js';
import type { RaidModule } from './module.js';
import type { ExtensionHeader, SuperblockStore } from '../format/store.js';

/** Of `{}`: superblocks alone keep no options. */
const noOptionsBytes = 2;

/**
 * The options of a new array as they come back at its next start, from members or from a saved configuration: as JSON has
 * them. Throws for what JSON cannot say, what the level refuses, and what there is no room for.
 */
export function checkLevelOptions(
  name: string,
  module: RaidModule,
  store: SuperblockStore | null,
  given: LevelOptions,
): LevelOptions {
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', 22, `array ${name}: ${message}`);
  };
  let text: string;
  try {
    text = JSON.stringify(given);
  } catch (error) {
    return refuse(`the level's options cannot be kept as JSON: ${String(error)}`);
  }
  const options = parseOptions(text) ?? refuse('the level’s options must be a JSON object');
  const lost = Object.keys(given).find((key) => !(key in options));
  if (lost !== undefined) refuse(`option ${lost} cannot be kept as JSON`);
  const most = store === null ? Infinity : (store.extension?.mostOptionsBytes ?? noOptionsBytes);
  if (Buffer.byteLength(text) > most)
    refuse(`the level's options have ${Buffer.byteLength(text)} bytes as JSON, and there is room for ${most}`);
  module.checkOptions?.(options);
  return options;
}

/**
 * The options of an array that is put together, as this header has them. Throws if the level, as it is now, refuses them.
 */
export function recordedOptions(module: RaidModule, { levelOptions }: ExtensionHeader): LevelOptions {
  const options = parseOptions(levelOptions) ?? {};
  module.checkOptions?.(options);
  return options;
}

function parseOptions(text: string): LevelOptions | null {
  const value: unknown = JSON.parse(text);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as LevelOptions) : null;
}
