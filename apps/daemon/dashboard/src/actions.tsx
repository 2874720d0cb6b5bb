import type { RaidArrayInfo, StatusSnapshot } from '@raidkit/client';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';

/** Makes a call; resolves with the reason if it was refused, or null. */
export type Act = (method: string, params: object) => Promise<string | null>;

/** A call that the user can choose. */
interface Plan {
  /** Text of the button. */
  label: string;
  method: string;
  params: object;
  /** Question to confirm first; null for none. */
  question: string | null;
}

/** Shows an array's buttons: for its background process, or to start a check. */
export function ArrayActions({ act, array }: { act: Act; array: RaidArrayInfo }) {
  const plans = plansFor(array);
  if (plans.length === 0) return null;
  return (
    <div class="actions" role="group" aria-label={`Actions for ${array.name}`}>
      {plans.map((plan) => (
        <PlanButton key={plan.label} act={act} plan={plan} />
      ))}
    </div>
  );
}

function plansFor({ ext, name, state }: RaidArrayInfo): Plan[] {
  const { history, process } = ext;
  const control = (label: string, action: string, question: string | null = null): Plan => ({
    label,
    method: 'raidkit_control_process',
    // The process that is shown may have ended since, and another one begun.
    params: { name, action, type: process?.type },
    question,
  });
  if (process !== null) {
    return [
      process.paused ? control(`Resume ${process.type}`, 'resume') : control(`Pause ${process.type}`, 'pause'),
      control(`Cancel ${process.type}`, 'cancel', `The ${process.type} of ${name} is cancelled.`),
    ];
  }
  // There is nothing to compare: the array has no redundancy or is not online.
  if (state !== 'online' || ext.min_operational >= ext.members.length) return [];
  const start = (label: string, type: string, question: string | null): Plan => ({
    label,
    method: 'raidkit_start_process',
    params: { name, type },
    question,
  });
  const last = history.find(({ type }) => type === 'check' || type === 'repair');
  const found = last?.type === 'check' ? last.mismatch_blocks : 0;
  return [
    start('Start check', 'check', null),
    ...(found > 0
      ? [
          start(
            'Repair…',
            'repair',
            `The last check of ${name} found ${found} blocks where redundancy does not match the data. A repair rewrites copies by majority, and parity from the data.`,
          ),
        ]
      : []),
  ];
}

/** A button that asks for confirmation if the plan has a question, and shows the reason if the call was refused. */
function PlanButton({ act, plan }: { act: Act; plan: Plan }) {
  const [isBusy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState<string | null>(null);
  const [isAsking, setAsking] = useState(false);
  const run = async (): Promise<void> => {
    setAsking(false);
    setBusy(true);
    setTrouble(await act(plan.method, plan.params));
    setBusy(false);
  };
  return (
    <>
      <button type="button" disabled={isBusy} onClick={() => (plan.question === null ? void run() : setAsking(true))}>
        {plan.label}
      </button>
      {isAsking && plan.question !== null && (
        <Question
          text={plan.question}
          yes={plan.label.replace('…', '')}
          onYes={() => void run()}
          onNo={() => setAsking(false)}
        />
      )}
      {trouble !== null && (
        <span class="refusal" role="alert">
          {trouble}
        </span>
      )}
    </>
  );
}

interface QuestionProps {
  text: string;
  yes: string;
  onYes: () => void;
  onNo: () => void;
}

function Question({ onNo, onYes, text, yes }: QuestionProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  // Opened before the next key press, which is then for the question.
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-label={yes} onClose={onNo}>
      <p>{text}</p>
      <div class="actions">
        <button type="button" onClick={onNo}>
          Leave it
        </button>
        <button type="button" class="primary" onClick={onYes}>
          {yes}
        </button>
      </div>
    </dialog>
  );
}

/** A form to add a spare. */
export function SpareForm({ act, snapshot }: { act: Act; snapshot: StatusSnapshot }) {
  const [device, setDevice] = useState('');
  const [array, setArray] = useState('');
  const [trouble, setTrouble] = useState<string | null>(null);
  const [isAsking, setAsking] = useState(false);
  const taken = new Set([
    ...snapshot.spares.map(({ bdev_name: name }) => name),
    ...snapshot.arrays.map(({ name }) => name),
    ...snapshot.exports.map(({ bdev_name: name }) => name),
  ]);
  const free = snapshot.bdevs.filter(({ claimed, name }) => !claimed && !taken.has(name));
  if (free.length === 0) return <p class="detail">No open device can become a spare.</p>;
  const chosen = free.find(({ name }) => name === device)?.name ?? free[0]?.name ?? '';
  const run = async (): Promise<void> => {
    setAsking(false);
    setTrouble(await act('raidkit_add_spare', { bdev_name: chosen, ...(array === '' ? {} : { name: array }) }));
  };
  return (
    <form
      class="actions"
      onSubmit={(event) => {
        event.preventDefault();
        setAsking(true);
      }}
    >
      <label>
        Device{' '}
        <select value={chosen} onChange={(event) => setDevice(event.currentTarget.value)}>
          {free.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        for{' '}
        <select value={array} onChange={(event) => setArray(event.currentTarget.value)}>
          <option value="">any array</option>
          {snapshot.arrays.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <button type="submit">Add spare…</button>
      {isAsking && (
        <Question
          text={`${chosen} becomes a spare. When it replaces a member, its data is lost.`}
          yes="Add spare"
          onYes={() => void run()}
          onNo={() => setAsking(false)}
        />
      )}
      {trouble !== null && (
        <span class="refusal" role="alert">
          {trouble}
        </span>
      )}
    </form>
  );
}

/** A button that removes a spare. */
export function DropSpare({ act, device }: { act: Act; device: string }) {
  const plan = { label: 'Remove', method: 'raidkit_remove_spare', params: { bdev_name: device }, question: null };
  return <PlanButton act={act} plan={{ ...plan, label: `Remove ${device}` }} />;
}
