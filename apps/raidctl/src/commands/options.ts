import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { OpenOptions } from '../devices.js';

/** Adds the options of commands that change something. */
export function addChangeOptions(command: Command): Command {
  return command.option('-y, --yes', 'do not ask').option('-n, --dry-run', 'show what would be done, and do nothing');
}

/** Adds the options of commands that open devices. */
export function addOpenOptions(command: Command): Command {
  return command
    .option('--block-size <bytes>', 'block size of devices that are opened: a power of two from 512 to 65536', parseBlockSize)
    .option('--no-unmap', 'do not deallocate unmapped blocks of devices that are opened');
}

/** Options parsed by {@link addOpenOptions}. */
export type ParsedOpenOptions = Pick<OpenOptions, 'blockSize' | 'unmap'>;

/** Collects an option that can be given several times. */
export function collectName(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/** Makes a parser of integers in a range, for commander. */
export function parseWhole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

/** Parses a block size, for commander. */
function parseBlockSize(text: string): number {
  const bytes = Number(text);
  if (Number.isInteger(bytes) && bytes >= 512 && bytes <= 65_536 && (bytes & (bytes - 1)) === 0) return bytes;
  throw new InvalidArgumentError('It must be a power of two from 512 to 65536.');
}

/** Makes the examples below a command's help: a command line and its meaning. */
export function examples(...lines: readonly (readonly [command: string, meaning: string])[]): string {
  const width = Math.max(...lines.map(([command]) => command.length));
  return `\nExamples:\n${lines.map(([command, meaning]) => `  ${command.padEnd(width)}  ${meaning}\n`).join('')}`;
}
