// Whether a volume has a volatile write cache (C9), as its record says.
import type { VolumeRecord } from '../../wire/record.ts';

/** The blob that says it: one byte, 0 when it has none. */
export const WRITE_CACHE_BLOB = 'volume.writeCache';

/** Hot: asked with every change. */
export function isWriteCacheOff({ blobs }: VolumeRecord): boolean {
  for (let at = 0; at < blobs.length; at += 1) {
    const { key, value } = blobs[at]!;
    if (key === WRITE_CACHE_BLOB) return value[0] === 0;
  }
  return false;
}
