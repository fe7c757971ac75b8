// Kinds that show objects of another kind in other words: OpenEBS' pools, volumes, replicas and devices are ours, looked
// at when they are read. So they are never behind, and cost nothing to keep.
import { type KubeObject, StoreBackend } from '../apiserver/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import type { BlockDevice, Volume } from './ashlar.ts';
import { BLOCK_DEVICE, VOLUME } from './ashlar.ts';
import { SERVICE } from './core.ts';
import { CORE_NODE } from './core-node.ts';
import { CoreNodeView } from './core-node-view.ts';
import {
  CSTOR_POOL,
  CSTOR_VOLUME,
  CSTOR_VOLUME_REPLICA,
  JIVA_VOLUME,
  OPENEBS_BLOCK_DEVICE,
} from './openebs.ts';
import { POOL, type Pool } from './pool.ts';
import { REPLICA, type Replica } from './replica.ts';
import {
  asBlockDevice,
  asCStorPool,
  asCStorReplica,
  asCStorVolume,
  asJivaVolume,
  asService,
} from './translate.ts';
import { type Translate, ViewBackend } from './view-backend.ts';

/** Those kinds with where their objects come from. */
export function viewKinds(store: ObjectStore, namespace: string) {
  const view = <T extends KubeObject>(
    kind: { group: string; kind: string; plural: string },
    where: string | null,
    translate: Translate<T>,
  ) => new ViewBackend<T>(new StoreBackend(store, kind), where, translate);
  return [
    { ...CORE_NODE, backend: new CoreNodeView(store, namespace) },
    { ...CSTOR_POOL, backend: view<Pool>(POOL, null, asCStorPool) },
    {
      ...CSTOR_VOLUME,
      backend: view<Volume>(VOLUME, namespace, (volume) => asCStorVolume(volume, namespace)),
    },
    {
      ...CSTOR_VOLUME_REPLICA,
      backend: view<Replica>(REPLICA, namespace, (replica) => asCStorReplica(replica, namespace)),
    },
    {
      ...SERVICE,
      backend: view<Volume>(VOLUME, namespace, (volume) => asService(volume, namespace)),
    },
    {
      ...OPENEBS_BLOCK_DEVICE,
      backend: view<BlockDevice>(BLOCK_DEVICE, namespace, (device) =>
        asBlockDevice(device, namespace),
      ),
    },
    {
      ...JIVA_VOLUME,
      backend: view<Volume>(VOLUME, namespace, (volume) => asJivaVolume(volume, namespace)),
    },
  ];
}
