// Names that controllers give, and marks that they leave. Names follow from what they are for, so that one that is made
// twice is the same one.
import { createHash } from 'node:crypto';
import { POOL_FINALIZER } from '../kinds/index.ts';

/** Held by who must tear something real down first. */
export const Finalizer = {
  /** The claim controller: a claim's volume is not taken from under its hosts. */
  Claim: 'kubernetes.io/pvc-protection',
  /** The reclaim controller: the volume behind it. */
  PersistentVolume: 'ashlar.io/persistent-volume',
  /** The pool controller: pools and their devices. */
  PoolClaim: 'ashlar.io/pools',
  /** The pool's node: it is closed and its devices are wiped. */
  Pool: POOL_FINALIZER,
  /** The volume controller: target, replicas. */
  Volume: 'ashlar.io/volume',
  /** The replica's node: its data. */
  Replica: 'ashlar.io/replica',
  /** The coordinator's node: the snapshot in all replicas. */
  Snapshot: 'ashlar.io/snapshot',
  /** The snapshot controller: the snapshot behind it. */
  VolumeSnapshot: 'ashlar.io/volume-snapshot',
} as const;

export const Label = {
  PoolClaim: 'openebs.io/storage-pool-claim',
  Volume: 'openebs.io/persistent-volume',
  Claim: 'openebs.io/persistent-volume-claim',
  Pool: 'ashlar.io/pool',
  Node: 'ashlar.io/node',
  Zone: 'topology.kubernetes.io/zone',
} as const;

/** Why a volume is not served, though a node is at it: hosts cannot log in until there is a quorum of replicas. */
export const NO_QUORUM = 'NoQuorum';

/** Why a volume is not as it is wanted: it waits for places for replicas, or for a witness. */
export const REPLICAS_MISSING = 'ReplicasMissing';

/** A condition of a Volume, only while who keeps it is not who is wanted to, and cannot be made to. */
export const MEMBERS_AS_WANTED = 'MembersAsWanted';

export const JIVA_CLASS = 'openebs-jiva-default';

function hash(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}

/** `cstor-disk-pool-1f3a`: one a node. */
export function poolName(claim: string, nodeName: string): string {
  return `${claim.slice(0, 240)}-${hash(nodeName, 4)}`;
}

export function jivaPoolName(nodeName: string): string {
  return `jiva-${hash(nodeName, 8)}`;
}

/** As Kubernetes' provisioners name them. */
export function volumeName(claimUid: string): string {
  return `pvc-${claimUid}`;
}

export function replicaName(volume: string, pool: string): string {
  const name = `${volume}-${pool}`;
  return name.length <= 253 ? name : `${volume}-${hash(pool, 8)}`;
}

/** Another one than a replica's in the same pool: one may follow the other there. */
export function witnessName(volume: string, pool: string): string {
  return `${replicaName(volume, pool).slice(0, 245)}.witness`;
}

export function snapshotName(snapshotUid: string): string {
  return `snapshot-${snapshotUid}`;
}

/** The Snapshot of another volume of a group: `db.monday` has `log.monday` beside it. */
export function memberName(
  { metadata, spec }: { metadata: { name: string }; spec: { volumeName: string } },
  volume: string,
): string {
  const { name } = metadata;
  if (volume === spec.volumeName) return name;
  const prefix = `${spec.volumeName}.`;
  return name.startsWith(prefix) ? `${volume}.${name.slice(prefix.length)}` : `${name}.${volume}`;
}

/** Of the volume that another one is to begin as a copy of, while that is being made. */
export function copySnapshotName(volumeUid: string): string {
  return `copy-${volumeUid}`;
}
