// A watch with selectors over a backend's changes: an object that begins to match is ADDED, one that ceases to is
// DELETED.
import type { Backend } from './backend.ts';
import { withVersion } from './backend.ts';
import type { WatchEvent, WatchHandle, WatchSink } from './client.ts';
import type { KubeObject } from './meta.ts';
import type { Matcher } from './selectors.ts';

/** `resourceVersion`: '' or '0' for what there is first. */
export function watchBackend<T extends KubeObject>(
  backend: Backend,
  namespace: string | null,
  resourceVersion: string,
  matches: Matcher,
  present: (object: KubeObject) => T,
  sink: WatchSink<T>,
): WatchHandle {
  let closed = false;
  let inner: WatchHandle | null = null;
  const end = (error: Error): void => {
    if (closed) return;
    closed = true;
    inner?.close();
    sink.onEnd(error);
  };
  const follow = (from: string): void => {
    inner = backend.watch(namespace, from, {
      onEvents: (changes) => {
        if (closed) return;
        const events: WatchEvent<T>[] = [];
        for (const { before, after, resourceVersion: at } of changes) {
          const matched = before !== null && matches(before);
          const isMatch = after !== null && matches(after);
          if (isMatch) {
            events.push({ type: matched ? 'MODIFIED' : 'ADDED', object: present(after) });
          } else if (matched) {
            // The last state, with the version at which it went.
            events.push({ type: 'DELETED', object: present(withVersion(after ?? before, at)) });
          }
        }
        if (events.length > 0) sink.onEvents(events);
        const last = changes.at(-1);
        if (last !== undefined && !closed) sink.onBookmark?.(last.resourceVersion, false);
      },
      onEnd: end,
    });
  };
  const begin = async (): Promise<void> => {
    const page = await backend.list(namespace, null, null);
    if (closed) return;
    const events = page.items
      .filter((object) => matches(object))
      .map((object): WatchEvent<T> => ({ type: 'ADDED', object: present(object) }));
    if (events.length > 0) sink.onEvents(events);
    if (closed) return;
    sink.onBookmark?.(page.resourceVersion, true);
    follow(page.resourceVersion);
  };
  if (resourceVersion === '' || resourceVersion === '0') {
    begin().catch((error: unknown) =>
      end(error instanceof Error ? error : new Error(String(error))),
    );
  } else follow(resourceVersion);
  return {
    close: () => {
      closed = true;
      inner?.close();
    },
  };
}
