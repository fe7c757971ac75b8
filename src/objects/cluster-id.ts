// Which cluster it is. Two may call their nodes alike, and reach the same devices.
import { randomUUID } from 'node:crypto';
import { type ObjectStore, ObjectStoreError } from './types.ts';

const KEY = '/cluster';

/** Made by the first node that asks, kept with the objects, and moved with them. Rejects with ObjectStoreError. */
export async function clusterId(store: ObjectStore): Promise<string> {
  for (;;) {
    const found = await store.get(KEY);
    const id = found?.value['id'];
    if (typeof id === 'string' && id !== '') return id;
    try {
      await store.put(KEY, { id: randomUUID() }, found?.revision ?? 0);
    } catch (error) {
      // Another node was faster.
      if (!(error instanceof ObjectStoreError) || error.code !== 'OBJECTS_CONFLICT') throw error;
    }
  }
}
