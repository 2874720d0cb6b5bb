import type { RaidProcess } from '@raidkit/client';
import { formatBytes, formatSeconds, plural } from '@raidkit/raidctl/findings';

/** Shows a background process: its progress, rate and longest remaining time. */
export function ProcessView({ process }: { process: RaidProcess }) {
  const { bytes_done: done, bytes_total: total, eta_sec: eta, paused, progress, target, type } = process;
  const of = target === null ? '' : ` of ${target}`;
  const pace = paused
    ? 'paused'
    : eta === null
      ? 'no estimate yet'
      : `${formatBytes(process.bytes_per_sec)}/s, at most ${formatSeconds(eta)} left`;
  const found = [
    ...(process.mismatch_blocks > 0 ? [plural(process.mismatch_blocks, 'mismatched block')] : []),
    ...(process.unreadable_blocks > 0 ? [`${plural(process.unreadable_blocks, 'block')} cannot be read`] : []),
    ...(process.lost_blocks > 0 ? [`${plural(process.lost_blocks, 'block')} lost`] : []),
  ];
  const label = `${type.charAt(0).toUpperCase()}${type.slice(1)}${of}`;
  return (
    <div class="process">
      <div class="process-head">
        <span class="process-name">{label}</span>
        <span class="process-percent">{progress.percent} %</span>
      </div>
      <progress max={Math.max(1, total)} value={done} aria-label={label} />
      <p class="detail">
        {formatBytes(done)} of {formatBytes(total)}, {pace}
        {found.length > 0 && <strong class="found">{found.join(', ')}</strong>}
      </p>
    </div>
  );
}
