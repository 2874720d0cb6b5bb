import { Status } from '@raidkit/bdev';
import { RaidError } from '../errors.js';
import type { LevelOptions } from './context.js';
import type { OptionSchema, RaidModule } from './module.js';
import type { ExtensionHeader, SuperblockStore } from '../format/store.js';

/** Length of `{}`. A store without an extension cannot store options, so only an empty object fits. */
const noOptionsBytes = 2;

/**
 * Returns the options of a new array as its next start will read them, from members or a saved configuration, so as JSON
 * values. Throws for values that JSON cannot represent, options that the level refuses, and options that do not fit the store.
 */
export function checkLevelOptions(
  name: string,
  module: RaidModule,
  store: SuperblockStore | null,
  given: LevelOptions,
): LevelOptions {
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name}: ${message}`);
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
    refuse(`the level's options have ${Buffer.byteLength(text)} bytes as JSON, and at most ${most} fit`);
  checkOptions(module, options);
  return options;
}

/**
 * Returns the options that this header of an existing array records. Throws if the level, in its present version, refuses them.
 */
export function recordedOptions(module: RaidModule, { levelOptions }: ExtensionHeader): LevelOptions {
  const options = parseOptions(levelOptions) ?? {};
  // Before a level could declare its options, arrays were created with any that the level did not refuse itself.
  if (module.options === undefined) module.checkOptions?.(options);
  else checkOptions(module, options);
  return options;
}

/** Returns a message that an array with these options cannot have `numSlots` members. */
export function doesNotTake({ level }: RaidModule, numSlots: number, options: LevelOptions): string {
  const how = Object.keys(options).length === 0 ? '' : ` with the options ${JSON.stringify(options)}`;
  return `level ${level} does not support ${numSlots} members${how}`;
}

/** Throws, naming the option and its limits, if an array of the level cannot have these options. */
export function checkOptions(module: RaidModule, options: LevelOptions): void {
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message);
  };
  const schemas = module.options ?? {};
  for (const [name, value] of Object.entries(options)) {
    const schema = Object.hasOwn(schemas, name) ? schemas[name] : undefined;
    if (schema === undefined) {
      const known = Object.keys(schemas).join(', ') || 'none';
      refuse(`level ${module.level} has no option ${name}: it has ${known}`);
    } else if (!fits(schema, value)) {
      refuse(`option ${name} must be ${limitsOf(schema)}, not ${JSON.stringify(value)}: ${schema.description}`);
    }
  }
  module.checkOptions?.(options);
}

function fits(schema: OptionSchema, value: unknown): boolean {
  switch (schema.type) {
    case 'boolean':
      return typeof value === 'boolean';
    case 'integer':
      return Number.isSafeInteger(value) && Number(value) >= schema.minimum && Number(value) <= schema.maximum;
    case 'string':
      return typeof value === 'string' && schema.enum.includes(value);
    case 'any':
      return true;
  }
}

function limitsOf(schema: OptionSchema): string {
  switch (schema.type) {
    case 'boolean':
      return 'true or false';
    case 'integer':
      return `an integer from ${schema.minimum} to ${schema.maximum}`;
    case 'string':
      return schema.enum.join(' or ');
    case 'any':
      return 'a JSON value';
  }
}

/** Returns what is wrong with a module's declaration of an option, or null. Modules may be written in JavaScript. */
export function faultOfSchema(name: string, schema: unknown): string | null {
  if (!/^[a-z][a-z0-9_]{0,31}$/.test(name)) return 'its name must be 1 to 32 characters of a-z, 0-9 and _, a letter first';
  if (typeof schema !== 'object' || schema === null) return 'it must be an object';
  const { type, description, minimum, maximum, enum: values, default: usual } = schema as Record<string, unknown>;
  if (typeof description !== 'string' || description === '') return 'description must be a text that is not empty';
  if (type === 'any') return null;
  if (type !== 'boolean' && type !== 'integer' && type !== 'string') return 'type must be boolean, integer, string or any';
  if (type === 'integer' && !(Number.isSafeInteger(minimum) && Number.isSafeInteger(maximum)))
    return 'minimum and maximum must be integers';
  if (type === 'string' && !(Array.isArray(values) && values.length > 0 && values.every((value) => typeof value === 'string')))
    return 'enum must be a list of strings';
  return fits(schema as OptionSchema, usual) ? null : `default must be ${limitsOf(schema as OptionSchema)}`;
}

function parseOptions(text: string): LevelOptions | null {
  const value: unknown = JSON.parse(text);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as LevelOptions) : null;
}
