import { formatBytes } from '@raidkit/raidctl/findings';
import type { StatusSnapshot } from '@raidkit/client';
import { useEffect, useState } from 'preact/hooks';
import { DropSpare, SpareForm } from './actions.js';
import type { Act } from './actions.js';
import { ArrayView } from './array-view.js';
import { EventsView } from './events-view.js';
import type { Feed } from './feed.js';
import { FindingView } from './finding-view.js';
import { Unlock } from './unlock.js';
import { byUrgency, formatTime, otherwise, signs, summaryOf } from './words.js';

/** The whole page. */
export function App({ feed }: { feed: Feed }) {
  const [view, setView] = useState(feed.view);
  const [isUnlocked, setUnlocked] = useState(false);
  useEffect(() => {
    feed.onView = setView;
    feed.begin();
  }, [feed]);
  const { at, events, samples, snapshot, status, trouble } = view;
  const summary = snapshot === null ? null : summaryOf(snapshot);
  const title = summary === null || summary.rank === 'good' ? 'raidkit' : `${signs[summary.rank]} ${summary.text} – raidkit`;
  useEffect(() => {
    document.title = title;
  }, [title]);
  const act: Act | null = isUnlocked ? (method, params) => feed.call(method, params) : null;
  const canAct = (status?.actions.length ?? 0) > 0;
  return (
    <>
      <header class="top">
        <h1>
          <img src="icon.svg" alt="" width="26" height="26" /> raidkit
        </h1>
        {canAct ? (
          <Unlock
            isUnlocked={isUnlocked}
            unlock={async (token) => {
              const refusal = await feed.unlock(token);
              setUnlocked(refusal === null);
              return refusal;
            }}
            lock={() => {
              feed.lock();
              setUnlocked(false);
            }}
          />
        ) : (
          status !== null && <span class="detail">read-only</span>
        )}
      </header>
      <main>
        <p class={`summary ${trouble === null ? (summary?.rank ?? 'busy') : 'bad'}`} role="status">
          {trouble === null ? (
            <>
              {summary !== null && <span aria-hidden="true">{signs[summary.rank]} </span>}
              {summary?.text ?? (status === null ? 'Asking the daemon …' : 'The daemon is starting')}
            </>
          ) : (
            `${trouble.charAt(0).toUpperCase()}${trouble.slice(1)}${at === 0 ? '' : `; the page shows the state of ${formatTime(at)}`}`
          )}
        </p>
        {snapshot !== null && (
          <div class="columns">
            <div class="arrays">
              {snapshot.arrays.length === 0 && (
                <section class="panel">
                  <h2>No arrays</h2>
                  <p>
                    Create one with <code>raidctl create raid1 NAME DEVICE DEVICE</code>, or open former members:{' '}
                    <code>raidctl open DEVICE…</code>
                  </p>
                </section>
              )}
              {byUrgency(snapshot.arrays).map((array) => (
                <ArrayView key={array.uuid} array={array} snapshot={snapshot} samples={samples} act={act} />
              ))}
            </div>
            <div class="side">
              <OtherFindings snapshot={snapshot} />
              <Spares snapshot={snapshot} act={act} />
              <EventsView events={events} />
            </div>
          </div>
        )}
      </main>
      <footer>
        {status !== null && <>raidkitd {status.daemon.version}</>}
        {at !== 0 && (
          <>
            {' '}
            · as of <time dateTime={new Date(at).toISOString()}>{formatTime(at)}</time>
          </>
        )}
      </footer>
    </>
  );
}

function OtherFindings({ snapshot }: { snapshot: StatusSnapshot }) {
  const found = otherwise(snapshot);
  if (found.length === 0) return null;
  return (
    <section class="panel" aria-labelledby="other-name">
      <h2 id="other-name">Problems</h2>
      {found.map((finding) => (
        <FindingView key={finding.what} finding={finding} />
      ))}
    </section>
  );
}

function Spares({ act, snapshot }: { act: Act | null; snapshot: StatusSnapshot }) {
  const { bdevs, spares } = snapshot;
  return (
    <section class="panel" aria-labelledby="spares-name">
      <h2 id="spares-name">Spares</h2>
      {spares.length === 0 && <p class="detail">There are no spares.</p>}
      <ul class="plain">
        {spares.map(({ bdev_name: device, name }) => {
          const bdev = bdevs.find((other) => other.name === device);
          return (
            <li key={device}>
              <b>{device}</b> <span class="detail">{bdev !== undefined && formatBytes(bdev.num_blocks * bdev.block_size)}</span>{' '}
              for {name ?? 'any array'} {act !== null && <DropSpare act={act} device={device} />}
            </li>
          );
        })}
      </ul>
      {act !== null && <SpareForm act={act} snapshot={snapshot} />}
    </section>
  );
}
