// A volume that has one replica, read and written in place, and is to have others: it becomes one that a coordinator keeps,
// with that replica as its first member. The others come in as newcomers then, one a record (R5), while hosts use it.
//
// What makes it so is one change of its status. Up to then the volume in the pool is the truth, and what was made beside it is
// made anew; from then on the replica is, and the volume that it was made of goes. Hosts are kept away in between, for as
// long as a snapshot, a clone of it and a record take: their commands wait, as in a failover.
//
// Its blocks stay where they are: the replica is a clone of the volume at its cut (S14), and its first record begins with the
// version of the cut, so every change to come is above all that is there (E1). Holes need no version: newcomers begin
// empty, and nobody was ever away (B2, B7).
import { setCondition } from '../../apiserver/index.ts';
import {
  isDeleting,
  isLeaving,
  MEMBERS_AS_WANTED,
  mayHold,
  REPLICAS_OF_VOLUME,
  SNAPSHOTS_OF_VOLUME,
  VOLUMES_WITH_SOURCE,
  type Writer,
} from '../../controllers/index.ts';
import {
  NODE,
  POOL,
  type Pool,
  type Replica,
  VOLUME,
  type Volume as VolumeObject,
  type VolumePolicySpec,
} from '../../kinds/index.ts';
import type { Volume } from '../../volume/index.ts';
import { memberIdOf } from './members.ts';
import type { NodeSurroundings, OpenPool, OpenPools } from './surroundings.ts';

/** After a try that failed: at each of them hosts are kept away. */
const PAUSE_MS = 60_000;
const SHOWN = 3;

/** Its one replica, which is here. */
interface Only {
  readonly replica: Replica;
  readonly open: OpenPool & { readonly replicas: NonNullable<OpenPool['replicas']> };
}

