import { useState } from 'preact/hooks';

interface Props {
  isUnlocked: boolean;
  unlock: (token: string) => Promise<string | null>;
  lock: () => void;
}

/** The form for the token, which is only kept in the page's memory. */
export function Unlock({ isUnlocked, lock, unlock }: Props) {
  const [trouble, setTrouble] = useState<string | null>(null);
  if (isUnlocked)
    return (
      <button type="button" onClick={lock}>
        Lock
      </button>
    );
  return (
    <form
      class="unlock"
      autocomplete="off"
      onSubmit={(event) => {
        event.preventDefault();
        const field = event.currentTarget.elements.namedItem('token');
        if (!(field instanceof HTMLInputElement)) return;
        const { value } = field;
        field.value = '';
        void unlock(value.trim()).then(setTrouble);
      }}
    >
      <label>
        Token <input name="token" type="password" required autocomplete="off" size={14} />
      </label>
      <button type="submit">Unlock</button>
      {trouble !== null && (
        <span class="refusal" role="alert">
          {trouble}
        </span>
      )}
    </form>
  );
}
