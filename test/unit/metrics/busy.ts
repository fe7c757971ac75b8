// The metrics of a volume that had some traffic.
import { LatencyHistogram } from '../../../src/base/index.ts';
import { buildMetrics } from '../../../src/metrics/index.ts';

export function busyMetrics(): Promise<string> {
  const read = new LatencyHistogram();
  for (const ms of [0.05, 0.1, 0.3, 7, 60_000]) read.add(ms);
  const sample = {
    volume: 'demo',
    capacityBytes: 4096,
    usedBytes: 0,
    inFlight: 0,
    readOps: 5,
    readBytes: 5 * 4096,
    writeOps: 0,
    writeBytes: 0,
    unmapOps: 0,
    flushOps: 0,
    failedOps: 0,
    latencies: { read, write: new LatencyHistogram() },
  };
  return buildMetrics({
    version: '0',
    volumes: () => [sample],
    pools: () => [],
    uses: () => [],
    sessions: () => [],
    buffers: () => ({ totalBytes: 2, freeBytes: 1 }),
  }).metrics();
}
