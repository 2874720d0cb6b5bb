import type { Finding } from '@raidkit/raidctl/findings';
import { sentence, signs } from './words.js';
import type { Rank } from './words.js';

const rankOf: Readonly<Record<Finding['severity'], Rank>> = { failed: 'bad', degraded: 'poor', notice: 'busy' };
const words: Readonly<Record<Finding['severity'], string>> = { failed: 'Problem', degraded: 'Warning', notice: 'Note' };

/** Shows what is wrong, and what to do about it. */
export function FindingView({ finding }: { finding: Finding }) {
  const { action, commands, severity, what } = finding;
  return (
    <div class={`finding ${rankOf[severity]}`}>
      <span class="sign" aria-hidden="true">
        {severity === 'notice' ? 'i' : signs[rankOf[severity]]}
      </span>
      <div>
        <p>
          <span class="unseen">{words[severity]}: </span>
          {sentence(what)}
        </p>
        {action !== null && (
          <p class="todo">
            <b>What to do:</b> {sentence(action)}
          </p>
        )}
        {commands.map((command) => (
          <code class="command" key={command}>
            {command}
          </code>
        ))}
      </div>
    </div>
  );
}
