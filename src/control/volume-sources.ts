// Volumes that begin as a snapshot of another: whether they can, and on which replicas.
import { formatQuantity } from '../base/index.ts';
import { STORE_BLOCK_BYTES } from '../store/types.ts';
import { invalid, type StatusCause } from './errors.ts';
import type { HostedVolumes } from './hosted-volumes.ts';
import type { KeptSnapshot } from './kept-snapshots.ts';
import type { NewReplica, ReplicaFacts } from './replication.ts';
import type { WantedVolume } from './volume-manifest.ts';
import type { VolumeSnapshots } from './volume-snapshots.ts';

export class VolumeSources {
  readonly #table: HostedVolumes;
  readonly #snapshots: VolumeSnapshots;

  constructor(table: HostedVolumes, snapshots: VolumeSnapshots) {
    this.#table = table;
    this.#snapshots = snapshots;
  }

  /** Null: it begins as nothing that there is. */
  blocks({ source }: Pick<WantedVolume, 'source'>): 512 | 4096 | null {
    const volume = source?.split('@')[0] ?? '';
    return this.#table.get(volume)?.wanted.blockSize ?? null;
  }

  /** Of a volume that is to begin as a snapshot: there must be one, and it must fit. */
  check(wanted: WantedVolume): void {
    const { metadata, source, sizeBytes, replicas } = wanted;
    if (source === undefined || source === null) return;
    const found = this.#snapshots.get(source);
    if (found === null) {
      const message = `there is no snapshot '${source}'`;
      const cause = {
        reason: 'FieldValueNotFound',
        field: 'spec.source.snapshot',
        message,
      } as const;
      throw invalid('Volume', metadata.name, [cause]);
    }
    const causes: StatusCause[] = [];
    const bad = (field: string, message: string): void => {
      causes.push({ reason: 'FieldValueInvalid', field, message });
    };
    const least = found.sizeBlocks * STORE_BLOCK_BYTES;
    if (sizeBytes < least) {
      bad('spec.size', `${source} has ${formatQuantity(least)}; the volume needs as much`);
    }
    // A partition table counts in logical blocks: under others it would mean something else.
    const blockSize = this.blocks(wanted);
    if (blockSize !== null && blockSize !== wanted.blockSize) {
      bad('spec.blockSize', `is ${blockSize} for what begins as ${source}, which counts so`);
    }
    // Clones of its blocks, where they are (S14).
    if (found.holders === null && replicas.length > 0) {
      const why = `${source} is in the pool here, and on no replica: leave out replicaNodes`;
      bad('spec.source.snapshot', why);
    }
    if (found.holders !== null && this.beginning(wanted).length === 0) {
      const nodes = this.#holdersOf(found).map(({ node }) => node);
      const why = `one of them must be a node with a replica that holds ${source}: ${nodes.join(', ')}`;
      bad('spec.replicaNodes', why);
    }
    if (causes.length > 0) throw invalid('Volume', metadata.name, causes);
  }

  #holdersOf({ volume, holders }: KeptSnapshot): readonly ReplicaFacts[] {
    const all = this.#table.find(volume).replicated?.replicas() ?? [];
    return all.filter(({ id }) => holders?.includes(id));
  }

  /** The replicas that a volume begins with: all, or those on nodes that hold its snapshot. The others join these. */
  beginning({ source, replicas }: WantedVolume): readonly NewReplica[] {
    if (source === undefined || source === null) return replicas;
    const found = this.#snapshots.get(source);
    if (found === null) return [];
    const volumeId = this.#table.find(found.volume).store.id;
    const holders = this.#holdersOf(found);
    return replicas.flatMap((replica) => {
      if (replica.witness === true) return [replica];
      const holder = holders.find(({ node }) => node === replica.node);
      if (holder === undefined) return [];
      return [{ ...replica, source: { volumeId, replicaId: holder.id, snapshotId: found.id } }];
    });
  }
}
