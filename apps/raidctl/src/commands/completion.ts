import { Argument } from 'commander';
import type { Command } from 'commander';
import type { Run } from '../action.js';
import type { Session } from '../session.js';

const shells = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof shells)[number];

/**
 * Completion scripts. Each asks raidctl itself for the possible words, so they are never outdated. Names are quoted for bash;
 * zsh and fish do that themselves.
 */
const scripts: Readonly<Record<Shell, string>> = {
  bash: `_raidctl() {
  local word
  COMPREPLY=()
  while IFS= read -r word; do
    COMPREPLY+=("$(printf %q "$word")")
  done < <(raidctl complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _raidctl raidctl
`,
  zsh: `#compdef raidctl
_raidctl() {
  local -a found
  found=("\${(@f)$(raidctl complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found
  _files
}
compdef _raidctl raidctl
`,
  fish: `complete -c raidctl -a '(raidctl complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
};

export function addCompletion(program: Command, run: Run): void {
  program
    .command('completion')
    .description('print a script that completes raidctl commands in a shell')
    .addArgument(new Argument('<shell>').choices(shells))
    .addHelpText(
      'after',
      '\nInstall it:\n  bash:  raidctl completion bash > /etc/bash_completion.d/raidctl\n  zsh:   raidctl completion zsh > "${fpath[1]}/_raidctl"\n  fish:  raidctl completion fish > ~/.config/fish/completions/raidctl.fish\n',
    )
    .action((shell: Shell) =>
      run((session) => {
        session.terminal.write(scripts[shell]);
        return Promise.resolve();
      }),
    );
  program
    .command('complete', { hidden: true })
    .description('print completions')
    .argument('[words...]', 'words of the command line; the last one may be incomplete')
    .action((words: string[]) =>
      run(async (session) => {
        const found = await candidates(session, program, words);
        session.terminal.write(found.map((word) => `${word}\n`).join(''));
      }),
    );
}

async function candidates(session: Session, program: Command, words: readonly string[]): Promise<string[]> {
  const typed = words.slice(0, -1);
  const unfinished = words.at(-1) ?? '';
  let command = program;
  for (const word of typed) command = command.commands.find((other) => other.name() === word) ?? command;
  const names = command.commands.filter((other) => !other.name().startsWith('complete')).map((other) => other.name());
  const options = [...command.options, ...program.options].flatMap(({ long }) => long ?? []);
  const all = unfinished.startsWith('-')
    ? options
    : names.length > 0
      ? [...names, 'completion']
      : await objects(session, command);
  return [...new Set(all)].filter((word) => word.startsWith(unfinished));
}

/** Names of arrays and devices, if the command takes one. Empty if the daemon cannot be reached; files are completed anyway. */
async function objects(session: Session, command: Command): Promise<string[]> {
  if (command.registeredArguments.length === 0) return [];
  try {
    const client = await session.client();
    const [arrays, bdevs] = await Promise.all([client.call('raidkit_get_arrays', {}), client.call('bdev_get_bdevs', {})]);
    return [...arrays.map(({ name }) => name), ...bdevs.map(({ name }) => name)];
  } catch {
    return [];
  }
}
