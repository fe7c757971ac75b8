// The metrics of a node: those of its volumes and pools, and how its part of the control plane is.
import type { DataBufferPool } from '../block/index.ts';
import type { SessionInfo } from '../iscsi/index.ts';
import { REPLICA } from '../kinds/index.ts';
import { buildMetrics, Gauge, type MetricsRegistry } from '../metrics/index.ts';
import type { NodeAgent } from '../node/index.ts';
import { STORE_BLOCK_BYTES } from '../store/index.ts';
import { samplePool } from './pool-sample.ts';

export interface NodeMetricsSource {
  readonly version: string;
  readonly agent: () => NodeAgent | null;
  readonly buffers: () => DataBufferPool | null;
  readonly sessions: () => readonly SessionInfo[];
  readonly leads: () => boolean;
}

const REPLICA_PHASES = [
  'Healthy',
  'Degraded',
  'Rebuilding',
  'Offline',
  'Failed',
  'Pending',
] as const;

export function buildNodeMetrics(source: NodeMetricsSource): MetricsRegistry {
  const registry = buildMetrics({
    version: source.version,
    volumes: () =>
      (source.agent()?.volumes.all() ?? []).map(({ name, volume }) => ({
        volume: name,
        capacityBytes: volume.geometry.blocks * volume.geometry.logicalBlockBytes,
        usedBytes: volume.store.info().mappedBlocks * STORE_BLOCK_BYTES,
        inFlight: volume.inFlight,
        ...volume.counters,
        latencies: volume.latencies,
      })),
    pools: () => (source.agent()?.pools.all() ?? []).map(([name, pool]) => samplePool(pool, name)),
    sessions: source.sessions,
    buffers: () => {
      const buffers = source.buffers();
      return {
        totalBytes: buffers?.arena.byteLength ?? 0,
        freeBytes: buffers?.freeBytes ?? 0,
      };
    },
  });
  const gauge = (
    name: string,
    help: string,
    labelNames: string[],
    fill: (metric: Gauge) => void,
  ): void => {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        fill(this);
      },
    });
  };
  gauge('ashlar_leads', '1 where the controllers run', [], (metric) => {
    metric.set(source.leads() ? 1 : 0);
  });
  gauge(
    'ashlar_volume_throttled_ops',
    'Operations that a limit held back since the volume was opened',
    ['volume'],
    (metric) => {
      for (const { name, throttle } of source.agent()?.volumes.all() ?? []) {
        metric.set({ volume: name }, throttle.throttledOps);
      }
    },
  );
  gauge(
    'ashlar_replica_state',
    '1 for the state that a replica of this node is in',
    ['volume', 'pool', 'state'],
    (metric) => {
      const agent = source.agent();
      for (const { spec, status } of agent?.catalog.all(REPLICA) ?? []) {
        if (spec.nodeName !== agent?.nodeName) continue;
        for (const state of REPLICA_PHASES) {
          const labels = { volume: spec.volumeName, pool: spec.poolName, state };
          metric.set(labels, state === (status?.phase ?? 'Pending') ? 1 : 0);
        }
      }
    },
  );
  return registry;
}
