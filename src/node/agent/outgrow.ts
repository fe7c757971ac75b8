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
  MEMBERS_AS_WANTED,
  REPLICAS_OF_VOLUME,
  SNAPSHOTS_OF_VOLUME,
  VOLUMES_WITH_SOURCE,
  type Writer,
} from '../../controllers/index.ts';
import {
  NODE,
  type Replica,
  VOLUME,
  type Volume as VolumeObject,
  type VolumePolicySpec,
} from '../../kinds/index.ts';
import type { Volume } from '../../volume/index.ts';
import { memberIdOf } from './members.ts';
import type { NodeSurroundings, OpenPool, OpenPools } from './surroundings.ts';

/** After a try that failed: at each of them hosts are kept away. Twice as long after each further one. */
const PAUSE_MS = 60_000;
const MAX_PAUSE_MS = 3_600_000;
const SHOWN = 3;
const INTERRUPTED = 'what its node had begun was interrupted, and is done anew';

interface Failed {
  readonly atMs: number;
  readonly why: string;
  readonly pauseMs: number;
}

/** Its one replica, which is here. */
interface Only {
  readonly replica: Replica;
  readonly open: OpenPool & { readonly replicas: NonNullable<OpenPool['replicas']> };
}

export class Outgrowing {
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  /** Of volumes whose last try failed, by uid. */
  readonly #failed = new Map<string, Failed>();
  /** Volumes whose change was sent, by uid; why it failed, if it was said to have. The catalog may be behind. */
  readonly #sent = new Map<string, string>();
  /** Volumes of which it is known that no change is under way, by uid. What was sent before a restart may be. */
  readonly #settled = new Set<string>();

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer) {
    this.#around = around;
    this.#open = open;
    this.#writer = writer;
  }

  /** Others are wanted, and the controllers have a place for one. */
  isWanted(object: VolumeObject, policy: VolumePolicySpec): boolean {
    const { catalog, nodeName, isAlone, replication } = this.#around;
    if (object.status?.mode !== 'single' || isDeleting(object) || replication === null)
      return false;
    const isDrained = catalog.get(NODE, nodeName)?.spec.drain === true;
    if ((policy.replicaCount ?? 1) < 2 && !isDrained) return false;
    if (isAlone && policy.replicaPlacement !== 'pool') return false;
    // It cannot be taken back: they alone know of all that stands against a place.
    if ((object.status.replicas?.places ?? 0) === 0) return false;
    return this.#only(object) !== null;
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

  /** Why it cannot be done now, in words; empty: it can. Hosts are not kept away for finding that out. */
  hindrance(object: VolumeObject): string {
    const { catalog, clock } = this.#around;
    const { name, uid } = object.metadata;
    const failed = this.#failed.get(uid);
    if (failed !== undefined && clock.nowMs() - failed.atMs < failed.pauseMs) return failed.why;
    const snapshots = catalog.where(SNAPSHOTS_OF_VOLUME, name);
    if (snapshots.length > 0) {
      const names = shown(snapshots.map((snapshot) => snapshot.metadata.name));
      const are = snapshots.length === 1 ? 'a snapshot' : `${snapshots.length} snapshots`;
      return `it has ${are} from when it has one replica (${names}): delete those, or restore one into a new claim that has more replicas`;
    }
    const copy = catalog
      .where(VOLUMES_WITH_SOURCE, 'yes')
      .find(({ spec, status }) => spec.source?.volume === name && status?.phase !== 'Ready');
    if (copy !== undefined) return `${copy.metadata.name} is being made as a copy of it`;
    const only = this.#only(object);
    const left = only?.open.replicas.host.snapshotsOf(name) ?? [];
    return left.length === 0
      ? ''
      : `pool ${only?.replica.spec.poolName} has snapshots of it that no object names (${shown(left)})`;
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
    let isDecided = false;
    try {
      const blobs = volume.keptBlobs();
      const { epoch, opNumber: op } = version;
      const wanted = { volumeId: uid, replicaId: id, from: name, version: { epoch, op } };
      await open.replicas.host.adopt(wanted);
      const member = { id, node: open.replicaAddress };
      await replication.make(uid, volume.store.info().sizeBlocks, [member], blobs);
      const live = await this.#writer.live<VolumeObject>(VOLUME, null, name);
      const { target } = object.status ?? {};
      isDecided = live?.metadata.uid === uid && live.status?.mode !== 'single';
      // As it was decided on: else all of this was for nothing, and is done anew.
      if (live?.metadata.uid !== uid || live.status?.mode !== 'single') return;
      if (live.status.target?.epoch !== target?.epoch) return;
      this.#settled.delete(uid);
      this.#sent.set(uid, '');
      await this.#writer.status(VOLUME, live, (status) => {
        status.mode = 'replicated';
        status.made = true;
        status.members = [{ id, replica: replica.metadata.name }];
      });
    } catch (error) {
      const why = `it cannot be given its first record: ${(error as Error).message}`;
      const { pauseMs = PAUSE_MS / 2 } = this.#failed.get(uid) ?? {};
      const failed = { atMs: clock.nowMs(), why, pauseMs: Math.min(pauseMs * 2, MAX_PAUSE_MS) };
      this.#failed.set(uid, failed);
      if (this.#sent.has(uid)) this.#sent.set(uid, why);
      throw error;
    } finally {
      if (!this.#sent.has(uid) && !isDecided) await this.#discard(object, only);
    }
    this.#failed.delete(uid);
    log.info({ volume: name, replica: id }, 'a volume of one replica has its first record');
    events.record(object, 'Normal', 'MayGetReplicas', 'its replica has a record: others may join');
  }

  /**
   * The change may have been made and nobody here has seen it yet, or have failed and be made all the same: a volume that is
   * replicated already must not be served in place. That it is not made is sure once another change is in its stead. What a
   * try left in the pool is all that tells, after a restart, that one may have been sent.
   */
  async isUndecided(object: VolumeObject): Promise<boolean> {
    const { name, uid } = object.metadata;
    const left = this.#left(object);
    const why =
      this.#sent.get(uid) ?? (left === null || this.#settled.has(uid) ? null : INTERRUPTED);
    if (why !== null) {
      const live = await this.#writer.live<VolumeObject>(VOLUME, null, name);
      if (live?.metadata.uid !== uid || live.status?.mode !== 'single') return true;
      const fenced = await this.#writer.status(VOLUME, live, (status) => {
        status.conditions ??= [];
        const message = `${why} (${this.#writer.nowIso})`;
        const condition = { type: MEMBERS_AS_WANTED, reason: 'CannotChange', message } as const;
        setCondition(status.conditions, { ...condition, status: 'False' }, this.#around.now());
      });
      // Nothing was written: that very second said so before.
      if (fenced === live) return true;
      this.#sent.delete(uid);
      this.#settled.add(uid);
    }
    if (left !== null) await this.#discard(object, left);
    return false;
  }

  /** False: its pool came to be open since that was asked. */
  isSettled(object: VolumeObject): boolean {
    return this.#settled.has(object.metadata.uid) || this.#left(object) === null;
  }

  /** Its replica here, where something is left of a try to make a coordinated one of it. */
  #left(object: VolumeObject): Only | null {
    const only = this.#only(object);
    if (only === null) return null;
    const { name, uid } = object.metadata;
    const { host } = only.open.replicas;
    return host.isAdopting(uid, memberIdOf(only.replica), name) ? only : null;
  }

  /** Of a try that came to nothing: it would take space, and stand against the volume's end. What fails is tried again. */
  async #discard({ metadata }: VolumeObject, { replica, open }: Only): Promise<void> {
    const { name, uid } = metadata;
    try {
      await open.replicas.host.discardAdopted(uid, memberIdOf(replica), name);
    } catch (error) {
      this.#around.log.warn({ volume: name, err: error }, 'what a try left in its pool stays');
    }
  }

  /** Rejects where the volume that its replica here was made of was written to since. */
  async assertNewest({ metadata, status }: VolumeObject): Promise<void> {
    const { catalog, nodeName } = this.#around;
    for (const replica of catalog.where(REPLICAS_OF_VOLUME, metadata.name)) {
      const id = memberIdOf(replica);
      if (replica.spec.nodeName !== nodeName) continue;
      if (status?.members?.some((member) => member.id === id) !== true) continue;
      const open = this.#open.find(replica.spec.poolName);
      if (!isMadeOf(replica, open)) continue;
      await open?.replicas?.host.assertNewest(metadata.uid, id, metadata.name);
    }
  }

  /** What it was before goes. Done already is done. */
  async finish(replica: Replica, { metadata, status }: VolumeObject): Promise<void> {
    const { volumeName, poolName } = replica.spec;
    if (status?.mode !== 'replicated' || status.made !== true) return;
    const open = this.#open.find(poolName);
    if (open?.replicas == null || !isMadeOf(replica, open)) return;
    const live = await this.#writer.live<VolumeObject>(VOLUME, null, volumeName);
    if (live?.metadata.uid !== metadata.uid || live.status?.mode !== 'replicated') return;
    await open.replicas.host.dropAdopted(metadata.uid, memberIdOf(replica), volumeName);
  }
}

/** The volume that it was made of is still there; one of that name that is not its own is of a volume before it. */
function isMadeOf({ spec, metadata }: Replica, open: OpenPool | null): boolean {
  return open?.pool.volume(spec.volumeName)?.id === metadata.uid;
}

function shown(names: readonly string[]): string {
  return `${names.slice(0, SHOWN).join(', ')}${names.length > SHOWN ? ', …' : ''}`;
}
