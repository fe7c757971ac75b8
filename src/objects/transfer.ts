// Moving objects from one store to another, through lines of JSON: a header, an entry a line, an end with their number.
import { type Json, type ObjectStore, ObjectStoreError } from './types.ts';

const FORMAT = 'ashlar-objects';
const PAGE = 500;

/** Everything in the store as it is now, a line at a time (without line ends). Changes meanwhile make it fail. */
export async function* exportObjects(store: ObjectStore): AsyncGenerator<string> {
  const revision = await store.revision();
  yield JSON.stringify({ format: FORMAT, version: 1, revision });
  let count = 0;
  for (let after: string | undefined; ; ) {
    const page = await store.list('', { limit: PAGE, ...(after === undefined ? {} : { after }) });
    if (page.revision !== revision) {
      throw new ObjectStoreError(
        'OBJECTS_CONFLICT',
        'objects changed during the export; stop what changes them and export again',
      );
    }
    for (const { key, value } of page.entries) {
      count += 1;
      yield JSON.stringify({ key, value });
    }
    after = page.entries.at(-1)?.key;
    if (!page.more || after === undefined) break;
  }
  yield JSON.stringify({ end: FORMAT, count });
}

/**
 * Fills an empty store with what `exportObjects` wrote; the value is how many objects that were. Revisions are given
 * anew. Refuses a store that has objects, and a text without its end, before anything is written.
 */
export async function importObjects(store: ObjectStore, lines: Iterable<string>): Promise<number> {
  const [header, ...rest] = [...lines].filter((line) => line.trim() !== '');
  const end = rest.pop();
  const { format, version } = parse(header, 1) as { format?: unknown; version?: unknown };
  if (format !== FORMAT || version !== 1) throw bad('line 1 is not the beginning of an export');
  const entries = rest.map((line, index) => {
    const { key, value } = parse(line, index + 2) as { key?: unknown; value?: unknown };
    if (typeof key !== 'string' || typeof value !== 'object' || value === null) {
      throw bad(`line ${index + 2} is not an entry`);
    }
    return { key, value: value as Json };
  });
  const closing = parse(end, rest.length + 2) as { end?: unknown; count?: unknown };
  if (closing.end !== FORMAT || closing.count !== entries.length) {
    throw bad('the export is cut short: its end is missing');
  }
  if ((await store.list('', { limit: 1 })).entries.length > 0) {
    throw new ObjectStoreError('OBJECTS_CONFLICT', 'the store to import into is not empty');
  }
  for (let at = 0; at < entries.length; at += PAGE) {
    const page = entries.slice(at, at + PAGE);
    await Promise.all(page.map(({ key, value }) => store.put(key, value, 0)));
  }
  return entries.length;
}

function parse(line: string | undefined, number: number): unknown {
  try {
    return JSON.parse(line ?? '');
  } catch {
    throw bad(`line ${number} is not JSON`);
  }
}

function bad(message: string): ObjectStoreError {
  return new ObjectStoreError('OBJECTS_CORRUPT', message);
}
