// Makes, lists, reads and removes backups. A backup is a send stream: what the stream's own checks say of damage holds
// for it too; the parts' checksums besides say which object is bad.
import { createHash } from 'node:crypto';
import { Value } from 'typebox/value';
import type { StreamDescription } from '../stream/index.ts';
import { BackupError, BackupManifest, type BackupStore, MAX_PARTS, PART_BYTES } from './types.ts';

const MANIFEST = 'manifest.json';

export interface BackupOptions {
  readonly store: BackupStore;
  readonly description: StreamDescription;
  /** From sendStream. */
  readonly pieces: AsyncIterable<Uint8Array>;
  readonly now: () => Date;
  readonly onProgress?: (streamBytes: number) => void;
}

function folderOf(about: { volume: string; snapshot: string; snapshotId: string }): string {
  return `${about.volume}/${about.snapshot}.${about.snapshotId}`;
}

/**
 * Stores the stream. Idempotent by snapshot: one that is there is an error (BACKUP_EXISTS), parts that an interrupted
 * attempt left are written over. Rejects with BackupError, or as the stream does.
 */
export async function makeBackup(options: BackupOptions): Promise<BackupManifest> {
  const { store, description } = options;
  const folder = folderOf(description);
  if ((await store.list(`${folder}/${MANIFEST}`)).length > 0) {
    throw new BackupError('BACKUP_EXISTS', `${store.place} has a backup of ${folder} already`);
  }
  const parts: BackupManifest['parts'][number][] = [];
  let streamBytes = 0;
  for await (const bytes of inParts(options.pieces)) {
    if (parts.length === MAX_PARTS) {
      throw new BackupError('BACKUP_PLACE', `a backup has at most ${MAX_PARTS} parts`);
    }
    const name = `part-${String(parts.length).padStart(6, '0')}`;
    await store.put(`${folder}/${name}`, bytes);
    parts.push({ name, bytes: bytes.length, sha256: digest(bytes) });
    streamBytes += bytes.length;
    options.onProgress?.(streamBytes);
  }
  const { volume, volumeId, snapshot, snapshotId, from, sizeBlocks, logicalBlockBytes, createdAt } =
    description;
  const manifest: BackupManifest = {
    formatVersion: 1,
    volume,
    volumeId,
    snapshot,
    snapshotId,
    from: from === null ? null : { ...from },
    sizeBlocks,
    logicalBlockBytes: logicalBlockBytes === 512 ? 512 : 4096,
    createdAt,
    completedAt: options.now().toISOString(),
    streamBytes,
    parts,
  };
  await store.put(`${folder}/${MANIFEST}`, Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`));
  return manifest;
}

/** The finished backups of a volume, oldest first. Of all volumes without a name. */
export async function listBackups(store: BackupStore, volume?: string): Promise<BackupManifest[]> {
  const keys = await store.list(volume === undefined ? '' : `${volume}/`);
  const manifests: BackupManifest[] = [];
  for (const key of keys) {
    if (key.endsWith(`/${MANIFEST}`)) manifests.push(await readManifest(store, key));
  }
  return manifests.sort((a, b) => a.createdAt.localeCompare(b.createdAt));
}

/**
 * What must be received, in order, to have `snapshot` of `volume`: a full backup, then those on top of it. Rejects with
 * BACKUP_NOT_FOUND or BACKUP_CHAIN.
 */
export async function restoreChain(
  store: BackupStore,
  volume: string,
  snapshot: string,
): Promise<BackupManifest[]> {
  const all = await listBackups(store, volume);
  const named = all.filter((one) => one.snapshot === snapshot || one.snapshotId === snapshot);
  const last = named.at(-1);
  if (last === undefined) {
    const names = all.map((one) => one.snapshot).join(', ');
    throw new BackupError(
      'BACKUP_NOT_FOUND',
      `${store.place} has no backup of ${volume}@${snapshot}${names === '' ? '' : `; it has ${names}`}`,
    );
  }
  const chain = [last];
  for (let first = last; first.from !== null; ) {
    const { name, id } = first.from;
    const base = all.find((one) => one.snapshotId === id);
    if (base === undefined || chain.includes(base)) {
      throw new BackupError(
        'BACKUP_CHAIN',
        `the backup of ${volume}@${first.snapshot} holds what changed since ${name}, and ${store.place} has no backup of that`,
      );
    }
    chain.unshift(base);
    first = base;
  }
  return chain;
}

/** The bytes of a backup's stream, each part checked before it is given. Rejects with BACKUP_DAMAGED. */
export async function* readBackup(
  store: BackupStore,
  manifest: BackupManifest,
): AsyncGenerator<Uint8Array, void, void> {
  const folder = folderOf(manifest);
  for (const part of manifest.parts) {
    const bytes = await store.get(`${folder}/${part.name}`);
    if (bytes.length !== part.bytes || digest(bytes) !== part.sha256) {
      throw new BackupError('BACKUP_DAMAGED', `${store.place}: ${folder}/${part.name} is damaged`);
    }
    yield bytes;
  }
}

/** Removes a backup. Refused (BACKUP_CHAIN) while another one stands on it. */
export async function removeBackup(store: BackupStore, manifest: BackupManifest): Promise<void> {
  const above = (await listBackups(store, manifest.volume)).filter(
    (one) => one.from?.id === manifest.snapshotId,
  );
  if (above.length > 0) {
    const names = above.map((one) => one.snapshot).join(', ');
    throw new BackupError(
      'BACKUP_CHAIN',
      `backups of ${names} stand on that of ${manifest.snapshot}; remove them first`,
    );
  }
  const folder = folderOf(manifest);
  // The manifest first: without it the rest is not a backup.
  await store.remove(`${folder}/${MANIFEST}`);
  for (const key of await store.list(`${folder}/`)) await store.remove(key);
}

async function readManifest(store: BackupStore, key: string): Promise<BackupManifest> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(await store.get(key)).toString('utf8'));
  } catch (error) {
    if (error instanceof BackupError) throw error;
    throw new BackupError('BACKUP_DAMAGED', `${store.place}: ${key} is no JSON`, { cause: error });
  }
  if (!Value.Check(BackupManifest, value)) {
    const [first] = Value.Errors(BackupManifest, value);
    throw new BackupError(
      'BACKUP_DAMAGED',
      `${store.place}: ${key} is wrong: ${first?.instancePath ?? ''} ${first?.message ?? ''}`,
    );
  }
  return value;
}

/** Pieces of any size as parts of PART_BYTES, the last one shorter. Holds one part. */
async function* inParts(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void, void> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    let rest = piece;
    while (bytes + rest.length >= PART_BYTES) {
      const room = PART_BYTES - bytes;
      held.push(rest.subarray(0, room));
      yield Buffer.concat(held);
      held = [];
      bytes = 0;
      rest = rest.subarray(room);
    }
    if (rest.length === 0) continue;
    held.push(rest);
    bytes += rest.length;
  }
  if (bytes > 0) yield Buffer.concat(held);
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
