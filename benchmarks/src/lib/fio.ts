import { run } from './commands.js';
import type { Measured } from './rounds.js';

/** One job of fio. */
export interface FioJob {
  rw: 'randread' | 'randwrite' | 'randrw' | 'read' | 'write';
  blockBytes: number;
  depth: number;
  seconds: number;
  /** Bytes that are read and written, from the start. */
  sizeBytes: number;
  jobs?: number;
}

interface Side {
  iops: number;
  bw_bytes: number;
  total_ios: number;
  clat_ns: { percentile?: Record<string, number> };
}

/** Arguments that all jobs have, besides those that say where the bytes go. */
export function fioArgs({ rw, blockBytes, depth, seconds, sizeBytes, jobs = 1 }: FioJob): string[] {
  return [
    '--name=bench',
    '--thread',
    `--rw=${rw}`,
    `--bs=${blockBytes}`,
    `--iodepth=${depth}`,
    `--numjobs=${jobs}`,
    '--group_reporting',
    `--size=${sizeBytes}`,
    '--time_based',
    `--runtime=${seconds}`,
    '--norandommap',
    '--random_generator=tausworthe64',
    '--output-format=json',
  ];
}

/** Runs fio's NBD client against a server. The CPU time is not the client's, but for the caller to measure. */
export async function fioNbd(uri: string, job: FioJob, unit: 'IOPS' | 'MiB/s'): Promise<Measured> {
  const { value, ops = 0, p50Us = 0, p99Us = 0 } = await runFio([...fioArgs(job), '--ioengine=nbd', `--uri=${uri}`], unit);
  return { value, ops, p50Us, p99Us };
}

/** Runs one job; the CPU time is that of fio's thread. */
export async function runFio(args: readonly string[], unit: 'IOPS' | 'MiB/s'): Promise<Measured> {
  const text = await run('fio', args);
  const [job] = (
    JSON.parse(text.slice(text.indexOf('{'))) as {
      jobs: { read: Side; write: Side; usr_cpu: number; sys_cpu: number; job_runtime: number }[];
    }
  ).jobs;
  if (job === undefined) throw new Error('fio did no job');
  const sides = [job.read, job.write].filter(({ total_ios: ios }) => ios > 0);
  const sum = (of: (side: Side) => number): number => sides.reduce((total, side) => total + of(side), 0);
  // For a mixture, the worse side's.
  const percentile = (name: string): number =>
    Math.max(...sides.map(({ clat_ns: { percentile: list = {} } }) => list[name] ?? 0)) / 1000;
  return {
    value: unit === 'IOPS' ? sum(({ iops }) => iops) : sum(({ bw_bytes: rate }) => rate) / 1024 ** 2,
    ops: sum(({ total_ios: ios }) => ios),
    // Per cent, and milliseconds of all jobs together.
    cpuUs: ((job.usr_cpu + job.sys_cpu) * job.job_runtime * 10) / sum(({ total_ios: ios }) => ios),
    p50Us: percentile('50.000000'),
    p99Us: percentile('99.000000'),
  };
}
