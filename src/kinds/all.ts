import type { KindDefinition } from '../apiserver/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { BLOCK_DEVICE, NODE, VOLUME, VOLUME_POLICY } from './ashlar.ts';
import { POD, SECRET } from './core.ts';
import { OPENEBS_NAMESPACE, STORAGE_POOL_CLAIM } from './openebs.ts';
import { POOL } from './pool.ts';
import { REPLICA } from './replica.ts';
import { SNAPSHOT } from './snapshot.ts';
import {
  EXTERNAL_SNAPSHOT,
  EXTERNAL_SNAPSHOT_DATA,
  VOLUME_SNAPSHOT,
  VOLUME_SNAPSHOT_CLASS,
  VOLUME_SNAPSHOT_CONTENT,
} from './snapshots.ts';
import { CLAIM, PERSISTENT_VOLUME, STORAGE_CLASS } from './storage.ts';
import { viewKinds } from './views.ts';

/**
 * In the order in which discovery names them. Where two groups have a plural in common, kubectl takes the first:
 * `get blockdevice -n openebs` means OpenEBS' kind, and a VolumeSnapshot without a group the external-storage one.
 */
export function allKinds(store: ObjectStore): readonly KindDefinition[] {
  return [
    POD,
    CLAIM,
    PERSISTENT_VOLUME,
    SECRET,
    STORAGE_POOL_CLAIM,
    ...viewKinds(store, OPENEBS_NAMESPACE),
    STORAGE_CLASS,
    EXTERNAL_SNAPSHOT,
    EXTERNAL_SNAPSHOT_DATA,
    VOLUME_SNAPSHOT,
    VOLUME_SNAPSHOT_CLASS,
    VOLUME_SNAPSHOT_CONTENT,
    NODE,
    BLOCK_DEVICE,
    POOL,
    VOLUME,
    REPLICA,
    SNAPSHOT,
    VOLUME_POLICY,
  ] as unknown as readonly KindDefinition[];
}
