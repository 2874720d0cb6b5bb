/** Words without characters that are special to any shell. */
const plain = /^[\p{L}\p{N}_@%+:,./-]+$/u;
/** Control characters, and characters that change the direction of text: users do not see them in what they paste. */
const unseen = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Makes a command for people to type. Names of arrays are read from disks and names of files chosen by other users, so each of
 * `operands` is quoted such that bash and zsh see one word and no option.
 *
 * @param command with its options, as it is typed
 */
export function commandLine(command: string, ...operands: readonly string[]): string {
  const end = operands.some((word) => word.startsWith('-')) ? ['--'] : [];
  return [command, ...end, ...operands.map(quote)].join(' ');
}

function quote(word: string): string {
  if (plain.test(word)) return word;
  if (word.search(unseen) < 0) return `'${word.replaceAll("'", "'\\''")}'`;
  return `$'${word.replace(/[\\']/g, '\\$&').replace(unseen, asBytes)}'`;
}

function asBytes(character: string): string {
  // The dashboard uses this too, where there is no Buffer.
  return [...new TextEncoder().encode(character)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}
