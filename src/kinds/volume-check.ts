// What is wrong with a volume, or with a policy of volumes, that the schema alone does not see.

import type { StatusCause } from '../apiserver/index.ts';
import { formatQuantity, parseQuantity } from '../base/index.ts';
import { type ForeignFields, type Program, refuseForeign } from './foreign.ts';

const MIN_VOLUME_BYTES = 1024 * 1024;
/** 4 PiB: every byte offset stays an exact number. */
const MAX_VOLUME_BYTES = 4 * 2 ** 50;
export const MAX_REPLICAS = 5;
/** Sixty-four pages of a map: with less, a volume would push out what it is just using. */
export const MIN_CACHE_BYTES = 256 * 1024;
export const MAX_IO_WORKERS = 64;
const INITIATOR_NAME =
  /^(iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(:[^\s\p{Cc},]+)?|eui\.[0-9a-f]{16}|naa\.[0-9a-f]{16}([0-9a-f]{16})?)$/iu;

interface PolicyLike {
  readonly replicaCount?: number;
  readonly witness?: boolean;
  readonly minimumReplicas?: number;
  readonly initiators?: readonly string[];
  readonly cacheSize?: string | number;
  readonly ioWorkers?: number;
  readonly limits?: {
    readonly iops?: number;
    readonly iopsBurst?: number;
    readonly bandwidth?: string | number;
    readonly bandwidthBurst?: string | number;
    readonly queueDepth?: number;
  };
  readonly timeouts?: {
    readonly holdSeconds?: number;
    readonly ioSeconds?: number;
    readonly hedgeMilliseconds?: number;
  };
}

interface VolumeLike extends PolicyLike {
  readonly size: string | number;
  readonly blockSize?: number;
  readonly source?: { readonly snapshot?: string; readonly volume?: string };
  readonly casType?: string;
  readonly policy?: string;
}

/** A quantity as bytes, or null. A bare number is bytes. */
export function quantityBytes(value: string | number | undefined): number | null {
  return value === undefined ? null : parseQuantity(String(value));
}

export function checkPolicy(policy: PolicyLike, path: string): StatusCause[] {
  const causes: StatusCause[] = [];
  const bad = (field: string, message: string): void => {
    causes.push({ reason: 'FieldValueInvalid', field: `${path}.${field}`, message });
  };
  const whole = (field: string, value: number | undefined, least: number, most: number): void => {
    if (value === undefined || (value >= least && value <= most)) return;
    bad(field, `${value} is out of range; use ${least} to ${most}`);
  };
  const bytes = (field: string, value: string | number | undefined, least: number): void => {
    if (value === undefined) return;
    const parsed = quantityBytes(value);
    if (parsed === null) bad(field, `'${value}' is not a quantity; write it like 100Mi`);
    else if (parsed < least) bad(field, `${value} is too small; the least is ${least} bytes`);
  };
  whole('replicaCount', policy.replicaCount, 1, MAX_REPLICAS);
  whole('minimumReplicas', policy.minimumReplicas, 1, policy.replicaCount ?? MAX_REPLICAS);
  if (policy.witness === true && (policy.replicaCount ?? 2) !== 2) {
    bad('witness', `goes with replicaCount 2, and that is ${policy.replicaCount}; leave one out`);
  }
  const { limits } = policy;
  whole('limits.iops', limits?.iops, 10, 10_000_000);
  if (limits?.iopsBurst !== undefined && limits.iops === undefined) {
    bad('limits.iopsBurst', `needs ${path}.limits.iops`);
  } else whole('limits.iopsBurst', limits?.iopsBurst, 1, (limits?.iops ?? 0) * 600);
  whole('limits.queueDepth', limits?.queueDepth, 1, 4096);
  bytes('limits.bandwidth', limits?.bandwidth, 65_536);
  bytes('limits.bandwidthBurst', limits?.bandwidthBurst, 4096);
  if (limits?.bandwidthBurst !== undefined && limits.bandwidth === undefined) {
    bad('limits.bandwidthBurst', `needs ${path}.limits.bandwidth`);
  }
  bytes('cacheSize', policy.cacheSize, MIN_CACHE_BYTES);
  whole('ioWorkers', policy.ioWorkers, 0, MAX_IO_WORKERS);
  const { timeouts } = policy;
  whole('timeouts.holdSeconds', timeouts?.holdSeconds, 1, 600);
  // Far inside the 30 s after which Linux gives a command up.
  whole('timeouts.ioSeconds', timeouts?.ioSeconds, 1, 25);
  whole('timeouts.hedgeMilliseconds', timeouts?.hedgeMilliseconds, 0, 10_000);
  (policy.initiators ?? []).forEach((name, index) => {
    if (!INITIATOR_NAME.test(name)) {
      bad(
        `initiators[${index}]`,
        `'${name}' is not an initiator name like iqn.1993-08.org.debian:01:abc`,
      );
    }
  });
  return causes;
}

