// Which pool a new volume goes to.
import { invalid, type StatusCause } from './errors.ts';
import type { HostedVolumes, Place } from './hosted-volumes.ts';
import type { VolumeManifest } from './schemas.ts';
import type { WantedVolume } from './volume-manifest.ts';

/** What is wrong with the pool that a new volume names. */
export function poolFaults(table: HostedVolumes, { spec }: VolumeManifest): readonly StatusCause[] {
  const { pool } = spec;
  if (pool === undefined || table.place(pool) !== undefined) return [];
  const message = `there is no pool '${pool.slice(0, 80)}' that serves; there ${table.placeNames.length > 1 ? 'are' : 'is'} ${table.placeNames.join(', ')}`;
  return [{ reason: 'FieldValueNotFound', field: 'spec.pool', message }];
}

/** Where a new volume goes: where it says, else where what it begins as is, else the daemon's own pool. */
export function placeOf(
  table: HostedVolumes,
  { metadata, spec }: VolumeManifest,
  wanted: WantedVolume,
): Place {
  const source = wanted.source ?? null;
  const origin = source === null ? undefined : table.get(source.split('@')[0]!);
  const shares = origin !== undefined && origin.replicated === null;
  const place =
    spec.pool === undefined
      ? shares
        ? origin.place
        : table.own
      : (table.place(spec.pool) ?? table.own);
  if (shares && origin.place !== place) {
    const message = `${source} is in pool ${origin.place.name}: what begins as a snapshot shares its blocks, and is in its pool`;
    throw invalid('Volume', metadata.name ?? '', [
      { reason: 'FieldValueInvalid', field: 'spec.pool', message },
    ]);
  }
  return place;
}
