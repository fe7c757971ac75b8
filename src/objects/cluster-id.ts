// Which cluster it is. Two may call their nodes alike, and reach the same devices.
import { randomUUID } from 'node:crypto';
import { type ObjectStore, ObjectStoreError } from './types.ts';

const KEY = '/cluster';
/** Where the API keeps it; it is there before any node has a pool. */
const DEFAULT_NAMESPACE = '/core/namespaces/-/default';

/**
 * Made by the first node that asks, kept with the objects, and moved with them. It is the uid of the default namespace, so
 * that objects that were saved before there were ids get the same one whenever they are restored, and pools know it.
 * Rejects with ObjectStoreError.
 */
export async function clusterId(store: ObjectStore): Promise<string> {
  for (;;) {
    const found = await store.get(KEY);
    const id = found?.value['id'];
    if (typeof id === 'string' && id !== '') return id;
    try {
      await store.put(KEY, { id: await freshId(store) }, found?.revision ?? 0);
    } catch (error) {
      // Another node was faster.
      if (!(error instanceof ObjectStoreError) || error.code !== 'OBJECTS_CONFLICT') throw error;
    }
  }
}

async function freshId(store: ObjectStore): Promise<string> {
  const metadata = (await store.get(DEFAULT_NAMESPACE))?.value['metadata'];
  const uid = (metadata as { uid?: unknown } | undefined)?.uid;
  return typeof uid === 'string' && uid !== '' ? uid : randomUUID();
}
