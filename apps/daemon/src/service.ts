import type { BdevRegistry, Logger } from '@raidkit/bdev';
import type { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import type { AllowedArrays, AllowedDevices } from './allow-list.js';
import type { ExaminePolicy } from './examine-policy.js';
import type { Exports } from './exports.js';
import type { KernelAttachments } from './kernel-attachments.js';
import type { Dispatcher } from './rpc/dispatcher.js';
import type { NameTable } from './shared-names.js';

/** Time that a thread was awake and asleep, in milliseconds. */
export interface Load {
  readonly awakeMs: number;
  readonly asleepMs: number;
}

/** The objects that methods act on. */
export interface Service {
  readonly registry: BdevRegistry;
  readonly arrays: RaidArrays;
  readonly modules: RaidModuleRegistry;
  readonly exports: Exports;
  readonly dispatcher: Dispatcher;
  readonly log: Logger;
  /** Index of this reactor, and number of the daemon's reactors. */
  readonly reactor: { readonly index: number; readonly count: number };
  /** Which devices are examined for superblocks. */
  readonly examining: ExaminePolicy;
  /** Arrays that may run here. */
  readonly allowedArrays: AllowedArrays;
  /** Devices and files that may be opened here. */
  readonly allowedDevices: AllowedDevices;
  /** Returns how long its thread has been awake and asleep, in milliseconds. */
  readonly load: () => Load;
  /** Devices attached to the kernel's NBD client. */
  readonly attachments: KernelAttachments;
  /** Names that must be unique in the daemon. */
  readonly names: NameTable;
  /** Ends the startup state. Throws if it has already ended. */
  startInit(): void;
  /** Resolves when the startup state has ended. */
  waitInit(): Promise<void>;
  /** Starts an orderly shutdown after the current call is answered. */
  requestStop(): void;
}
