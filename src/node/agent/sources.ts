// What a replicated volume begins from: a snapshot of another replicated one, and in which pools replicas hold it. The
// replicas of the new volume in those pools are made as clones there; the others join later, and are rebuilt.
import { type Catalog, copySnapshotName } from '../../controllers/index.ts';
import { quantityBytes, REPLICA, SNAPSHOT, VOLUME, type Volume } from '../../kinds/index.ts';
import { STORE_BLOCK_BYTES } from '../../store/index.ts';
import { memberIdOf } from './members.ts';
import { cutIdOf } from './snapshot-groups.ts';

export interface ReplicatedSource {
  /** As its coordinator and its replicas call it. */
  readonly volumeId: string;
  readonly snapshotId: string;
  /** The member that holds it there, by pool. */
  readonly holders: ReadonlyMap<string, string>;
}

/** Null: it begins empty, or from a volume with one replica. */
export function replicatedSourceOf(
  catalog: Catalog,
  { metadata, spec }: Volume,
): ReplicatedSource | null {
  const { source } = spec;
  if (source === undefined) return null;
  const name = source.snapshot ?? copySnapshotName(metadata.uid);
  const snapshot = catalog.get(SNAPSHOT, name);
  const from = catalog.get(VOLUME, source.volume ?? snapshot?.spec.volumeName ?? '');
  if (snapshot === null || from?.status?.mode !== 'replicated') return null;
  const holders = new Map<string, string>();
  for (const replicaName of snapshot.status?.holders ?? []) {
    const replica = catalog.get(REPLICA, replicaName);
    if (replica !== null) holders.set(replica.spec.poolName, memberIdOf(replica));
  }
  return { volumeId: from.metadata.uid, snapshotId: cutIdOf(snapshot), holders };
}

/**
 * Blocks of a volume that is to be made: as many as are asked for, and never fewer than what it begins from had when it was
 * cut. That may have grown since somebody asked for the copy, and half a file system is none.
 */
export function blocksToMake(catalog: Catalog, { metadata, spec }: Volume): number {
  const { source } = spec;
  const name = source?.snapshot ?? (source === undefined ? '' : copySnapshotName(metadata.uid));
  const cutBytes = catalog.get(SNAPSHOT, name)?.status?.sizeBytes ?? 0;
  return Math.ceil(Math.max(quantityBytes(spec.size) ?? 0, cutBytes) / STORE_BLOCK_BYTES);
}
