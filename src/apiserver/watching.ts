// A watch with selectors over a backend's changes: an object that begins to match is ADDED, one that ceases to is
// DELETED.
import { type Backend, type BackendWatch, EVERYTHING, withVersion } from './backend.ts';
import type { ProgressingWatch, WatchEvent, WatchRequest, WatchSink } from './client.ts';
import { assertReached } from './listing.ts';
import type { KubeObject } from './meta.ts';
import type { Matcher } from './selectors.ts';

export interface Watching<T extends KubeObject> {
  readonly backend: Backend;
  /** Null: of all. */
  readonly namespace: string | null;
  readonly matches: Matcher;
  readonly present: (object: KubeObject) => T;
}

export function watchBackend<T extends KubeObject>(
  { backend, namespace, matches, present }: Watching<T>,
  { resourceVersion = '', initialEvents }: WatchRequest,
  sink: WatchSink<T>,
): ProgressingWatch {
  let closed = false;
  let inner: BackendWatch | null = null;
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
      },
      onEnd: end,
    });
  };
  /** `isTold`: what there is comes first. */
  const begin = async (isTold: boolean): Promise<void> => {
    const page = await backend.list(namespace, isTold ? EVERYTHING : { ...EVERYTHING, limit: 1 });
    if (closed) return;
    assertReached(resourceVersion, page.resourceVersion);
    if (isTold) {
      const events = page.items
        .filter((object) => matches(object))
        .map((object): WatchEvent<T> => ({ type: 'ADDED', object: present(object) }));
      if (events.length > 0) sink.onEvents(events);
      if (closed) return;
      sink.onInitialEnd?.(page.resourceVersion);
    }
    if (!closed) follow(page.resourceVersion);
  };
  const isFromNow = resourceVersion === '' || resourceVersion === '0';
  if (initialEvents ?? isFromNow) begin(true).catch(end);
  else if (isFromNow) begin(false).catch(end);
  else follow(resourceVersion);
  return {
    progress: () => inner?.progress() ?? null,
    close: () => {
      closed = true;
      inner?.close();
    },
  };
}