const FOREIGN: ForeignFields = {
  node: {
    pool: 'name a claim of pools in spec.storagePoolClaim',
    chap: 'name a Secret of type kubernetes.io/iscsi-chap in spec.chapSecret',
    mutualChap: 'name a Secret of type kubernetes.io/iscsi-chap in spec.chapSecret',
    snapshots: 'make VolumeSnapshots, or Snapshots of ashlar.io',
    witnessNode: 'say witness: true; a node for it is found by the control plane',
    replicaNodes: 'say how many in spec.replicaCount; nodes are found by the control plane',
  },
  serve: {
    replicaCount: 'name the nodes in spec.replicaNodes',
    witness: 'name its node in spec.witnessNode',
    minimumReplicas: 'name the nodes in spec.replicaNodes',
    replicaPlacement: 'name the nodes in spec.replicaNodes',
    syncPolicy: 'set replication.sync in the configuration',
    readPolicy: 'set replication.read in the configuration',
    timeouts: 'set replication.timeouts in the configuration',
    chapSecret: 'give user and secret in spec.chap',
    storagePoolClaim: 'name a pool in spec.pool',
    casType: 'name a pool in spec.pool',
    policy: 'say it of the volume itself',
    claimRef: 'there are no claims',
    rollback: 'use the action volumes/NAME/rollback',
  },
};
/** Fields of the common declaration that this program does not serve. */
export function foreignFields(spec: object, program: Program): StatusCause[] {
  return refuseForeign(spec, FOREIGN, program);
}

export function checkVolumeSpec(spec: VolumeLike, before: VolumeLike | null): StatusCause[] {
  const causes = checkPolicy(spec, 'spec');
  const bad = (field: string, message: string): void => {
    causes.push({ reason: 'FieldValueInvalid', field, message });
  };
  const sizeBytes = quantityBytes(spec.size);
  if (sizeBytes === null) bad('spec.size', `'${spec.size}' is not a quantity; write it like 5Gi`);
  else if (sizeBytes < MIN_VOLUME_BYTES) {
    bad('spec.size', `${spec.size} is too small; the least is ${formatQuantity(MIN_VOLUME_BYTES)}`);
  } else if (sizeBytes > MAX_VOLUME_BYTES) {
    bad('spec.size', `${spec.size} is too large; the most is ${formatQuantity(MAX_VOLUME_BYTES)}`);
  }
  if (spec.blockSize !== undefined && spec.blockSize !== 512 && spec.blockSize !== 4096) {
    bad('spec.blockSize', `${spec.blockSize} is not a block size; use 512 or 4096`);
  }
  if (spec.witness === true && spec.replicaCount === undefined && spec.policy === undefined) {
    bad('spec.witness', 'goes with replicaCount 2; say that, too');
  }
  const { source } = spec;
  if (source !== undefined && (source.snapshot === undefined) === (source.volume === undefined)) {
    bad('spec.source', 'names either a snapshot or a volume');
  }
  if (before === null) return causes;
  const beforeBytes = quantityBytes(before.size) ?? 0;
  if (sizeBytes !== null && sizeBytes < beforeBytes) {
    bad(
      'spec.size',
      `${spec.size} is less than the volume has (${before.size}); a volume only grows`,
    );
  }
  for (const field of ['blockSize', 'source', 'casType'] as const) {
    if (JSON.stringify(spec[field] ?? null) !== JSON.stringify(before[field] ?? null)) {
      bad(`spec.${field}`, 'is fixed at creation; make another volume');
    }
  }
  return causes;
}
