// A snapshot that somebody deletes while volumes are being made from it: it stays until they have what it holds. They would
// wait for ever otherwise, in part made of what is gone.
import type { Snapshot } from '../kinds/index.ts';
import type { Catalog } from './catalog.ts';
import { isDeleting } from './controller.ts';
import { VOLUMES_WITH_SOURCE } from './indexes.ts';

/** The name of a volume that has been given places and is not whole yet; null: there is none. */
export function restoreUnderWay(catalog: Catalog, { metadata }: Snapshot): string | null {
  const found = catalog
    .where(VOLUMES_WITH_SOURCE, 'yes')
    .find(
      (volume) =>
        volume.spec.source?.snapshot === metadata.name &&
        !isDeleting(volume) &&
        volume.status?.target !== undefined &&
        volume.status.made !== true &&
        volume.status.phase !== 'Ready',
    );
  return found?.metadata.name ?? null;
}
