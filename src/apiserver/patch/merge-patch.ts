// JSON merge patch, RFC 7386: null removes, objects merge, everything else replaces.
import { isObject } from '../structure.ts';

/** Neither argument is changed. Depth is bounded by the request's. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged = new Map<string, unknown>(isObject(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else merged.set(key, mergePatch(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}
