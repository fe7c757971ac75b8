// Opens where the control plane keeps its objects, as the configuration says.
import {
  type ObjectStore,
  ObjectStoreError,
  openEmbeddedStore,
  openEtcdStore,
} from '../objects/index.ts';
import type { Config } from './config/index.ts';
import { StartError } from './ports.ts';

export async function openObjects({ objects }: Config): Promise<ObjectStore> {
  try {
    if (objects.store === 'etcd') return await openEtcdStore(objects.etcd);
    return await openEmbeddedStore(objects.path);
  } catch (error) {
    if (!(error instanceof ObjectStoreError)) throw error;
    const where =
      objects.store === 'etcd' ? `etcd at ${objects.etcd.endpoints.join(', ')}` : objects.path;
    throw new StartError(`the objects in ${where} cannot be opened: ${error.message}`, {
      cause: error,
    });
  }
}
