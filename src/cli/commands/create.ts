// create: of a file, or of what the command line says.
import { type Command, Option } from 'commander';
import type { VolumeManifest } from '../../control/index.ts';
import type { Client } from '../client.ts';
import { clientOf } from '../connect.ts';
import type { ApiObject } from '../describe.ts';
import { fetchKinds, findKind, findManifestKind, type Kind, pathOf } from '../kinds.ts';
import { readManifests } from '../manifests.ts';
import { printChanged } from '../print.ts';
import {
  collect,
  groupCommand,
  namespaceOption,
  type OutputFlags,
  outputOption,
  readInput,
  toInteger,
  toLabels,
  UsageError,
} from '../usage.ts';
import { LIMIT_HELP, toLimits } from './change.ts';

interface CreateFlags extends OutputFlags {
  readonly size?: string;
  readonly fromSnapshot?: string;
  readonly pool?: string;
  readonly blockSize?: string;
  readonly writeCache?: 'on' | 'off';
  readonly chapUser?: string;
  readonly chapSecretFile?: string;
  readonly mutualChapUser?: string;
  readonly mutualChapSecretFile?: string;
  readonly initiator?: readonly string[];
  readonly label?: readonly string[];
  readonly dryRun?: boolean;
  readonly limit?: readonly string[];
  readonly replicas?: string;
  readonly witnessNode?: string;
  readonly replicaNode?: readonly string[];
  readonly snapshotsEvery?: string;
  readonly snapshotsKeep: string;
}

export function addCreate(program: Command): void {
  const create = groupCommand(program, 'create', 'make something new');
  create
    .option('-f, --filename <file>', 'what these files say', collect, [])
    .option('--dry-run', 'check only')
    .addOption(namespaceOption())
    .addOption(outputOption())
    .action(
      async (flags: OutputFlags & { filename: string[]; namespace: string; dryRun?: boolean }) => {
        if (flags.filename.length === 0) {
          throw new UsageError(
            'create what? Name a kind (ashlar create --help), or a file with -f',
          );
        }
        const client = await clientOf(program);
        const kinds = await fetchKinds(client);
        for (const manifest of readManifests(flags.filename)) {
          const kind = findManifestKind(kinds, manifest.apiVersion, manifest.kind);
          const path = pathOf(kind, manifest.metadata.namespace ?? flags.namespace, null);
          const query = flags.dryRun === true ? '?dryRun=All' : '';
          const made = (await client.create(path + query, manifest)) as ApiObject;
          printChanged(
            kind,
            made,
            flags.dryRun === true ? 'created (dry run)' : 'created',
            flags.output,
          );
        }
      },
    );
  addCreateVolume(program, create);
  addCreateSnapshot(program, create);
}

function addCreateSnapshot(program: Command, create: Command): void {
  create
    .command('snapshot <name>')
    .description('keep a volume, or several at one instant, as they are now')
    .requiredOption('--volume <name>', 'of this volume; may be repeated', collect, [])
    .option('--dry-run', 'check only')
    .addOption(outputOption())
    .action(async (name: string, _flags: OutputFlags, command: Command) => {
      const flags = command.optsWithGlobals<OutputFlags & { volume: string[]; dryRun?: boolean }>();
      const [volumeName = '', ...alsoVolumes] = flags.volume;
      const client = await clientOf(program);
      const kind = findKind(await fetchKinds(client), 'snapshots.ashlar.io');
      const spec = { volumeName, ...(alsoVolumes.length === 0 ? {} : { alsoVolumes }) };
      const metadata = { name: `${volumeName}.${name}` };
      const manifest = { apiVersion: kind.apiVersion, kind: kind.kind, metadata, spec };
      const query = flags.dryRun === true ? '?dryRun=All' : '';
      const made = (await client.create(pathOf(kind, null, null) + query, manifest)) as ApiObject;
      const suffix = flags.dryRun === true ? ' (dry run)' : '';
      printChanged(kind, made, `created${suffix}`, flags.output);
    });
}

