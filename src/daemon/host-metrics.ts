// Metrics of the machine that a daemon needs: room for its objects, certificates that end, the time it is there.
import { X509Certificate } from 'node:crypto';
import { statfsSync } from 'node:fs';
import { type MetricsRegistry, shown } from '../metrics/index.ts';
import type { FollowedCertificates } from './certificates.ts';
import type { Config } from './config/index.ts';
import { deletedPoolFiles } from './deleted-files.ts';

export interface HostMetricsSource {
  readonly dataDir: string;
  /** By the key of the configuration that names them, in PEM. */
  readonly certificates: () => Readonly<Record<string, string>>;
}

/** Of a daemon: what it serves its API by, and what nodes know each other by. */
export function hostOf(config: Config, api: FollowedCertificates | null): HostMetricsSource {
  const { tls } = config.replication;
  return {
    dataDir: config.dataDir,
    certificates: () => ({
      ...(api === null ? {} : { 'api.tls.certFile': api.cert }),
      ...(tls === null
        ? {}
        : { 'replication.tls.certFile': tls.cert, 'replication.tls.caFile': tls.ca }),
    }),
  };
}

export function addHostMetrics(registry: MetricsRegistry, source: HostMetricsSource): void {
  const space = (of: 'bavail' | 'blocks') => () => {
    try {
      const found = statfsSync(source.dataDir);
      return [{ labels: {}, value: found[of] * found.bsize }];
    } catch {
      return []; // Nothing is better than a figure that is none.
    }
  };
  const free = 'Free space of the file system below dataDir';
  registry.registerMetric(shown('ashlar_data_dir_free_bytes', 'gauge', free, space('bavail')));
  const size = 'Size of the file system below dataDir';
  registry.registerMetric(shown('ashlar_data_dir_size_bytes', 'gauge', size, space('blocks')));
  const end =
    'When a certificate ends, in seconds since 1970; of a file of several the first to end';
  registry.registerMetric(
    shown('ashlar_certificate_expires_timestamp_seconds', 'gauge', end, () =>
      Object.entries(source.certificates()).flatMap(([key, pem]) => {
        const value = endOf(pem);
        return value === null ? [] : [{ labels: { key }, value }];
      }),
    ),
  );
  const deleted =
    'Open files of pools that were removed or replaced: what they hold ends with this process';
  registry.registerMetric(
    shown('ashlar_deleted_pool_files', 'gauge', deleted, () =>
      deletedPoolFiles().map(({ path }) => ({ labels: { path }, value: 1 })),
    ),
  );
  const clock = 'The time of this machine, in seconds since 1970';
  registry.registerMetric(
    shown('ashlar_clock_timestamp_seconds', 'gauge', clock, () => [
      { labels: {}, value: Date.now() / 1000 },
    ]),
  );
}

function endOf(pem: string): number | null {
  const ends = [...pem.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)].map(
    ([text]) => Date.parse(new X509Certificate(text).validTo) / 1000,
  );
  return ends.length === 0 ? null : Math.min(...ends);
}
