import type { BdevRegistry } from '@raidkit/bdev';
import { nullUuid } from '@raidkit/core';
import type { ArrayNames, RaidArrays } from '@raidkit/core';
import type { ClientRule } from '@raidkit/nbd';
import { SharedNames } from './shared-names.js';
import type { NameTable } from './shared-names.js';
import { namesOf } from './shared-registry.js';

/** An export as clients of other reactors are told of it. */
export interface SharedExport {
  name: string;
  description: string;
  /** Null for all clients. */
  clients: readonly ClientRule[] | null;
}

/**
 * What a service tells the router: which devices, arrays and exports come and go, in the order in which it happens, and before
 * the answer of the call that did it.
 */
export type Change =
  | { of: 'bdev' | 'array'; is: 'there'; name: string; names: readonly string[] }
  | ({ of: 'export'; is: 'there' } & SharedExport)
  | { of: 'bdev' | 'array' | 'export'; is: 'gone'; name: string }
  /** Names and uuids of devices that arrays here wait for. All of them. */
  | { of: 'awaited'; names: readonly string[] };

/** What a service among several has in common with the others. */
export class SharedState implements ArrayNames {
  readonly names: NameTable;
  readonly #tell: (change: Change) => void;
  /** Arrays that have entered, with the uuid that they had then: one without superblocks gets its own later. */
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

  /** Tells of devices from now on. */
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

  /** Tells for which devices arrays wait, if that has changed: to be called before each answer, and as devices come and go. */
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

/** How a device is made again elsewhere. */
export interface MovedDevice {
  name: string;
  /** What it is, whatever has its path by now. */
  identity: string | null;
  method: string;
  params: object;
}
