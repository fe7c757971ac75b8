// Backups in a bucket that speaks S3's protocol: AWS, MinIO, Ceph, Garage and their like.
import type { S3Client } from '@aws-sdk/client-s3';
import { BackupError, type BackupStore } from './types.ts';

export interface BucketOptions {
  readonly bucket: string;
  /** Before every key; '' or 'some/folder'. */
  readonly prefix: string;
  /** Of a server other than AWS: http://127.0.0.1:9000. Its buckets are then named in the path. */
  readonly endpoint: string | null;
  readonly region: string;
  /** Null: from the environment, as the AWS tools take them. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null;
}

type Aws = typeof import('@aws-sdk/client-s3');

/** The client's modules take a while to load, and most daemons never see a bucket. */
async function loadAws(): Promise<Aws> {
  // It warns that its later versions want a later Node; the one that we use is pinned.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
  return await import('@aws-sdk/client-s3');
}

export class BucketStore implements BackupStore {
  readonly place: string;
  readonly #options: BucketOptions;
  #connection: { readonly aws: Aws; readonly client: S3Client } | null = null;
  readonly #bucket: string;
  readonly #prefix: string;

  constructor(options: BucketOptions) {
    this.#bucket = options.bucket;
    this.#prefix = options.prefix === '' ? '' : `${options.prefix.replace(/\/+$/, '')}/`;
    this.place = `s3://${options.bucket}/${this.#prefix}`;
    this.#options = options;
  }

  async #connect(): Promise<{ aws: Aws; client: S3Client }> {
    if (this.#connection !== null) return this.#connection;
    const aws = await loadAws();
    const { endpoint, region, credentials } = this.#options;
    const client = new aws.S3Client({
      region,
      // Servers other than AWS do not all know the newer checksums; ours is in the manifest.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
      ...(credentials === null ? {} : { credentials }),
    });
    this.#connection = { aws, client };
    return this.#connection;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#send('write', key, ({ aws, client }) =>
      client.send(
        new aws.PutObjectCommand({ Bucket: this.#bucket, Key: this.#prefix + key, Body: bytes }),
      ),
    );
  }

  async get(key: string): Promise<Uint8Array> {
    return await this.#send('read', key, async ({ aws, client }) => {
      const answer = await client.send(
        new aws.GetObjectCommand({ Bucket: this.#bucket, Key: this.#prefix + key }),
      );
      return (await answer.Body?.transformToByteArray()) ?? new Uint8Array();
    });
  }

  async list(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    let token: string | undefined;
    do {
      const page = await this.#send('list', prefix, ({ aws, client }) =>
        client.send(
          new aws.ListObjectsV2Command({
            Bucket: this.#bucket,
            Prefix: this.#prefix + prefix,
            ContinuationToken: token,
          }),
        ),
      );
      for (const { Key } of page.Contents ?? []) {
        if (Key !== undefined) keys.push(Key.slice(this.#prefix.length));
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
    return keys.sort();
  }

  async remove(key: string): Promise<void> {
    await this.#send('delete', key, ({ aws, client }) =>
      client.send(new aws.DeleteObjectCommand({ Bucket: this.#bucket, Key: this.#prefix + key })),
    );
  }

  async #send<Answer>(
    verb: string,
    key: string,
    call: (connection: { aws: Aws; client: S3Client }) => Promise<Answer>,
  ): Promise<Answer> {
    const connection = await this.#connect();
    try {
      return await call(connection);
    } catch (error) {
      if (error instanceof connection.aws.NoSuchKey) {
        throw new BackupError('BACKUP_NOT_FOUND', `${this.place} has no ${key}`, { cause: error });
      }
      const { name, message } = error as Error;
      throw new BackupError(
        'BACKUP_PLACE',
        `cannot ${verb} ${this.place}${key}: ${name}: ${message}`,
        {
          cause: error,
        },
      );
    }
  }
}
