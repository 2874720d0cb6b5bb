import { readFileSync, readdirSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';

/** Clock ticks a second in /proc: 100 on every Linux there is (proc(5), USER_HZ). */
const ticksPerSecond = 100;
/** Load of others, in cores, up to which a measurement counts as quiet. */
export const quietCores = 0.25;

/** What figures were measured on. */
export interface Machine {
  cpu: string;
  cores: number;
  kernel: string;
  node: string;
}

export function machine(): Machine {
  return { cpu: cpus()[0]?.model.trim() ?? 'unknown', cores: availableParallelism(), kernel: release(), node: process.version };
}

function statFields(path: string): number[] {
  const text = readFileSync(path, 'utf8');
  // The name of a program may contain anything, also parentheses.
  return text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
}

/** CPU seconds of a process, all its threads together, since its start; 0 if there is none. */
export function cpuSecondsOf(pid: number): number {
  try {
    const fields = statFields(`/proc/${pid}/stat`);
    return ((fields[11] ?? 0) + (fields[12] ?? 0)) / ticksPerSecond;
  } catch {
    return 0;
  }
}

/** CPU time of all threads that a process has now, in nanoseconds: finer than ticks, but threads that have ended are left out. */
export function cpuNanosecondsOf(pid: number): number {
  const timeOf = (thread: string): number =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum + timeOf(thread), 0);
}

/** CPU seconds of this process and of its children that have ended. */
function ownCpuSeconds(): number {
  const fields = statFields('/proc/self/stat');
  return ((fields[11] ?? 0) + (fields[12] ?? 0) + (fields[13] ?? 0) + (fields[14] ?? 0)) / ticksPerSecond;
}

/** Resident memory of a process in bytes. */
export function residentBytesOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1] ?? 0) * 4096;
}

/** CPU seconds of the whole machine, with what its host took away. */
function machineCpuSeconds(): number {
  const line = readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.trim().split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq + steal) / ticksPerSecond;
}

/** What the CPUs did between two moments. */
export interface CpuUse {
  seconds: number;
  /** CPU seconds of the processes that were named. */
  subjectSeconds: number;
  /** Cores that neither they, nor this process, nor its children used. */
  foreignCores: number;
}

/** Starts to watch the CPUs; the result ends it. Children must have ended by then to count as our own. */
export function watchCpus(pids: readonly number[]): () => CpuUse {
  const subjects = (): number => pids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0);
  const startedAt = performance.now();
  const machineBefore = machineCpuSeconds();
  const ownBefore = ownCpuSeconds();
  const subjectsBefore = subjects();
  return () => {
    const seconds = (performance.now() - startedAt) / 1000;
    const subjectSeconds = subjects() - subjectsBefore;
    const foreign = machineCpuSeconds() - machineBefore - (ownCpuSeconds() - ownBefore) - subjectSeconds;
    return { seconds, subjectSeconds, foreignCores: Math.max(0, foreign / seconds) };
  };
}
