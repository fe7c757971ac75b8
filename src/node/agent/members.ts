// Replicas as their coordinator knows them: short names that are never used again.
import { type Catalog, isDeleting, REPLICAS_OF_VOLUME } from '../../controllers/index.ts';
import type { Replica } from '../../kinds/index.ts';

/** Those that a volume is to have, in the order of their names. */
export function replicasOf(catalog: Catalog, volumeName: string): Replica[] {
  return catalog
    .where(REPLICAS_OF_VOLUME, volumeName)
    .filter((replica) => !isDeleting(replica))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

/** A replica that is made anew under the same name is another one: it begins empty. */
export function memberIdOf({ metadata }: Replica): string {
  return `r-${metadata.uid}`;
}

/** Of a volume with one copy: this is its own store, and not one of its name from before its node was deleted. */
export function isStoreOf(replica: Replica, store: { readonly id: string }): boolean {
  return store.id === (replica.status?.storeId ?? replica.metadata.uid);
}

/** How a coordinator's word for a member is told to people. */
export const PHASES: Readonly<Record<string, string>> = {
  InSync: 'Healthy',
  Joining: 'Rebuilding',
  Stale: 'Degraded',
  Witness: 'Healthy',
  Blank: 'Pending',
  Unknown: 'Offline',
};
