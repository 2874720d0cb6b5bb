import type { Runtime } from '@raidkit/bdev';
import { v4, validate } from 'uuid';

/** A random uuid, from the runtime's chance. */
export function newUuid(runtime: Runtime): string {
  return v4({ random: runtime.randomBytes(16) });
}

/** Whether the text is a uuid, of any version. */
export function isUuid(text: string): boolean {
  return validate(text) || /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
}
