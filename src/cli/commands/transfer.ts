// send and receive: a snapshot as a stream on standard output or input. backup, restore and get backups: the same, kept
// in a folder of the daemon's machine or in a bucket.
import { createReadStream, createWriteStream } from 'node:fs';
import { type Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { formatBytes } from '../../base/index.ts';
import type { Client } from '../client.ts';
import { ServerError } from '../client.ts';
import { clientOf } from '../connect.ts';
import { renderCells } from '../table.ts';
import { print, readInput, UsageError } from '../usage.ts';

const BASE = '/apis/ashlar.io/v1';
const STREAM_TYPE = 'application/vnd.ashlar.stream';

interface SendFlags {
  readonly from?: string;
  readonly resume?: string;
  readonly output?: string;
}

interface PlaceFlags {
  readonly endpoint?: string;
  readonly region?: string;
  readonly accessKeyFile?: string;
}

interface ReplicaFlags {
  readonly replicaNode: readonly string[];
  readonly witnessNode?: string;
}

const REPLICA_NODE: [string, string, (one: string, all: string[]) => string[], string[]] = [
  '--replica-node <host:port>',
  'where a new volume keeps a copy: a replica service; once for each copy',
  (one, all) => [...all, one],
  [],
];
const WITNESS_NODE: [string, string] = [
  '--witness-node <host:port>',
  'beside two copies: a replica service that keeps a vote and no blocks',
];

interface BackupSummary {
  readonly volume: string;
  readonly snapshot: string;
  readonly from: { readonly name: string } | null;
  readonly createdAt: string;
  readonly streamBytes: number;
}

export function addTransfers(program: Command): void {
  program
    .command('send <volume@snapshot>')
    .description('write a snapshot as a stream: ashlar send db@monday > monday.ashlar')
    .option('--from <name>', 'only what changed since this earlier snapshot of the volume')
    .option('--resume <block>', 'go on where a receiver broke off (ashlar receive says where)')
    .option('-o, --output <file>', 'write there instead of standard output')
    .action((snapshot: string, flags: SendFlags) => send(program, snapshot, flags));
  program
    .command('receive <volume> [file]')
    .description('make or bring up a volume of a stream from standard input or a file')
    .option(...REPLICA_NODE)
    .option(...WITNESS_NODE)
    .action((volume: string, file: string | undefined, flags: ReplicaFlags) =>
      receive(program, volume, file, flags),
    );
  placeOptions(program.command('backup <volume@snapshot>'))
    .description('store a snapshot in a folder or a bucket')
    .requiredOption(
      '--to <place>',
      "an absolute path on the daemon's machine, or s3://bucket/folder",
    )
    .option(
      '--from <name>',
      'only what changed since this earlier snapshot, which is there already',
    )
    .action((snapshot: string, flags: PlaceFlags & { to: string; from?: string }) =>
      backUp(program, snapshot, flags),
    );
  placeOptions(program.command('restore <volume>'))
    .description('make a volume of a backup')
    .requiredOption('--place <place>', 'where the backup is')
    .requiredOption('--backup <volume@snapshot>', 'which one; those that it stands on come along')
    .option(...REPLICA_NODE)
    .option(...WITNESS_NODE)
    .action(
      (volume: string, flags: PlaceFlags & ReplicaFlags & { place: string; backup: string }) =>
        restore(program, volume, flags),
    );
  placeOptions(program.command('backups <place>'))
    .description('list the backups in a folder or a bucket')
    .action((place: string, flags: PlaceFlags) => listBackups(program, place, flags));
}

function placeOptions(command: Command): Command {
  return command
    .option('--endpoint <url>', 'of an S3-compatible server other than AWS')
    .option('--region <name>', "the bucket's region (standard us-east-1)")
    .option(
      '--access-key-file <file>',
      "two lines, key id and secret; without it the daemon's environment is used",
    );
}

async function send(program: Command, snapshot: string, flags: SendFlags): Promise<void> {
  assertSnapshot(snapshot);
  if (flags.output === undefined && process.stdout.isTTY === true) {
    throw new UsageError('a stream is no text: send it to a file or a pipe, or name one with -o');
  }
  const client = await clientFor(program, snapshot.split('@')[0]!);
  const query = new URLSearchParams();
  if (flags.from !== undefined) query.set('from', flags.from.replace(/^.*@/, ''));
  if (flags.resume !== undefined) query.set('resume', flags.resume);
  const body = await client.download(
    `${BASE}/snapshots/${encodeURIComponent(snapshot)}/stream?${query}`,
  );
  const into: Writable =
    flags.output === undefined ? process.stdout : createWriteStream(flags.output, { flags: 'wx' });
  await pipeline(body, counter('sent'), into);
}

async function receive(
  program: Command,
  volume: string,
  file: string | undefined,
  flags: ReplicaFlags,
): Promise<void> {
  if (file === undefined && process.stdin.isTTY === true) {
    throw new UsageError('give the stream on standard input, or name its file');
  }
  const client = await clientFor(program, volume);
  const from: Readable =
    file === undefined || file === '-' ? process.stdin : createReadStream(file);
  const counted = counter('received');
  from.on('error', (cause) => counted.destroy(cause));
  try {
    const query = new URLSearchParams();
    for (const node of flags.replicaNode) query.append('replicaNode', node);
    if (flags.witnessNode !== undefined) query.set('witnessNode', flags.witnessNode);
    const path = `${BASE}/volumes/${encodeURIComponent(volume)}/stream?${query}`;
    const answer = (await client.upload(path, STREAM_TYPE, from.pipe(counted))) as {
      description: { snapshot: string };
    };
    print(`volume/${volume} received ${volume}@${answer.description.snapshot}`);
  } catch (error) {
    await hintResume(client, volume);
    throw error;
  } finally {
    from.destroy();
  }
}

/** Of the node that serves the volume, where there are several. */
async function clientFor(program: Command, volume: string): Promise<Client> {
  const client = await clientOf(program);
  interface Served {
    readonly status?: { readonly target?: { readonly nodeName?: string } };
  }
  interface Node {
    readonly status?: { readonly apiAddress?: string };
  }
  try {
    const found = (await client.get(`${BASE}/volumes/${encodeURIComponent(volume)}`)) as Served;
    const nodeName = found.status?.target?.nodeName;
    if (nodeName === undefined) return client;
    const node = (await client.get(`${BASE}/nodes/${encodeURIComponent(nodeName)}`)) as Node;
    const address = node.status?.apiAddress;
    return address === undefined ? client : client.at(address);
  } catch (error) {
    if (error instanceof ServerError) return client; // There is none yet, or there are no nodes.
    throw error;
  }
}

/** An interrupted stream need not be sent again from its beginning. */
async function hintResume(client: Client, volume: string): Promise<void> {
  try {
    const point = (await client.get(`${BASE}/volumes/${encodeURIComponent(volume)}/stream`)) as {
      from?: string | null;
      lba: number;
    };
    const from = (point.from ?? null) === null ? '' : `--from ${point.from} `;
    const flags = `${from}--resume ${point.lba}`;
    process.stderr.write(`To go on where it broke off: ashlar send … ${flags}\n`);
  } catch {
    // Nothing is being received there, or nobody answers: the failure itself is told.
  }
}

async function backUp(
  program: Command,
  snapshot: string,
  flags: PlaceFlags & { to: string; from?: string },
): Promise<void> {
  assertSnapshot(snapshot);
  const client = await clientFor(program, snapshot.split('@')[0]!);
  const request = {
    ...placeOf(flags.to, flags),
    ...(flags.from === undefined ? {} : { from: flags.from.replace(/^.*@/, '') }),
  };
  const path = `${BASE}/snapshots/${encodeURIComponent(snapshot)}/backup`;
  const done = await lastStep(client, path, request, (step) =>
    formatBytes((step as { streamBytes?: number }).streamBytes ?? 0),
  );
  print(
    `backup/${snapshot} stored in ${flags.to} (${formatBytes((done as BackupSummary).streamBytes)})`,
  );
}

async function restore(
  program: Command,
  volume: string,
  flags: PlaceFlags & ReplicaFlags & { place: string; backup: string },
): Promise<void> {
  assertSnapshot(flags.backup);
  const client = await clientFor(program, volume);
  const [source = '', snapshot = ''] = flags.backup.split('@');
  const { replicaNode: replicaNodes, witnessNode } = flags;
  const request = {
    ...placeOf(flags.place, flags),
    volume: source,
    snapshot,
    ...(replicaNodes.length === 0 ? {} : { replicaNodes }),
    ...(witnessNode === undefined ? {} : { witnessNode }),
  };
  const path = `${BASE}/volumes/${encodeURIComponent(volume)}/restore`;
  await lastStep(
    client,
    path,
    request,
    (step) => `snapshot ${(step as { snapshot?: string }).snapshot ?? ''}`,
  );
  print(`volume/${volume} restored from ${flags.backup}`);
}

async function listBackups(program: Command, place: string, flags: PlaceFlags): Promise<void> {
  const client = await clientOf(program);
  const { items } = (await client.create(`${BASE}/backups`, placeOf(place, flags))) as {
    items: readonly BackupSummary[];
  };
  if (items.length === 0) {
    process.stderr.write(`No backups in ${place}.\n`);
    return;
  }
  const rows = items.map((one) => [
    `${one.volume}@${one.snapshot}`,
    one.from?.name ?? '<full>',
    formatBytes(one.streamBytes),
    one.createdAt,
  ]);
  for (const line of renderCells([['BACKUP', 'FROM', 'BYTES', 'SNAPSHOT TAKEN'], ...rows]))
    print(line);
}

async function lastStep(
  client: Client,
  path: string,
  request: object,
  show: (step: unknown) => string,
): Promise<unknown> {
  for await (const step of client.steps(path, request)) {
    const { done, error } = step as {
      done?: unknown;
      error?: { reason: string; message: string; code: number };
    };
    if (error !== undefined) throw new ServerError(error.reason, error.message, error.code);
    if (done !== undefined) return done;
    if (process.stderr.isTTY === true) process.stderr.write(`\r\x1b[K${show(step)}`);
  }
  throw new ServerError('InternalError', 'the connection ended before the work did', 500);
}

function placeOf(place: string, flags: PlaceFlags): Record<string, string> {
  const request: Record<string, string> = { place };
  if (flags.endpoint !== undefined) request['endpoint'] = flags.endpoint;
  if (flags.region !== undefined) request['region'] = flags.region;
  if (flags.accessKeyFile !== undefined) {
    const [keyId = '', secret = ''] = readInput(flags.accessKeyFile).split(/\r?\n/);
    if (keyId === '' || secret === '') {
      throw new UsageError(`${flags.accessKeyFile}: wants two lines, key id and secret`);
    }
    request['accessKeyId'] = keyId.trim();
    request['secretAccessKey'] = secret.trim();
  }
  return request;
}

function assertSnapshot(name: string): void {
  if (!/^[^@]+@[^@]+$/.test(name)) {
    throw new UsageError(`'${name}' is no snapshot; write it like volume@name`);
  }
}

/** Counts the bytes on standard error while somebody watches. */
function counter(word: string): Transform {
  const watched = process.stderr.isTTY === true;
  let bytes = 0;
  let shownMs = 0;
  return new Transform({
    transform(piece: Uint8Array, _encoding, done): void {
      bytes += piece.length;
      const nowMs = Date.now();
      if (watched && nowMs - shownMs >= 500) {
        shownMs = nowMs;
        process.stderr.write(`\r\x1b[K${formatBytes(bytes)} ${word}`);
      }
      done(null, piece);
    },
    flush(done): void {
      if (watched) process.stderr.write(`\r\x1b[K${formatBytes(bytes)} ${word}\n`);
      done();
    },
  });
}
