// Opens the store in etcd. What speaks gRPC is loaded only where it is used: commands start faster without it.
import type { EtcdOptions } from './etcd.ts';
import type { ObjectStore } from './types.ts';

/** Resolves when etcd has answered once. Rejects with OBJECTS_UNAVAILABLE where none of the endpoints does. */
export async function openEtcdStore(options: EtcdOptions): Promise<ObjectStore> {
  const { EtcdObjectStore } = await import('./etcd.ts');
  const store = new EtcdObjectStore(options);
  try {
    await store.revision();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}