function addCreateVolume(program: Command, create: Command): void {
  create
    .command('volume <name>')
    .description('make a volume; returns when hosts can log in to it')
    .option('--size <quantity>', 'size, like 5Gi')
    .option('--from-snapshot <V@NAME>', 'begin as this snapshot, sharing its blocks')
    .option('--pool <name>', "the pool that its blocks are in; standard: the daemon's own")
    .option('--block-size <bytes>', 'logical block size: 512 or 4096')
    .addOption(new Option('--write-cache <on|off>', 'volatile write cache').choices(['on', 'off']))
    .option('--chap-user <user>', 'CHAP: the user that initiators log in as')
    .option('--chap-secret-file <file>', 'CHAP: a file with its secret, - for standard input')
    .option('--mutual-chap-user <user>', 'mutual CHAP: the user that the target answers as')
    .option('--mutual-chap-secret-file <file>', 'mutual CHAP: a file with its secret')
    .option('--initiator <iqn>', 'initiator that may log in; may be repeated', collect, [])
    .option('--label <key=value>', 'label; may be repeated', collect, [])
    .option('--limit <key=value>', LIMIT_HELP, collect, [])
    .option('--replicas <count>', 'copies: 1, 2, 3 or 5; as many as there are --replica-node')
    .option(
      '--replica-node <host:port>',
      'a node whose replica service keeps a copy; once for each copy',
      collect,
      [],
    )
    .option(
      '--witness-node <host:port>',
      'beside two copies: a node whose replica service keeps a vote and no blocks',
    )
    .option('--snapshots-every <period>', 'snapshots by the clock: 15m, 1h, 1d')
    .option('--snapshots-keep <count>', 'how many of them are kept', '24')
    .option('--dry-run', 'check only')
    .addOption(outputOption())
    .action(async (name: string, _flags: CreateFlags, command: Command) => {
      // `create` has some of the same options, and takes those that stand before the kind.
      const flags = command.optsWithGlobals<CreateFlags>();
      if (flags.size === undefined && flags.fromSnapshot === undefined) {
        throw new UsageError('how large? Give --size, or --from-snapshot');
      }
      const client = await clientOf(program);
      const kinds = await fetchKinds(client);
      const kind = findKind(kinds, 'volumes.ashlar.io');
      const size = flags.size ?? (await sizeOf(client, kinds, flags.fromSnapshot ?? ''));
      const spec = volumeSpec(flags, size);
      if (flags.fromSnapshot !== undefined && flags.blockSize === undefined) {
        const blockSize = await blockSizeOf(client, kinds, flags.fromSnapshot);
        if (blockSize !== undefined) spec.blockSize = blockSize;
      }
      const metadata: VolumeManifest['metadata'] = { name };
      if ((flags.label ?? []).length > 0) metadata.labels = toLabels(flags.label ?? []);
      const manifest = { apiVersion: kind.apiVersion, kind: kind.kind, metadata, spec };
      const query = flags.dryRun === true ? '?dryRun=All' : '';
      const made = (await client.create(pathOf(kind, null, null) + query, manifest)) as ApiObject;
      const suffix = flags.dryRun === true ? ' (dry run)' : '';
      printChanged(kind, made, `created${suffix}`, flags.output);
    });
}

/** A clone is as large as what it begins as, unless it is to be larger. */
async function sizeOf(client: Client, kinds: readonly Kind[], snapshot: string): Promise<number> {
  const kind = findKind(kinds, 'snapshots.ashlar.io');
  const found = (await client.get(pathOf(kind, null, snapshot))) as {
    status?: { sizeBytes?: number };
  };
  const bytes = found.status?.sizeBytes;
  if (bytes === undefined) throw new UsageError(`${snapshot} does not say its size; give --size`);
  return bytes;
}

/** And counts in the same blocks; undefined: as its server says. */
async function blockSizeOf(
  client: Client,
  kinds: readonly Kind[],
  snapshot: string,
): Promise<number | undefined> {
  const found = (await client.get(
    pathOf(findKind(kinds, 'snapshots.ashlar.io'), null, snapshot),
  )) as {
    spec: { volumeName: string };
  };
  const volumes = findKind(kinds, 'volumes.ashlar.io');
  const { spec } = (await client.get(pathOf(volumes, null, found.spec.volumeName))) as {
    spec: { blockSize?: number };
  };
  return spec.blockSize;
}

function volumeSpec(flags: CreateFlags, size: string | number): VolumeManifest['spec'] {
  const spec: VolumeManifest['spec'] = { size };
  if (flags.fromSnapshot !== undefined) spec.source = { snapshot: flags.fromSnapshot };
  if (flags.pool !== undefined) spec.pool = flags.pool;
  if (flags.blockSize !== undefined) spec.blockSize = toInteger('--block-size', flags.blockSize);
  const nodes = flags.replicaNode ?? [];
  if (flags.replicas !== undefined && toInteger('--replicas', flags.replicas) !== nodes.length) {
    throw new UsageError(
      `--replicas ${flags.replicas} needs as many --replica-node, and there are ${nodes.length}`,
    );
  }
  if (nodes.length > 0) spec.replicaNodes = [...nodes];
  if (flags.witnessNode !== undefined) spec.witnessNode = flags.witnessNode;
  if (flags.writeCache !== undefined) spec.writeCache = flags.writeCache === 'on';
  if ((flags.initiator ?? []).length > 0) spec.initiators = [...(flags.initiator ?? [])];
  const chap = readChap('chap', flags.chapUser, flags.chapSecretFile);
  if (chap !== null) spec.chap = chap;
  const mutual = readChap('mutual-chap', flags.mutualChapUser, flags.mutualChapSecretFile);
  if (mutual !== null) spec.mutualChap = mutual;
  if ((flags.limit ?? []).length > 0) {
    spec.limits = toLimits(flags.limit ?? []) as NonNullable<typeof spec.limits>;
  }
  if (flags.snapshotsEvery !== undefined) {
    const keep = toInteger('--snapshots-keep', flags.snapshotsKeep);
    spec.snapshots = { every: flags.snapshotsEvery, keep };
  }
  return spec;
}

function readChap(
  name: string,
  user: string | undefined,
  secretFile: string | undefined,
): { user: string; secret: string } | null {
  if (user === undefined && secretFile === undefined) return null;
  if (user === undefined || secretFile === undefined) {
    throw new UsageError(`--${name}-user and --${name}-secret-file go together`);
  }
  // An editor ends the file with a newline, which is no part of the secret.
  return { user, secret: readInput(secretFile).replace(/\r?\n$/, '') };
}
