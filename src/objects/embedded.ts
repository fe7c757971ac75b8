// The embedded store of one node: LevelDB (classic-level) below, everything in memory above it. LevelDB's log is
// written and flushed once a batch; its own checksums tell a torn tail from damage.
//
//   o/KEY     {"r": revision, "v": value}
//   m/format  {"version": 1}
//   m/revision  the highest revision ever given
//
// After an error of the medium LevelDB itself refuses every later write, and so do we: nothing is tried twice.
import { ClassicLevel } from 'classic-level';
import { makeFolder } from './folders.ts';
import { type Change, type Journal, MemoryObjectStore } from './memory.ts';
import { type Entry, type Json, type ObjectStore, ObjectStoreError } from './types.ts';

const FORMAT_VERSION = 1;

/** Opens the store in `folder`, making it where there is none. One process at a time: LevelDB holds a lock. */
export async function openEmbeddedStore(folder: string): Promise<ObjectStore> {
  // Secrets are among the objects.
  try {
    await makeFolder(folder);
  } catch (cause) {
    const { message } = cause as Error;
    throw new ObjectStoreError('OBJECTS_UNAVAILABLE', `${folder} cannot be made: ${message}`, {
      cause,
    });
  }
  const level = new ClassicLevel<string, string>(folder, { valueEncoding: 'utf8' });
  try {
    await level.open();
  } catch (cause) {
    throw openError(folder, cause);
  }
  try {
    const contents = await load(level, folder);
    return new MemoryObjectStore(new LevelJournal(level), contents);
  } catch (error) {
    await level.close();
    throw error;
  }
}

class LevelJournal implements Journal {
  readonly #level: ClassicLevel<string, string>;

  constructor(level: ClassicLevel<string, string>) {
    this.#level = level;
  }

  async commit(changes: readonly Change[]): Promise<void> {
    const batch = changes.map(({ key, text, revision }) =>
      text === null
        ? ({ type: 'del', key: `o/${key}` } as const)
        : ({ type: 'put', key: `o/${key}`, value: `{"r":${revision},"v":${text}}` } as const),
    );
    const last = changes.at(-1)!.revision;
    await this.#level.batch([...batch, { type: 'put', key: 'm/revision', value: String(last) }], {
      sync: true,
    });
  }

  async close(): Promise<void> {
    await this.#level.close();
  }
}

async function load(level: ClassicLevel<string, string>, folder: string) {
  const format = await level.get('m/format');
  if (format === undefined) {
    await level.put('m/format', JSON.stringify({ version: FORMAT_VERSION }), { sync: true });
  } else if ((JSON.parse(format) as { version: unknown }).version !== FORMAT_VERSION) {
    throw new ObjectStoreError(
      'OBJECTS_CORRUPT',
      `${folder} is of format ${format}, which this program does not know: a newer ashlar wrote it`,
    );
  }
  let revision = Number((await level.get('m/revision')) ?? 0);
  const entries: Entry[] = [];
  try {
    for await (const [key, text] of level.iterator({ gt: 'o/', lt: 'o0' })) {
      const { r, v } = JSON.parse(text) as { r: number; v: Json };
      entries.push({ key: key.slice(2), value: v, revision: r });
      revision = Math.max(revision, r);
    }
  } catch (cause) {
    throw new ObjectStoreError(
      'OBJECTS_CORRUPT',
      `${folder} is damaged: ${(cause as Error).message}; restore it from an export (docs/operations.md)`,
      { cause },
    );
  }
  return { entries, revision };
}

function openError(folder: string, cause: unknown): ObjectStoreError {
  const { code, message } = (cause as { cause?: { code?: string; message: string } }).cause ?? {
    message: String(cause),
  };
  if (code === 'LEVEL_LOCKED') {
    return new ObjectStoreError(
      'OBJECTS_UNAVAILABLE',
      `${folder} is in use by another ashlar; stop that, or choose another --data`,
      { cause },
    );
  }
  const kind = code === 'LEVEL_CORRUPTION' ? 'OBJECTS_CORRUPT' : 'OBJECTS_UNAVAILABLE';
  return new ObjectStoreError(kind, `${folder} cannot be opened: ${message}`, { cause });
}
