import { z } from 'zod';
import { internalFailed, invalidDecoded, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { RpcCode, RpcError } from '../rpc/errors.js';

/** SPDK's level names, mapped to pino's. */
const levels = { DISABLED: 'silent', ERROR: 'error', WARNING: 'warn', NOTICE: 'info', INFO: 'info', DEBUG: 'debug' } as const;
const levelName = z.enum(['DISABLED', 'ERROR', 'WARNING', 'NOTICE', 'INFO', 'DEBUG']);
const both = ['startup', 'runtime'] as const;

/** A log whose level can be set, such as pino's. */
export interface LeveledLog {
  level: string;
}

/** SPDK's methods for logging. A single level decides what is printed; flags are accepted without effect. */
export function logMethods(log: LeveledLog): RpcMethod[] {
  let printLevel: z.infer<typeof levelName> = 'INFO';
  let fileLevel: z.infer<typeof levelName> = 'NOTICE';
  const flags = new Map([
    ['bdev', false],
    ['bdev_raid', false],
    ['nbd', false],
    ['rpc', false],
  ]);
  const setFlag = (flag: string, value: boolean): Promise<boolean> => {
    if (flag === 'all') for (const known of flags.keys()) flags.set(known, value);
    else if (flags.has(flag)) flags.set(flag, value);
    else
      throw new RpcError(RpcCode.InvalidParams, 'invalid log flag', {
        reason: `there is no log flag ${flag}: there are all, ${[...flags.keys()].join(', ')}`,
      });
    return Promise.resolve(true);
  };
  const flagParams = z.strictObject({ flag: z.string() });
  const levelParams = z.strictObject({ level: z.string() });
  const levelOf = (text: string): z.infer<typeof levelName> => {
    const level = levelName.safeParse(text);
    if (level.success) return level.data;
    throw new RpcError(RpcCode.InvalidParams, 'invalid log level', {
      reason: `level must be one of ${levelName.options.join(', ')}`,
      field: 'level',
    });
  };
  return [
    method({ name: 'log_get_flags', states: both, params: null, run: () => Promise.resolve(Object.fromEntries(flags)) }),
    method({
      name: 'log_set_flag',
      states: both,
      params: flagParams,
      badParams: internalFailed,
      run: ({ flag }) => setFlag(flag, true),
    }),
    method({
      name: 'log_clear_flag',
      states: both,
      params: flagParams,
      badParams: internalFailed,
      run: ({ flag }) => setFlag(flag, false),
    }),
    method({
      name: 'log_enable_timestamps',
      states: both,
      params: z.strictObject({ enabled: z.boolean() }),
      badParams: invalidDecoded,
      // Every line is JSON with a timestamp anyway, so this has no effect.
      run: () => Promise.resolve(true),
    }),
    method({ name: 'log_get_print_level', states: both, params: null, run: () => Promise.resolve(printLevel) }),
    method({
      name: 'log_set_print_level',
      states: both,
      params: levelParams,
      badParams: internalFailed,
      run(params) {
        const level = levelOf(params.level);
        printLevel = level;
        log.level = levels[level];
        return Promise.resolve(true);
      },
    }),
    method({ name: 'log_get_level', states: both, params: null, run: () => Promise.resolve(fileLevel) }),
    method({
      name: 'log_set_level',
      states: both,
      params: levelParams,
      badParams: internalFailed,
      run(params) {
        const level = levelOf(params.level);
        // SPDK's second level is for syslog, which raidkit does not use.
        fileLevel = level;
        return Promise.resolve(true);
      },
    }),
  ];
}
