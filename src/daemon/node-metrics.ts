// The metrics of a node: those of its volumes and pools, and how its part of the control plane is.
import type { DataBufferPool } from '../block/index.ts';
import type { SessionInfo } from '../iscsi/index.ts';
import { REPLICA } from '../kinds/index.ts';
import { buildMetrics, type MetricsRegistry, shown } from '../metrics/index.ts';
import type { NodeAgent } from '../node/index.ts';
import { STORE_BLOCK_BYTES } from '../store/index.ts';
import { addHostMetrics, type HostMetricsSource } from './host-metrics.ts';
import { samplePool } from './pool-sample.ts';

export interface NodeMetricsSource {
  readonly version: string;
  readonly agent: () => NodeAgent | null;
  readonly buffers: () => DataBufferPool | null;
  readonly sessions: () => readonly SessionInfo[];
  readonly leads: () => boolean;
  readonly host: HostMetricsSource;
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
    uses: () => source.agent()?.uses() ?? [],
    sessions: source.sessions,
    buffers: () => {
      const buffers = source.buffers();
      return {
        totalBytes: buffers?.arena.byteLength ?? 0,
        freeBytes: buffers?.freeBytes ?? 0,
      };
    },
  });
  addHostMetrics(registry, source.host);
  registry.registerMetric(
    shown('ashlar_leads', 'gauge', '1 where the controllers run', () => [
      { labels: {}, value: source.leads() ? 1 : 0 },
    ]),
  );
  const throttled = 'Operations that a limit held back since the volume was opened';
  registry.registerMetric(
    shown('ashlar_volume_throttled_ops', 'gauge', throttled, () =>
      (source.agent()?.volumes.all() ?? []).map(({ name, throttle }) => ({
        labels: { volume: name },
        value: throttle.throttledOps,
      })),
    ),
  );
  const replicaState = '1 for the state that a replica of this node is in';
  registry.registerMetric(
    shown('ashlar_replica_state', 'gauge', replicaState, () => {
      const agent = source.agent();
      return (agent?.catalog.all(REPLICA) ?? [])
        .filter(({ spec }) => spec.nodeName === agent?.nodeName)
        .flatMap(({ spec, status }) =>
          REPLICA_PHASES.map((state) => ({
            labels: { volume: spec.volumeName, pool: spec.poolName, state },
            value: state === (status?.phase ?? 'Pending') ? 1 : 0,
          })),
        );
    }),
  );
  return registry;
}
