// Counters for Prometheus. Rooms keep plain numbers on the data path; they are read here when somebody scrapes, so
// counting costs nothing between scrapes. Names are part of the interface: docs/operations.md lists them.
import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client';
import { LATENCY_BOUNDS_MS, type LatencyHistogram } from '../base/index.ts';

export interface VolumeSample {
  readonly volume: string;
  readonly capacityBytes: number;
  readonly usedBytes: number;
  readonly inFlight: number;
  readonly readOps: number;
  readonly readBytes: number;
  readonly writeOps: number;
  readonly writeBytes: number;
  readonly unmapOps: number;
  readonly flushOps: number;
  readonly failedOps: number;
  /** By direction: read, write, unmap, flush. */
  readonly latencies: Readonly<Record<string, LatencyHistogram>>;
}

export interface PoolSample {
  readonly pool: string;
  readonly state: string;
  readonly backend: string;
  readonly sizeBytes: number;
  readonly usableBytes: number;
  readonly allocatedBytes: number;
  readonly freeBytes: number;
  readonly metadataBytes: number;
  readonly checkpoints: number;
  readonly checksumErrors: number;
  readonly ioErrors: number;
}

/** What a volume has of what its pool's volumes share, where its blocks are. */
export interface UseSample {
  readonly volume: string;
  readonly pool: string;
  readonly use: {
    readonly cacheBytes: number;
    readonly cachedBytes: number;
    readonly cacheHits: number;
    readonly cacheMisses: number;
    readonly ioWorkers: number;
    readonly workerBlocks: number;
  };
}

export interface MetricsSource {
  readonly version: string;
  volumes(): readonly VolumeSample[];
  pools(): readonly PoolSample[];
  uses(): readonly UseSample[];
  /** Sessions by target and kind. */
  sessions(): readonly { readonly target: string; readonly type: string }[];
  buffers(): { readonly totalBytes: number; readonly freeBytes: number };
}

export type MetricsRegistry = Registry;

const POOL_STATES = ['Online', 'Faulted', 'Closed'] as const;

export interface Line {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  readonly metricName?: string;
}

const VOLUME_METRICS: readonly (readonly [
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: (sample: VolumeSample) => number,
])[] = [
  ['read_ops_total', 'counter', 'Reads and verifies since the volume was opened', (v) => v.readOps],
  ['read_bytes_total', 'counter', 'Bytes of reads and verifies', (v) => v.readBytes],
  ['write_ops_total', 'counter', 'Writes', (v) => v.writeOps],
  ['write_bytes_total', 'counter', 'Bytes of writes', (v) => v.writeBytes],
  ['unmap_ops_total', 'counter', 'Unmaps', (v) => v.unmapOps],
  ['flush_ops_total', 'counter', 'Flushes', (v) => v.flushOps],
  ['failed_ops_total', 'counter', 'Operations that ended with an error', (v) => v.failedOps],
  ['capacity_bytes', 'gauge', 'Size as hosts see it', (v) => v.capacityBytes],
  ['used_bytes', 'gauge', 'Bytes of mapped blocks', (v) => v.usedBytes],
  ['in_flight', 'gauge', 'Operations that hosts wait for', (v) => v.inFlight],
];

/**
 * Of what there may be a thousand, lines are made from the samples directly: a metric of prom-client takes each value into a
 * table of its own first, by a key that it makes of the labels, and hosts wait meanwhile.
 */
function volumeMetrics(source: MetricsSource): Metric[] {
  let samples: readonly VolumeSample[] = [];
  const metrics = VOLUME_METRICS.map(([short, type, help, value], index) =>
    shown(`ashlar_volume_${short}`, type, help, () => {
      // One look for all of them: they are read one after the other, in this order.
      if (index === 0) samples = source.volumes();
      return samples.map((sample) => ({
        labels: { volume: sample.volume },
        value: value(sample),
      }));
    }),
  );
  const latency = 'ashlar_volume_latency_seconds';
  const help = 'From when an operation came to the volume to its answer, limits not included';
  return [
    ...metrics,
    shown(latency, 'histogram', help, () =>
      samples.flatMap((sample) => histogram(latency, sample)),
    ),
  ];
}

const USE_METRICS: readonly (readonly [
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: (use: UseSample['use']) => number,
])[] = [
  [
    'cache_own_bytes',
    'gauge',
    "The volume's own part of its pool's cache; 0: none",
    (u) => u.cacheBytes,
  ],
  ['cache_used_bytes', 'gauge', 'Mappings of the volume that are in memory', (u) => u.cachedBytes],
  ['cache_hits_total', 'counter', 'Mappings that were found in memory', (u) => u.cacheHits],
  ['cache_misses_total', 'counter', 'Pages of mappings read from the medium', (u) => u.cacheMisses],
  ['io_workers', 'gauge', 'Threads that may check its large reads', (u) => u.ioWorkers],
  [
    'worker_blocks_total',
    'counter',
    'Blocks of 4 KiB that they have checked',
    (u) => u.workerBlocks,
  ],
];

