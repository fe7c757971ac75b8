// What a map held before changes that were made to it since.

/**
 * `now`: what it holds. `since`: the changes in their order, each with what the key held before it, null for nothing.
 * A new map; the order of its keys is nobody's promise.
 */
export function asItWas<T>(
  now: ReadonlyMap<string, T>,
  since: Iterable<readonly [key: string, before: T | null]>,
): Map<string, T> {
  const then = new Map(now);
  const known = new Set<string>();
  for (const [key, before] of since) {
    // The first change says what there was; the later ones only what it became.
    if (known.has(key)) continue;
    known.add(key);
    if (before === null) then.delete(key);
    else then.set(key, before);
  }
  return then;
}
