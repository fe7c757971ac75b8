// The objects of the control plane, kept: one small interface, in memory, in an embedded store, in etcd. Knows keys,
// documents and revisions; what the documents mean is the API server's business.
export { clusterId } from './cluster-id.ts';
export { openEmbeddedStore } from './embedded.ts';
export type { EtcdOptions } from './etcd.ts';
export { makeFolder, makeFolderNow } from './folders.ts';
export { type Change, type Contents, type Journal, MemoryObjectStore } from './memory.ts';
export { openEtcdStore } from './open-etcd.ts';
export { exportObjects, importObjects } from './transfer.ts';
export {
  type Entry,
  type EntryList,
  type Json,
  type ListOptions,
  MAX_VALUE_BYTES,
  type ObjectStore,
  ObjectStoreError,
  type ObjectStoreErrorCode,
  type StoreEvent,
  type Watch,
  type WatchListener,
} from './types.ts';
