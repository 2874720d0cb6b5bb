import type { LoadPage, LoadSample, RaidkitEvent, StatusPage, StatusSnapshot } from '@raidkit/client';

/** Milliseconds between two polls. */
const pollMs = 2000;
const answerMs = 10_000;
const mostSamples = 300;
const mostEvents = 200;

/** The data that the page shows. */
export interface View {
  /** Null until the first answer. */
  status: StatusPage | null;
  /** The latest snapshot; it stays while the daemon does not answer. */
  snapshot: StatusSnapshot | null;
  /** Samples, the oldest first. */
  samples: readonly LoadSample[];
  /** Events, the newest first. */
  events: readonly RaidkitEvent[];
  /** Why there is no new data; null if there is. */
  trouble: string | null;
  /** When the snapshot was made; milliseconds since 1970. */
  at: number;
}

/** The daemon's answer to a call. */
type CallAnswer = { result: unknown } | { error: { message: string; data?: { reason?: string } } };

interface EventPage {
  instance: string;
  last_id: number;
  events: RaidkitEvent[];
}

/** Polls the daemon while the page is visible. */
export class Feed {
  view: View = { status: null, snapshot: null, samples: [], events: [], trouble: null, at: 0 };
  /** Called with every new view. */
  onView: (view: View) => void = () => undefined;
  #token: string | null = null;
  #timer: number | undefined;
  #isAsking = false;
  #instance = '';
  #lastSample = 0;
  #lastEvent = 0;

  begin(): void {
    document.addEventListener('visibilitychange', () => this.look());
    this.look();
  }

  /** Polls now, unless the page is hidden or a poll is in progress. */
  look(): void {
    window.clearTimeout(this.#timer);
    if (document.hidden || this.#isAsking) return;
    this.#isAsking = true;
    void this.#lookNow().finally(() => {
      this.#isAsking = false;
      this.#timer = window.setTimeout(() => this.look(), pollMs);
    });
  }

  /** Keeps the token for as long as the page is open, if it is right. Resolves with the reason if it is not, or null. */
  async unlock(token: string): Promise<string | null> {
    try {
      const answer = await ask('api/actions', { headers: { authorization: `Bearer ${token}` } });
      if (!answer.ok) return (await answer.text()).trim();
      this.#token = token;
      return null;
    } catch {
      return 'the daemon does not respond';
    }
  }

  lock(): void {
    this.#token = null;
  }

  /** Makes a call to the daemon. Resolves with the reason if it was refused, or null. */
  async call(method: string, params: object): Promise<string | null> {
    const headers = { authorization: `Bearer ${this.#token ?? ''}`, 'content-type': 'application/json' };
    try {
      const answer = await ask('api/call', { method: 'POST', headers, body: JSON.stringify({ method, params }) });
      if (!(answer.headers.get('content-type') ?? '').startsWith('application/json')) return (await answer.text()).trim();
      const outcome = (await answer.json()) as CallAnswer;
      this.look();
      return 'error' in outcome ? (outcome.error.data?.reason ?? outcome.error.message) : null;
    } catch {
      return 'the daemon does not respond; it is not known whether it was done';
    }
  }

  async #lookNow(): Promise<void> {
    try {
      const [status, load, events] = await Promise.all([
        read<StatusPage>('api/status'),
        read<LoadPage>(`api/history?since=${this.#lastSample}`),
        read<EventPage>(`api/events?since=${this.#lastEvent}`),
      ]);
      if (this.#instance !== '' && this.#instance !== load.instance) {
        // The daemon was restarted, so its ids start again.
        this.#instance = '';
        this.#lastSample = this.#lastEvent = 0;
        this.#set({ samples: [], events: [] });
        await this.#lookNow();
        return;
      }
      this.#instance = load.instance;
      this.#lastSample = load.last_id;
      this.#lastEvent = events.last_id;
      const { snapshot } = status;
      this.#set({
        status,
        samples: [...this.view.samples, ...load.samples].slice(-mostSamples),
        events: [...events.events.reverse(), ...this.view.events].slice(0, mostEvents),
        trouble: status.daemon.stuck,
        ...(snapshot === null ? {} : { snapshot, at: Date.parse(status.time) }),
      });
    } catch {
      this.#set({ trouble: 'the daemon does not respond' });
    }
  }

  #set(change: Partial<View>): void {
    this.view = { ...this.view, ...change };
    this.onView(this.view);
  }
}

function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(path, { ...init, cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(answerMs) });
}

async function read<T>(path: string): Promise<T> {
  const answer = await ask(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return (await answer.json()) as T;
}
