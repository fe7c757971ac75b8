// Backups of snapshots in a folder or an S3-compatible bucket, full or on top of an earlier one; and what to read, in
// which order, to have a snapshot back.
export {
  type BackupOptions,
  listBackups,
  makeBackup,
  readBackup,
  removeBackup,
  restoreChain,
} from './backup.ts';
export { type BucketOptions, BucketStore } from './bucket-store.ts';
export { DirectoryStore } from './directory-store.ts';
export { openPlace, type PlaceOptions } from './place.ts';
export {
  BackupError,
  type BackupErrorCode,
  type BackupManifest,
  type BackupStore,
} from './types.ts';
