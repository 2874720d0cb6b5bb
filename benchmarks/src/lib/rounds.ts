import { quietCores, watchCpus } from './machine.js';

/** What one measurement found. */
export interface Measured {
  /** In the case's unit; bigger is better unless the case says otherwise. */
  value: number;
  /** Operations done, if CPU time per operation means something. */
  ops?: number;
  /** CPU time per operation, where the measurement itself knows it. */
  cpuUs?: number;
  p50Us?: number;
  p99Us?: number;
}

/** One measurement of one subject in one round. */
export interface Sample {
  round: number;
  value: number;
  /** CPU time of the subject's processes per operation; null where that has no meaning. */
  cpuUs: number | null;
  p50Us: number | null;
  p99Us: number | null;
  /** Load of others during the measurement, in cores. */
  foreignCores: number;
}

/** A server or program that is measured. */
export interface Contender {
  readonly name: string;
  /** Processes whose CPU time is its own; none for what runs in this process's children. */
  readonly pids: readonly number[];
}

/** One thing to measure, of each contender in turn. */
export interface Case<T extends Contender> {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  /** The first is what the others are compared with. */
  readonly contenders: readonly T[];
  readonly measure: (contender: T) => Promise<Measured>;
}

/** What is known of a case after all rounds. */
export interface CaseResult {
  id: string;
  title: string;
  unit: string;
  contenders: { name: string; samples: Sample[] }[];
}

/** Measures every contender of every case once a round, in alternating order. */
export async function runRounds<T extends Contender>(cases: readonly Case<T>[], rounds: number): Promise<CaseResult[]> {
  const results = cases.map(({ id, title, unit, contenders }) => ({
    id,
    title,
    unit,
    contenders: contenders.map(({ name }) => ({ name, samples: [] as Sample[] })),
  }));
  for (let round = 0; round < rounds; round++) {
    for (const [index, one] of cases.entries()) {
      const order = one.contenders.map((contender, place) => ({ contender, place }));
      if (round % 2 === 1) order.reverse();
      for (const { contender, place } of order) {
        const sample = await measure(one, contender, round);
        results[index]?.contenders[place]?.samples.push(sample);
      }
    }
    console.error(`round ${round + 1} of ${rounds} is done`);
  }
  return results;
}

async function measure<T extends Contender>(one: Case<T>, contender: T, round: number): Promise<Sample> {
  const endWatch = watchCpus(contender.pids);
  const { value, ops = 0, cpuUs: knownCpuUs, p50Us = null, p99Us = null } = await one.measure(contender);
  const { subjectSeconds, foreignCores } = endWatch();
  const cpuUs = knownCpuUs ?? (ops === 0 || contender.pids.length === 0 ? null : (subjectSeconds * 1e6) / ops);
  const load = foreignCores < quietCores ? '' : `, ${foreignCores.toFixed(2)} cores of other load`;
  const cpu = cpuUs === null ? '' : `, ${cpuUs.toFixed(2)} µs CPU`;
  console.error(`  ${one.id} ${contender.name}: ${value.toPrecision(5)} ${one.unit}${cpu}${load}`);
  return { round, value, cpuUs, p50Us, p99Us, foreignCores };
}

/** Rounds in which every contender of the case was measured on a quiet machine. */
export function quietRounds({ contenders }: CaseResult): Set<number> {
  const noisy = contenders.flatMap(({ samples }) => samples.filter(({ foreignCores }) => foreignCores >= quietCores));
  const quiet = new Set(contenders[0]?.samples.map(({ round }) => round));
  for (const { round } of noisy) quiet.delete(round);
  return quiet;
}