function useMetrics(source: MetricsSource): Metric[] {
  let samples: readonly UseSample[] = [];
  return USE_METRICS.map(([short, type, help, value], index) =>
    shown(`ashlar_volume_${short}`, type, help, () => {
      if (index === 0) samples = source.uses();
      return samples.map(({ volume, pool, use }) => ({
        labels: { volume, pool },
        value: value(use),
      }));
    }),
  );
}

/**
 * Latencies as Prometheus wants a histogram: cumulative, in seconds. What never happened to a volume has no lines: with a
 * thousand volumes a scrape would be all zeros.
 */
function histogram(name: string, { volume, latencies }: VolumeSample): Line[] {
  const lines: Line[] = [];
  for (const [direction, { counts, sumMs, count }] of Object.entries(latencies)) {
    if (count === 0) continue;
    const labels = { volume, direction };
    let below = 0;
    counts.forEach((inBucket, index) => {
      below += inBucket;
      const boundMs = LATENCY_BOUNDS_MS[index];
      const le = boundMs === undefined ? '+Inf' : String(boundMs / 1000);
      lines.push({ labels: { le, ...labels }, value: below, metricName: `${name}_bucket` });
    });
    lines.push({ labels, value: sumMs / 1000, metricName: `${name}_sum` });
    lines.push({ labels, value: count, metricName: `${name}_count` });
  }
  return lines;
}

/** A metric of which a registry only asks what there is now. */
export function shown(name: string, type: string, help: string, values: () => Line[]): Metric {
  const get = async (): Promise<object> => ({
    name,
    help,
    type,
    values: values(),
    aggregator: 'sum',
  });
  return { name, help, get, reset: () => {} } as unknown as Metric;
}

/** A registry that reads `source` at each scrape. */
export function buildMetrics(source: MetricsSource): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  // Gauges named like counters, which promtool objects to; each is also there by type, under a right name.
  for (const kind of ['handles', 'requests', 'resources']) {
    registry.removeSingleMetric(`nodejs_active_${kind}_total`);
  }
  const registers = [registry];
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
      registers,
      collect() {
        this.reset();
        fill(this);
      },
    });
  };
  const counter = (
    name: string,
    help: string,
    labelNames: string[],
    fill: (metric: Counter) => void,
  ): void => {
    new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        // The room below keeps the count; this one only shows it.
        this.reset();
        fill(this);
      },
    });
  };

  gauge('ashlar_build_info', 'Always 1; the version is a label', ['version'], (metric) => {
    metric.set({ version: source.version }, 1);
  });

  for (const metric of [...volumeMetrics(source), ...useMetrics(source)]) {
    registry.registerMetric(metric);
  }

  const pool = ['pool'];
  const byPool =
    (value: (sample: PoolSample) => number) =>
    (metric: Gauge | Counter): void => {
      for (const sample of source.pools()) metric.inc({ pool: sample.pool }, value(sample));
    };
  gauge('ashlar_pool_state', '1 for the state that the pool is in', ['pool', 'state'], (metric) => {
    for (const sample of source.pools()) {
      for (const state of POOL_STATES) {
        metric.set({ pool: sample.pool, state }, state === sample.state ? 1 : 0);
      }
    }
  });
  gauge(
    'ashlar_pool_backend',
    '1 for the way in which its devices are reached',
    ['pool', 'backend'],
    (metric) => {
      for (const { pool, backend } of source.pools()) metric.set({ pool, backend }, 1);
    },
  );
  gauge(
    'ashlar_pool_size_bytes',
    'Size of the medium',
    pool,
    byPool((p) => p.sizeBytes),
  );
  gauge(
    'ashlar_pool_usable_bytes',
    'What data can take',
    pool,
    byPool((p) => p.usableBytes),
  );
  gauge(
    'ashlar_pool_allocated_bytes',
    'Data and metadata',
    pool,
    byPool((p) => p.allocatedBytes),
  );
  gauge(
    'ashlar_pool_free_bytes',
    'What is left',
    pool,
    byPool((p) => p.freeBytes),
  );
  gauge(
    'ashlar_pool_metadata_bytes',
    'Maps and their like',
    pool,
    byPool((p) => p.metadataBytes),
  );
  counter(
    'ashlar_pool_checkpoints_total',
    'Checkpoints since open',
    pool,
    byPool((p) => p.checkpoints),
  );
  counter(
    'ashlar_pool_checksum_errors_total',
    'Blocks that failed their checksum',
    pool,
    byPool((p) => p.checksumErrors),
  );
  counter(
    'ashlar_pool_io_errors_total',
    'Errors of the medium',
    pool,
    byPool((p) => p.ioErrors),
  );

  gauge('ashlar_sessions', 'iSCSI sessions by target', ['target', 'type'], (metric) => {
    for (const { target, type } of source.sessions()) metric.inc({ target, type });
  });
  gauge('ashlar_buffer_bytes', 'Arena for data in flight', ['state'], (metric) => {
    const { totalBytes, freeBytes } = source.buffers();
    metric.set({ state: 'free' }, freeBytes);
    metric.set({ state: 'used' }, totalBytes - freeBytes);
  });
  return registry;
}
