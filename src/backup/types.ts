// Backups of snapshots: send streams, cut into parts, in a folder or a bucket.
//
//   VOLUME/SNAPSHOT.ID/part-000000 …    the stream's bytes, PART_BYTES each, the last one shorter
//   VOLUME/SNAPSHOT.ID/manifest.json    written last: a backup without one is not there
import { type Static, Type } from 'typebox';

export const PART_BYTES = 64 * 2 ** 20;
/** 4 PiB of parts would need more than any manifest should list: the bound of one backup, 64 TiB. */
export const MAX_PARTS = 2 ** 20;

const Uuid = Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' });
const Name = Type.String({ minLength: 1, maxLength: 253 });

export const BackupManifest = Type.Object({
  formatVersion: Type.Literal(1),
  volume: Name,
  volumeId: Uuid,
  snapshot: Name,
  snapshotId: Uuid,
  /** The snapshot that must be restored before this one; null: none, this is a full backup. */
  from: Type.Union([Type.Null(), Type.Object({ name: Name, id: Uuid })]),
  sizeBlocks: Type.Integer({ minimum: 1 }),
  logicalBlockBytes: Type.Union([Type.Literal(512), Type.Literal(4096)]),
  createdAt: Type.String({ maxLength: 64 }),
  /** When the last part was stored. */
  completedAt: Type.String({ maxLength: 64 }),
  streamBytes: Type.Integer({ minimum: 0 }),
  parts: Type.Array(
    Type.Object({
      name: Type.String({ pattern: '^part-[0-9]{6,7}$' }),
      bytes: Type.Integer({ minimum: 1, maximum: PART_BYTES }),
      sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    }),
    { maxItems: MAX_PARTS },
  ),
});
export type BackupManifest = Static<typeof BackupManifest>;

/** Where backups lie. Keys are names joined by '/', as in a bucket. */
export interface BackupStore {
  /** For messages: what the user called it. */
  readonly place: string;
  /** Whole and on stable storage when it resolves, or not there. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Rejects with BackupError BACKUP_NOT_FOUND when there is none. */
  get(key: string): Promise<Uint8Array>;
  /** The keys below `prefix`, in order. */
  list(prefix: string): Promise<string[]>;
  /** Idempotent. */
  remove(key: string): Promise<void>;
}

export type BackupErrorCode =
  | 'BACKUP_NOT_FOUND'
  /** What lies there is not what was put there. */
  | 'BACKUP_DAMAGED'
  /** An incremental backup whose base is missing. */
  | 'BACKUP_CHAIN'
  | 'BACKUP_EXISTS'
  | 'BACKUP_PLACE';

export class BackupError extends Error {
  override readonly name = 'BackupError';
  readonly code: BackupErrorCode;

  constructor(code: BackupErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
