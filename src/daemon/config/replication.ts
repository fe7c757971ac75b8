// The `replication` section: where replicas are served and how coordinators treat them.
import { readFileSync } from 'node:fs';
import {
  type CoordinatorConfig,
  DEFAULT_COORDINATOR_CONFIG,
  ReadPolicy,
  SyncPolicy,
} from '../../volume/coordinator/interfaces.ts';
import { FollowedCertificates } from '../certificates.ts';

export interface ReplicationConfig {
  /** Where this node's replicas are reached; null: nowhere. */
  readonly listen: { readonly host: string; readonly port: number } | null;
  readonly secret: Uint8Array | null;
  readonly tls: FollowedCertificates | null;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly timeouts: {
    readonly handshakeMs: number;
    readonly pingIntervalMs: number;
    readonly silenceMs: number;
  };
  readonly coordinator: CoordinatorConfig;
}

/** What the section's keys read into. */
export interface ReplicationValues {
  readonly listen: { readonly host: string; readonly port: number } | null;
  readonly secretFile: string | null;
  readonly insecure: boolean;
  readonly tls: {
    readonly certFile: string | null;
    readonly keyFile: string | null;
    readonly caFile: string | null;
  };
  readonly maxConnections: number;
  readonly sync: string;
  readonly read: string;
  readonly timeouts: {
    readonly connect: number;
    readonly handshake: number;
    readonly ping: number;
    readonly silence: number;
    readonly lease: number;
    readonly heartbeat: number;
    readonly promiseWait: number;
    readonly record: number;
    readonly lag: number;
    readonly hold: number;
    readonly hedge: number;
  };
  readonly lagBytes: number;
  readonly rebuild: { readonly window: number; readonly bytesPerSecond: number };
}

export const SYNC_POLICIES: Readonly<Record<string, SyncPolicy>> = {
  quorum: SyncPolicy.Quorum,
  all: SyncPolicy.All,
};
export const READ_POLICIES: Readonly<Record<string, ReadPolicy>> = {
  localFirst: ReadPolicy.LocalFirst,
  leastOutstanding: ReadPolicy.LeastOutstanding,
  roundRobin: ReadPolicy.RoundRobin,
};

const MIN_SECRET_BYTES = 16;

export function composeReplication(
  values: ReplicationValues,
  resolvePath: (path: string) => string,
  isLoopback: (host: string) => boolean,
  wrong: (path: string, message: string) => void,
): ReplicationConfig {
  const read = (key: string, path: string): Buffer | null => {
    try {
      return readFileSync(resolvePath(path));
    } catch (error) {
      wrong(key, `cannot be read: ${(error as Error).message}`);
      return null;
    }
  };
  let secret: Uint8Array | null = null;
  if (values.secretFile !== null) {
    const text = read('replication.secretFile', values.secretFile);
    if (text !== null) {
      secret = Buffer.from(text.toString('utf8').trim());
      if (secret.length < MIN_SECRET_BYTES) {
        wrong(
          'replication.secretFile',
          `holds a secret of ${secret.length} bytes; use at least ${MIN_SECRET_BYTES}: openssl rand -hex 32`,
        );
      }
    }
  }
  const { certFile, keyFile, caFile } = values.tls;
  let tls: FollowedCertificates | null = null;
  if (certFile !== null && keyFile !== null && caFile !== null) {
    const [cert, key, ca] = [
      read('replication.tls.certFile', certFile),
      read('replication.tls.keyFile', keyFile),
      read('replication.tls.caFile', caFile),
    ];
    if (cert !== null && key !== null && ca !== null) {
      tls = new FollowedCertificates({
        certFile: resolvePath(certFile),
        keyFile: resolvePath(keyFile),
        caFile: resolvePath(caFile),
      });
    }
  } else if (certFile !== null || keyFile !== null || caFile !== null) {
    wrong('replication.tls', 'needs certFile, keyFile and caFile: both sides show a certificate');
  }
  const { listen, timeouts } = values;
  if (
    listen !== null &&
    !isLoopback(listen.host) &&
    !values.insecure &&
    secret === null &&
    tls === null
  ) {
    wrong(
      'replication.listen',
      `${listen.host} is not a loopback address; set replication.tls or replication.secretFile, or say replication.insecure: true and guard the network yourself`,
    );
  }
  if (timeouts.heartbeat * 3 > timeouts.lease) {
    wrong(
      'replication.timeouts.heartbeat',
      'must be at most a third of replication.timeouts.lease',
    );
  }
  if (timeouts.ping * 2 > timeouts.silence) {
    wrong('replication.timeouts.ping', 'must be at most half of replication.timeouts.silence');
  }
  return {
    listen,
    secret,
    tls,
    maxConnections: values.maxConnections,
    connectTimeoutMs: timeouts.connect,
    timeouts: {
      handshakeMs: timeouts.handshake,
      pingIntervalMs: timeouts.ping,
      silenceMs: timeouts.silence,
    },
    coordinator: {
      ...DEFAULT_COORDINATOR_CONFIG,
      syncPolicy: SYNC_POLICIES[values.sync]!,
      readPolicy: READ_POLICIES[values.read]!,
      leaseMs: timeouts.lease,
      heartbeatMs: timeouts.heartbeat,
      promiseWaitMs: timeouts.promiseWait,
      recordTimeoutMs: timeouts.record,
      lagMs: timeouts.lag,
      lagBytes: values.lagBytes,
      holdMs: timeouts.hold,
      hedgeMs: timeouts.hedge,
      rebuildWindowBytes: values.rebuild.window,
      rebuildBytesPerSecond:
        values.rebuild.bytesPerSecond === 0
          ? Number.POSITIVE_INFINITY
          : values.rebuild.bytesPerSecond,
    },
  };
}
