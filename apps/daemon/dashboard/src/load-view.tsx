import type { ArrayLoad, LoadSample } from '@raidkit/client';
import { formatBytes } from '@raidkit/raidctl/findings';
import { Plot } from './plot.js';

/** Minutes that a plot can cover, and samples per minute. */
const spans = [1, 2, 5, 10] as const;
const perMinute = 30;

/** Plots how much an array has read and written, and the latencies. */
export function LoadView({ array, samples }: { array: string; samples: readonly LoadSample[] }) {
  const minutes = spans.find((span) => span * perMinute >= samples.length) ?? 10;
  const room = minutes * perMinute;
  const span = `${minutes} min`;
  const loads = samples.map(({ arrays }) => arrays.find(({ name }) => name === array));
  const values = (of: (load: ArrayLoad) => number | null): (number | null)[] =>
    loads.map((load) => (load === undefined ? null : of(load)));
  return (
    <div class="plots">
      <Plot
        title="Throughput"
        base={1024}
        room={room}
        span={span}
        format={(value) => `${formatBytes(Math.round(value))}/s`}
        series={[
          { name: 'read', values: values((load) => load.read_bytes_per_sec) },
          { name: 'write', values: values((load) => load.write_bytes_per_sec) },
        ]}
      />
      <Plot
        title="Latency"
        base={1000}
        room={room}
        span={span}
        format={formatMs}
        series={[
          { name: 'read', values: values((load) => load.read_latency_ms) },
          { name: 'write', values: values((load) => load.write_latency_ms) },
        ]}
      />
    </div>
  );
}

function formatMs(value: number): string {
  if (value === 0) return '0 ms';
  if (value < 1) return `${Math.round(value * 1000)} µs`;
  return value < 1000 ? `${value.toFixed(value < 10 ? 1 : 0)} ms` : `${(value / 1000).toFixed(1)} s`;
}
