// Where a backup goes, as a user writes it: a folder, or s3://bucket/prefix.
import { isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BucketStore } from './bucket-store.ts';
import { DirectoryStore } from './directory-store.ts';
import { BackupError, type BackupStore } from './types.ts';

export interface PlaceOptions {
  /** Of a server that speaks S3's protocol, other than AWS. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** Throws BackupError with what to write instead. */
export function openPlace(place: string, options: PlaceOptions = {}): BackupStore {
  if (place.startsWith('s3://')) {
    const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]*)\/?(.*)$/.exec(place) ?? [];
    if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
      throw new BackupError(
        'BACKUP_PLACE',
        `'${place}' names no bucket; write it like s3://bucket/folder`,
      );
    }
    return new BucketStore({
      bucket,
      prefix,
      endpoint: options.endpoint ?? null,
      region: options.region ?? process.env['AWS_REGION'] ?? 'us-east-1',
      credentials: options.credentials ?? null,
    });
  }
  const path = place.startsWith('file://') ? fileURLToPath(place) : place;
  if (!isAbsolute(path)) {
    throw new BackupError(
      'BACKUP_PLACE',
      `'${place}' is no place for a backup; write an absolute path, or s3://bucket/folder`,
    );
  }
  return new DirectoryStore(path);
}
