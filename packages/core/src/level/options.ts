import { RaidError } from '../errors.js';
import type { LevelOptions } from './context.js';
import type { RaidModule } from './module.js';
import type { ExtensionHeader, ExtensionStore, SuperblockStore } from '../format/store.js';

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
  const most = store?.extension?.mostOptionsBytes ?? Infinity;
  if (Buffer.byteLength(text) > most)
    refuse(`the level's options have ${Buffer.byteLength(text)} bytes as JSON, and there is room for ${most}`);
  module.checkOptions?.(options);
  return options;
}

/** An array whose members are to keep its level's options. */
export interface OptionsKeeper {
  readonly name: string;
  readonly blockSize: number;
  readonly options: LevelOptions;
  readonly store: SuperblockStore | null;
  readonly extension: ExtensionStore | undefined;
}

/** A new array with options needs a place for them. Throws if its members have none, for the size of their blocks. */
export function requireRoomForOptions(array: OptionsKeeper): void {
  if (array.store === null || array.extension !== undefined || Object.keys(array.options).length === 0) return;
  const message = `array ${array.name}: there is no room for the level's options on members with blocks of ${array.blockSize} bytes`;
  throw new RaidError('ERR_RAID_INVALID', 22, message);
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
