import type { Command } from 'commander';
import type { Run } from '../action.js';
import { addArrays } from './arrays.js';
import { addClients } from './clients.js';
import { addCompletion } from './completion.js';
import { addConfig } from './config.js';
import { addCreate } from './create.js';
import { addDevices } from './devices.js';
import { addDoctor } from './doctor.js';
import { addEvents } from './events.js';
import { addExamine } from './examine.js';
import { addExports } from './exports.js';
import { addGrow } from './grow.js';
import { addIntegrity } from './integrity.js';
import { addIostat } from './iostat.js';
import { addLatency } from './latency.js';
import { addList } from './list.js';
import { addMembers } from './members.js';
import { addModules } from './modules.js';
import { addProcesses } from './processes.js';
import { addReads } from './reads.js';
import { addRescan } from './rescan.js';
import { addSchedule } from './schedule.js';
import { addSelftest } from './selftest.js';
import { addStatus } from './status.js';
import { addWait } from './wait.js';

/** All commands, in the order of the help. */
export const commands: readonly ((program: Command, run: Run) => void)[] = [
  addStatus,
  addList,
  addCreate,
  addDevices,
  addExamine,
  addRescan,
  addMembers,
  addReads,
  addIntegrity,
  addProcesses,
  addSchedule,
  addArrays,
  addGrow,
  addWait,
  addExports,
  addClients,
  addIostat,
  addLatency,
  addEvents,
  addDoctor,
  addSelftest,
  addModules,
  addConfig,
  addCompletion,
];
