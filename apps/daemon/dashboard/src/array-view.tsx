import type { LoadSample, RaidArrayInfo, StatusSnapshot } from '@raidkit/client';
import { formatBytes, formatSeconds, plural } from '@raidkit/raidctl/findings';
import { ArrayActions } from './actions.js';
import type { Act } from './actions.js';
import { FindingView } from './finding-view.js';
import { LoadView } from './load-view.js';
import { MemberList } from './member-list.js';
import { ProcessView } from './process-view.js';
import { findings, formatTime, healthOf, placeOf, signs } from './words.js';

interface Props {
  array: RaidArrayInfo;
  snapshot: StatusSnapshot;
  samples: readonly LoadSample[];
  /** Makes calls; null if nothing may be changed. */
  act: Act | null;
}

/** Shows an array with all details. */
export function ArrayView({ act, array, samples, snapshot }: Props) {
  const { ext, name, num_base_bdevs: slots, raid_level: level, strip_size_kb: strip } = array;
  const { rank, word } = healthOf(array);
  const place = placeOf(array);
  const isOnline = array.state === 'online';
  const current = ext.members.filter(({ state }) => state === 'current' || state === 'unresponsive').length;
  const facts = [
    level,
    `${current} of ${plural(slots, 'member')} in sync`,
    ...(isOnline ? [formatBytes(ext.num_blocks * ext.block_size)] : []),
    ...(strip > 0 ? [`strips of ${strip} KiB`] : []),
    ...(array.superblock ? [] : ['without superblocks']),
  ];
  return (
    <article class={`array ${rank}`} id={place} aria-labelledby={`${place}-name`}>
      <header>
        <h2 id={`${place}-name`}>{name}</h2>
        <span class={`badge ${rank}`}>
          <span aria-hidden="true">{signs[rank]} </span>
          {word}
        </span>
        <p class="detail">{facts.join(' · ')}</p>
      </header>
      {findings(snapshot, array).map((finding) => (
        <FindingView key={finding.what} finding={finding} />
      ))}
      {ext.process !== null && <ProcessView process={ext.process} />}
      {ext.waits_for !== null && (
        <p class="detail">The background process waits for that of array {ext.waits_for}, which is on the same disks.</p>
      )}
      <MemberList array={array} snapshot={snapshot} />
      {isOnline && <LoadView array={name} samples={samples} />}
      <Facts array={array} snapshot={snapshot} />
      {act !== null && <ArrayActions act={act} array={array} />}
    </article>
  );
}

/** Shows the users of an array, and its last check. */
function Facts({ array, snapshot }: { array: RaidArrayInfo; snapshot: StatusSnapshot }) {
  const exports = snapshot.exports.filter(({ bdev_name: device }) => device === array.name);
  const check = array.ext.history.find(({ type }) => type === 'check' || type === 'repair');
  const next = snapshot.schedule.arrays.find(({ uuid }) => uuid === array.uuid);
  if (exports.length === 0 && check === undefined && next === undefined) return null;
  return (
    <dl class="facts">
      {exports.map((one) => (
        <div key={one.name}>
          <dt>Export</dt>
          <dd>
            {one.uris.map((uri) => (
              <code key={uri}>{uri}</code>
            ))}
            <span class="detail">
              {one.connections === 0 ? 'no client' : plural(one.connections, 'client')}
              {one.read_only ? ', read-only' : ''}
            </span>
          </dd>
        </div>
      ))}
      {check !== undefined && (
        <div>
          <dt>Last {check.type}</dt>
          <dd>
            {formatTime(check.started_at)}, {formatSeconds(check.seconds)}:{' '}
            {check.error ?? (check.mismatch_blocks === 0 ? 'no mismatches' : plural(check.mismatch_blocks, 'mismatched block'))}
          </dd>
        </div>
      )}
      {next !== undefined && (
        <div>
          <dt>Next check</dt>
          <dd>{next.is_running ? 'running' : `due ${formatTime(next.due_at)}`}</dd>
        </div>
      )}
    </dl>
  );
}
