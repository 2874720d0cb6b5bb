import type { RaidkitEvent } from '@raidkit/client';
import { useState } from 'preact/hooks';
import { formatTime, signs } from './words.js';
import type { Rank } from './words.js';

const fewEvents = 12;
const ranks: Readonly<Record<string, Rank>> = { critical: 'bad', warning: 'poor' };

/** Lists events, the newest first. */
export function EventsView({ events }: { events: readonly RaidkitEvent[] }) {
  const [isAll, setAll] = useState(false);
  const shown = isAll ? events : events.slice(0, fewEvents);
  return (
    <section class="panel" aria-labelledby="events-name">
      <h2 id="events-name">Events</h2>
      {events.length === 0 && <p class="detail">There are no events since the daemon was started.</p>}
      <ol class="events">
        {shown.map((event) => {
          const rank = ranks[event.severity];
          const sign = rank === undefined ? '·' : signs[rank];
          const about = [event.array, event.device].filter((name) => name !== null).join(', ');
          return (
            <li key={event.id} class={rank ?? 'plain'}>
              <span class="sign" aria-hidden="true">
                {sign}
              </span>
              <div>
                <p class="event-head">
                  <b>{event.event}</b> {about !== '' && <span>{about}</span>}
                  {rank !== undefined && <span class="unseen"> ({event.severity})</span>}
                  <time dateTime={event.time}>{formatTime(event.time)}</time>
                </p>
                <p class="detail">{event.message}</p>
              </div>
            </li>
          );
        })}
      </ol>
      {events.length > fewEvents && (
        <button type="button" onClick={() => setAll(!isAll)} aria-expanded={isAll}>
          {isAll ? 'Fewer' : `All ${events.length}`}
        </button>
      )}
    </section>
  );
}
