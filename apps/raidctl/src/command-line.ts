/** What no shell takes for anything but itself, wherever it stands. */
const plain = /^[\p{L}\p{N}_@%+:,./-]+$/u;
/** Controls, and what turns the direction of writing: a user does not see them in what is pasted. */
const unseen = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/**
 * A command for a person to type. Names of arrays are read from disks, and those of files come from the users that made them:
 * in bash and zsh each of `operands` is one word, and no option, whatever is in it.
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
  // The dashboard has this too, and no Buffer.
  return [...new TextEncoder().encode(character)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}