export class Outgrowing {
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  /** Of volumes whose last try failed, when and why. */
  readonly #failed = new Map<string, { readonly atMs: number; readonly why: string }>();
  /** Volumes whose change was sent, by uid; why it failed, if it was said to have. The catalog may be behind. */
  readonly #sent = new Map<string, string>();

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer) {
    this.#around = around;
    this.#open = open;
    this.#writer = writer;
  }

  /** Others are wanted, and there is a place for one. */
  isWanted(object: VolumeObject, policy: VolumePolicySpec): boolean {
    const { catalog, nodeName, isAlone, replication } = this.#around;
    if (object.status?.mode !== 'single' || isDeleting(object) || replication === null)
      return false;
    const isDrained = catalog.get(NODE, nodeName)?.spec.drain === true;
    if ((policy.replicaCount ?? 1) < 2 && !isDrained) return false;
    const bySide = policy.replicaPlacement === 'pool';
    if (isAlone && !bySide) return false;
    const only = this.#only(object);
    return only !== null && catalog.all(POOL).some((pool) => this.#isPlace(object, pool, bySide));
  }

  #isPlace(object: VolumeObject, pool: Pool, bySide: boolean): boolean {
    const { catalog, nodeName } = this.#around;
    const { phase, replicaAddress } = pool.status ?? {};
    if (phase !== 'Online' && phase !== 'Degraded') return false;
    if (replicaAddress === undefined || isLeaving(pool) || isDeleting(pool)) return false;
    if (!mayHold(object, pool)) return false;
    const node = catalog.get(NODE, pool.spec.nodeName);
    if (node === null || node.spec.drain === true || node.spec.unschedulable === true) return false;
    const isElsewhere = pool.spec.nodeName !== nodeName;
    return (
      isElsewhere || (bySide && this.#only(object)?.replica.spec.poolName !== pool.metadata.name)
    );
  }

  #only({ metadata, status }: VolumeObject): Only | null {
    const { catalog, nodeName } = this.#around;
    const replica = catalog
      .where(REPLICAS_OF_VOLUME, metadata.name)
      .filter(({ spec }) => spec.nodeName === nodeName && spec.witness !== true)
      .find((one) => status?.members?.some(({ id }) => id === memberIdOf(one)) === true);
    const open = this.#open.find(replica?.spec.poolName ?? '');
    if (replica === undefined || isDeleting(replica) || open === null) return null;
    const { replicas, replicaAddress } = open;
    return replicas === null || replicaAddress === ''
      ? null
      : { replica, open: { ...open, replicas } };
  }

  /** Why it cannot be done now, in words; empty: it can. */
  hindrance({ metadata }: VolumeObject): string {
    const { catalog, clock } = this.#around;
    const { name } = metadata;
    const failed = this.#failed.get(name);
    if (failed !== undefined && clock.nowMs() - failed.atMs < PAUSE_MS) return failed.why;
    const snapshots = catalog.where(SNAPSHOTS_OF_VOLUME, name);
    if (snapshots.length > 0) {
      const names = snapshots.slice(0, SHOWN).map((snapshot) => snapshot.metadata.name);
      const are = snapshots.length === 1 ? 'a snapshot' : `${snapshots.length} snapshots`;
      return `it has ${are} from when it has one replica (${names.join(', ')}${snapshots.length > SHOWN ? ', …' : ''}): delete those, or restore one into a new claim that has more replicas`;
    }
    const copy = catalog
      .where(VOLUMES_WITH_SOURCE, 'yes')
      .find(({ spec, status }) => spec.source?.volume === name && status?.phase !== 'Ready');
    return copy === undefined ? '' : `${copy.metadata.name} is being made as a copy of it`;
  }

  /**
   * `volume`: as it was served; nobody uses it any more, and `version` is above all that it holds. Rejects with what stood in
   * the way; then it is served as before.
   */
  async begin(
    object: VolumeObject,
    volume: Volume,
    version: { readonly epoch: number; readonly opNumber: number },
  ): Promise<void> {
    const { name, uid } = object.metadata;
    const { log, events, clock, replication } = this.#around;
    const only = this.#only(object);
    if (only === null || replication === null) return;
    const { replica, open } = only;
    const id = memberIdOf(replica);
    try {
      const blobs = volume.keptBlobs();
      const { epoch, opNumber: op } = version;
      const wanted = { volumeId: uid, replicaId: id, from: name, version: { epoch, op } };
      await open.replicas.host.adopt(wanted);
      const member = { id, node: open.replicaAddress };
      await replication.make(uid, volume.store.info().sizeBlocks, [member], blobs);
      const live = await this.#writer.live<VolumeObject>(VOLUME, null, name);
      const { target } = object.status ?? {};
      // As it was decided on: else all of this was for nothing, and is done anew.
      if (live?.metadata.uid !== uid || live.status?.mode !== 'single') return;
      if (live.status.target?.epoch !== target?.epoch) return;
      this.#sent.set(uid, '');
      await this.#writer.status(VOLUME, live, (status) => {
        status.mode = 'replicated';
        status.made = true;
        status.members = [{ id, replica: replica.metadata.name }];
      });
    } catch (error) {
      const why = `it cannot be given its first record: ${(error as Error).message}`;
      this.#failed.set(name, { atMs: clock.nowMs(), why });
      if (this.#sent.has(uid)) this.#sent.set(uid, why);
      throw error;
    }
    this.#failed.delete(name);
    log.info({ volume: name, replica: id }, 'a volume of one replica has its first record');
    events.record(object, 'Normal', 'MayGetReplicas', 'its replica has a record: others may join');
  }

  /**
   * The change may have been made and nobody here has seen it yet, or have failed and be made all the same: a volume that is
   * replicated already must not be served in place. That it is not made is sure once another change is in its stead.
   */
  async isUndecided({ metadata }: VolumeObject): Promise<boolean> {
    const { name, uid } = metadata;
    const why = this.#sent.get(uid);
    if (why === undefined) return false;
    const live = await this.#writer.live<VolumeObject>(VOLUME, null, name);
    if (live?.metadata.uid !== uid || live.status?.mode !== 'single') return true;
    await this.#writer.status(VOLUME, live, (status) => {
      status.conditions ??= [];
      const message = `${why} (${this.#writer.nowIso})`;
      const condition = { type: MEMBERS_AS_WANTED, reason: 'CannotChange', message } as const;
      setCondition(status.conditions, { ...condition, status: 'False' }, this.#around.now());
    });
    this.#sent.delete(uid);
    return false;
  }

  /** What it was before goes. Done already is done. */
  async finish(replica: Replica, { metadata, status }: VolumeObject): Promise<void> {
    const { volumeName, poolName } = replica.spec;
    if (status?.mode !== 'replicated' || status.made !== true) return;
    const open = this.#open.find(poolName);
    const before = open?.pool.volume(volumeName) ?? null;
    if (open === null || open.replicas === null || before === null) return;
    if (before.id !== replica.metadata.uid) return; // Not its own: of a volume of that name before it.
    const live = await this.#writer.live<VolumeObject>(VOLUME, null, volumeName);
    if (live?.metadata.uid !== metadata.uid || live.status?.mode !== 'replicated') return;
    await open.replicas.host.dropAdopted(metadata.uid, memberIdOf(replica), volumeName);
  }
}
