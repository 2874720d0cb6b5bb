export { Coverage } from './coverage.js';
export { drawPlan } from './plan.js';
export type { PlanItem, SimPlan, SimShape } from './plan.js';
export { SimMemory } from './sim-memory.js';
export { simulate } from './simulation.js';
export type { Capabilities, SimOptions, SimResult } from './simulation.js';
export { sweep } from './sweep.js';
export type { SweepOptions, SweepResult } from './sweep.js';
