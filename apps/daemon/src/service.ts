import type { BdevRegistry, Logger } from '@raidkit/bdev';
import type { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import type { AllowedArrays, AllowedDevices } from './allow-list.js';
import type { ExaminePolicy } from './examine-policy.js';
import type { Exports } from './exports.js';
import type { KernelAttachments } from './kernel-attachments.js';
import type { Dispatcher } from './rpc/dispatcher.js';
import type { NameTable } from './shared-names.js';

/** How long a thread was awake, and asleep. Milliseconds. */
export interface Load {
  readonly awakeMs: number;
  readonly asleepMs: number;
}

/** What the methods act on. */
export interface Service {
  readonly registry: BdevRegistry;
  readonly arrays: RaidArrays;
  readonly modules: RaidModuleRegistry;
  readonly exports: Exports;
  readonly dispatcher: Dispatcher;
  readonly log: Logger;
  /** Which of the daemon's reactors this is, and how many there are. */
  readonly reactor: { readonly index: number; readonly count: number };
  /** Which devices are looked at for superblocks. */
  readonly examining: ExaminePolicy;
  /** Arrays that may run here. */
  readonly allowedArrays: AllowedArrays;
  /** Devices and files that may be opened here. */
  readonly allowedDevices: AllowedDevices;
  /** How long its thread has been at work, and how long it has rested, in milliseconds. */
  readonly load: () => Load;
  /** Volumes that the kernel has as block devices. */
  readonly attachments: KernelAttachments;
  /** Names that each exist once in the daemon. */
  readonly names: NameTable;
  /** Ends the startup state. Throws if it has ended. */
  startInit(): void;
  /** Resolves when the startup state has ended. */
  waitInit(): Promise<void>;
  /** Begins an orderly shutdown, after the call at hand is answered. */
  requestStop(): void;
}
