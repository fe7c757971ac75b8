// Objects out of the store that a configuration names, and into one: how a cluster moves from an embedded store to etcd and
// back. The programs that use the store are stopped meanwhile: an embedded store cannot be opened twice, and what changes
// during an export ends it.
import { exportObjects, importObjects } from '../objects/index.ts';
import { loadConfig } from './config/index.ts';
import { openObjects } from './objects.ts';

/** Lines, without their ends. */
export async function* exportConfigured(config: string): AsyncGenerator<string> {
  const store = await openObjects(loadConfig({ config }).config);
  try {
    yield* exportObjects(store);
  } finally {
    await store.close();
  }
}

/** How many objects those were. */
export async function importConfigured(config: string, lines: Iterable<string>): Promise<number> {
  const store = await openObjects(loadConfig({ config }).config);
  try {
    return await importObjects(store, lines);
  } finally {
    await store.close();
  }
}
