// Goal: a backup that is listed can be restored, or says which object is bad; one that broke off is not listed.
// Method: the same tests over a folder and over a bucket, through the AWS client, on loopback.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  BackupError,
  type BackupManifest,
  type BackupStore,
  BucketStore,
  listBackups,
  makeBackup,
  openPlace,
  readBackup,
  removeBackup,
  restoreChain,
} from '../../../src/backup/index.ts';
import type { StreamDescription } from '../../../src/stream/index.ts';
import { BucketServer } from './bucket-server.ts';

const volumeId = randomUUID();

function aDescription(
  snapshot: string,
  day: number,
  from: BackupManifest | null = null,
): StreamDescription {
  return {
    volume: 'db',
    volumeId,
    snapshot,
    snapshotId: randomUUID(),
    from: from === null ? null : { name: from.snapshot, id: from.snapshotId },
    sizeBlocks: 1024,
    logicalBlockBytes: 4096,
    createdAt: `2026-11-0${day}T00:00:00.000Z`,
  };
}

async function* pieces(...list: Buffer[]): AsyncGenerator<Buffer> {
  yield* list;
}

function backUp(store: BackupStore, description: StreamDescription, ...list: Buffer[]) {
  const now = () => new Date(0);
  return makeBackup({ store, description, pieces: pieces(...list), now });
}

async function bytesOf(store: BackupStore, manifest: BackupManifest): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of readBackup(store, manifest)) parts.push(part);
  return Buffer.concat(parts);
}

function fails(code: string, pattern: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof BackupError && error.code === code && pattern.test(error.message);
}

function contract(title: string, open: () => Promise<BackupStore>): void {
  describe(title, () => {
    test('what was backed up is read back, in parts of their size', async () => {
      const store = await open();
      const large = Buffer.alloc(65 * 2 ** 20);
      for (let at = 0; at < large.length; at += 4096) large.writeUInt32LE(at, at);
      const made = await backUp(store, aDescription('big', 1), Buffer.from('begin'), large);
      assert.deepEqual(
        made.parts.map(({ bytes }) => bytes),
        [64 * 2 ** 20, 2 ** 20 + 5],
      );
      const [listed] = await listBackups(store, 'db');
      assert.deepEqual(listed, made);
      assert.ok((await bytesOf(store, made)).equals(Buffer.concat([Buffer.from('begin'), large])));
    });

    test('a chain is restored from its full backup on, and removed from its end', async () => {
      const store = await open();
      const monday = await backUp(store, aDescription('monday', 2), Buffer.from('1'));
      const tuesday = await backUp(store, aDescription('tuesday', 3, monday), Buffer.from('2'));
      const friday = await backUp(store, aDescription('friday', 6, tuesday), Buffer.from('3'));
      const chain = await restoreChain(store, 'db', 'friday');
      assert.deepEqual(chain, [monday, tuesday, friday]);
      await assert.rejects(
        restoreChain(store, 'db', 'sunday'),
        fails('BACKUP_NOT_FOUND', /it has monday, tuesday, friday/),
      );
      await assert.rejects(
        removeBackup(store, monday),
        fails('BACKUP_CHAIN', /of tuesday stand on/),
      );
      await removeBackup(store, friday);
      assert.deepEqual(await listBackups(store, 'db'), [monday, tuesday]);
      assert.equal((await store.list('db/')).length, 4, 'its parts are gone too');
    });

    test('a chain without its base says what is missing', async () => {
      const store = await open();
      const lost = { ...(await backUp(store, aDescription('a', 1), Buffer.from('1'))) };
      const b = await backUp(store, aDescription('b', 2, lost), Buffer.from('2'));
      for (const key of await store.list('db/a.')) await store.remove(key);
      await assert.rejects(
        restoreChain(store, 'db', 'b'),
        fails('BACKUP_CHAIN', /changed since a/),
      );
      await removeBackup(store, b);
    });

    test('a stream that breaks off leaves no backup, and another attempt makes one', async () => {
      const store = await open();
      const description = aDescription('a', 1);
      async function* broken(): AsyncGenerator<Buffer> {
        yield Buffer.alloc(64 * 2 ** 20);
        throw new Error('the medium failed');
      }
      const options = { store, description, pieces: broken(), now: () => new Date(0) };
      await assert.rejects(makeBackup(options), /the medium failed/);
      assert.deepEqual(await listBackups(store, 'db'), []);
      const made = await backUp(store, description, Buffer.from('whole'));
      assert.equal((await bytesOf(store, made)).toString(), 'whole');
      await assert.rejects(
        backUp(store, description, Buffer.from('again')),
        fails('BACKUP_EXISTS', /already/),
      );
    });

    test('a part that changed is named, and none of it is given', async () => {
      const store = await open();
      const made = await backUp(store, aDescription('a', 1), Buffer.from('good'));
      const key = `db/a.${made.snapshotId}/part-000000`;
      for (const bad of [Buffer.from('goof'), Buffer.from('goo')]) {
        await store.put(key, bad);
        await assert.rejects(bytesOf(store, made), fails('BACKUP_DAMAGED', /part-000000/));
      }
    });

    test('a manifest that is none is told with its place', async () => {
      const store = await open();
      await store.put('db/a.x/manifest.json', Buffer.from('{"formatVersion": 2}'));
      await assert.rejects(listBackups(store, 'db'), fails('BACKUP_DAMAGED', /db\/a\.x\/manifest/));
    });
  });
}

