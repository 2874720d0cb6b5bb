import type { BdevRegistry } from '@raidkit/bdev';
import { nullUuid } from '@raidkit/core';
import type { ArrayNames, RaidArrays } from '@raidkit/core';
import type { ClientRule } from '@raidkit/nbd';
import { SharedNames } from './shared-names.js';
import type { NameTable } from './shared-names.js';
import { namesOf } from './shared-registry.js';

/** An export, as reactors describe it to clients of other reactors. */
export interface SharedExport {
  name: string;
  description: string;
  /** Null if all clients may use it. */
  clients: readonly ClientRule[] | null;
}

/**
 * Change that a service reports to the router: devices, arrays and exports that are added and removed, in order and before the
 * answer of the call that caused it.
 */
export type Change =
  | { of: 'bdev' | 'array'; is: 'there'; name: string; names: readonly string[] }
  | ({ of: 'export'; is: 'there' } & SharedExport)
  | { of: 'bdev' | 'array' | 'export'; is: 'gone'; name: string }
  /** All names and uuids of devices that arrays of this service wait for. */
  | { of: 'awaited'; names: readonly string[] };

/** What a service shares with the other services of the daemon. */
export class SharedState implements ArrayNames {
  readonly names: NameTable;
  readonly #tell: (change: Change) => void;
  /** Registered arrays, with their uuid at that time: an array without superblocks gets its uuid later. */
  readonly #uuids = new Map<string, string>();
  #awaited = '';

  constructor(words: Int32Array, tell: (change: Change) => void) {
    this.names = new SharedNames(words);
    this.#tell = tell;
  }

  enter(name: string, uuid: string): string | null {
    if (!this.names.take(`array ${name}`)) return `there is an array of the name ${name} on another reactor`;
    if (uuid !== nullUuid && !this.names.take(`array uuid ${uuid}`)) {
      this.names.release(`array ${name}`);
      return `the array ${uuid} is on another reactor; bdev_raid_add_base_bdev takes the device there, and so does closing it and opening it again`;
    }
    this.#uuids.set(name, uuid);
    this.#tell({ of: 'array', is: 'there', name, names: uuid === nullUuid ? [name] : [name, uuid] });
    return null;
  }

  rename(from: string, to: string): string | null {
    if (!this.names.take(`array ${to}`)) return `there is an array of the name ${to} on another reactor`;
    this.names.release(`array ${from}`);
    const uuid = this.#uuids.get(from) ?? nullUuid;
    this.#uuids.delete(from);
    this.#uuids.set(to, uuid);
    this.#tell({ of: 'array', is: 'gone', name: from });
    this.#tell({ of: 'array', is: 'there', name: to, names: uuid === nullUuid ? [to] : [to, uuid] });
    return null;
  }

  leave(name: string): void {
    this.names.release(`array ${name}`);
    const uuid = this.#uuids.get(name);
    if (uuid !== undefined && uuid !== nullUuid) this.names.release(`array uuid ${uuid}`);
    this.#uuids.delete(name);
    this.#tell({ of: 'array', is: 'gone', name });
  }

  /** Reports devices from now on. */
  watch(registry: BdevRegistry): void {
    registry.addListener({
      onRegistered: (bdev) => this.#tell({ of: 'bdev', is: 'there', name: bdev.name, names: namesOf(bdev) }),
      onUnregistered: (bdev) => this.#tell({ of: 'bdev', is: 'gone', name: bdev.name }),
    });
  }

  exported(one: SharedExport): void {
    this.#tell({ of: 'export', is: 'there', ...one });
  }

  unexported(name: string): void {
    this.#tell({ of: 'export', is: 'gone', name });
  }

  /**
   * Reports for which devices arrays wait, if that has changed. Must be called before each answer, and when devices come and
   * go.
   */
  tellAwaited(arrays: RaidArrays): void {
    const names = arrays
      .list('configuring')
      .filter(({ isAssembled }) => !isAssembled)
      .flatMap(({ slots }) => slots.filter(({ hasDevice }) => !hasDevice))
      .flatMap(({ awaitedName, uuid }) => (awaitedName === null ? [] : [awaitedName]).concat(uuid === nullUuid ? [] : [uuid]));
    const text = names.join('\n');
    if (text === this.#awaited) return;
    this.#awaited = text;
    this.#tell({ of: 'awaited', names });
  }
}

/** What is needed to open a device again on another reactor. */
export interface MovedDevice {
  name: string;
  /** Identity of the device, to notice if another one has its path by now. */
  identity: string | null;
  method: string;
  params: object;
}