const folders: string[] = [];
async function aFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'ashlar-backup-'));
  folders.push(folder);
  return folder;
}
after(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

contract('backups in a folder', async () => openPlace(join(await aFolder(), 'not', 'yet')));

describe('backups in a bucket', () => {
  const server = new BucketServer();
  let endpoint = '';
  before(async () => {
    endpoint = await server.listen();
  });
  after(() => server.close());
  const credentials = { accessKeyId: 'key-id', secretAccessKey: 'secret' };

  contract('over HTTP', async () => {
    server.objects.clear();
    return openPlace('s3://backups/some/folder', { endpoint, credentials });
  });

  test('an overloaded server is tried again', async () => {
    const store = openPlace('s3://backups', { endpoint, credentials });
    server.failures = 2;
    await store.put('x', Buffer.from('1'));
    assert.equal(Buffer.from(await store.get('x')).toString(), '1');
  });

  test('a wrong key and a bucket that is not there are told in words', async () => {
    const stranger = { accessKeyId: 'other', secretAccessKey: 'secret' };
    await assert.rejects(
      openPlace('s3://backups', { endpoint, credentials: stranger }).list(''),
      fails('BACKUP_PLACE', /cannot list s3:\/\/backups\/.*AccessDenied/),
    );
    await assert.rejects(
      openPlace('s3://nothing', { endpoint, credentials }).put('x', Buffer.from('1')),
      fails('BACKUP_PLACE', /NoSuchBucket/),
    );
  });
});

test('a folder holds a file whole or not at all, and only inside itself', async () => {
  const folder = await aFolder();
  const store = openPlace(`file://${folder}`);
  await store.put('a/b', Buffer.from('1'));
  await writeFile(join(folder, 'a', 'c.unfinished'), 'half');
  assert.deepEqual(await store.list(''), ['a/b']);
  assert.equal(await readFile(join(folder, 'a', 'b'), 'utf8'), '1');
  for (const key of ['../x', 'a/../../x', '/x', '']) {
    await assert.rejects(store.put(key, Buffer.from('1')), fails('BACKUP_PLACE', /no key/));
  }
});

test('a place that is none is refused with what to write', () => {
  assert.throws(() => openPlace('backups'), fails('BACKUP_PLACE', /absolute path, or s3:/));
  assert.throws(() => openPlace('s3://'), fails('BACKUP_PLACE', /s3:\/\/bucket\/folder/));
  assert.ok(openPlace('s3://bucket') instanceof BucketStore);
});
