// Snapshots of the volumes that this node serves: cut in the stream of their operations, without a pause, and deleted
// when their objects go.
import { type KindDefinition, setCondition } from '../../apiserver/index.ts';
import {
  type Controller,
  Finalizer,
  hasFinalizer,
  isDeleting,
  REPLICAS_OF_VOLUME,
  restoreUnderWay,
  SNAPSHOTS_OF_VOLUME,
  type Writer,
} from '../../controllers/index.ts';
import { SNAPSHOT, type Snapshot, VOLUME, type Volume } from '../../kinds/index.ts';
import { STORE_BLOCK_BYTES, StoreError, type Pool as StorePool } from '../../store/index.ts';
import { memberIdOf } from './members.ts';
import { cutIdOf, isBeside, isHead, NotNow, SnapshotGroups, volumesOf } from './snapshot-groups.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';
import type { VolumeKeeper } from './volumes.ts';

const TRY_AGAIN_MS = 2000;
/** Who holds it changes without a word to us. */
const LOOK_AGAIN_MS = 10_000;

export class SnapshotKeeper implements Controller {
  readonly name = 'node-snapshots';
  readonly kind = SNAPSHOT as unknown as KindDefinition;
  readonly triggers;
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  readonly #volumes: VolumeKeeper;
  readonly #groups: SnapshotGroups;

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer, volumes: VolumeKeeper) {
    this.#around = around;
    this.#open = open;
    this.#writer = writer;
    this.#volumes = volumes;
    this.#groups = new SnapshotGroups(around, open, writer, volumes);
    const { catalog } = around;
    this.triggers = [
      {
        kind: VOLUME as unknown as KindDefinition,
        keys: ({ metadata }: { metadata: { name: string } }) =>
          catalog
            .where(SNAPSHOTS_OF_VOLUME, metadata.name)
            .filter((snapshot) => isDeleting(snapshot) || snapshot.status?.phase !== 'Ready')
            .map((snapshot) => snapshot.metadata.name),
      },
    ];
  }

  async reconcile(key: string): Promise<number | undefined> {
    const { catalog, nodeName } = this.#around;
    const snapshot = catalog.get(SNAPSHOT, key);
    if (snapshot === null) return undefined;
    const volume = catalog.get(VOLUME, snapshot.spec.volumeName);
    if (volume?.status?.target?.nodeName !== nodeName) return undefined;
    const isTaken = snapshot.status?.phase === 'Ready';
    try {
      if (isHead(snapshot) && !isTaken) return await this.#ofGroup(snapshot);
      // Its head takes it; once that is gone, or gives it up, it is deleted.
      if (isBeside(snapshot) && !isTaken && !isDeleting(snapshot)) return undefined;
      // Without it nobody would be asked to take back what was cut.
      if (!isDeleting(snapshot) && !hasFinalizer(snapshot, Finalizer.Snapshot)) {
        await this.#writer.addFinalizer(SNAPSHOT, snapshot, Finalizer.Snapshot);
        return undefined; // That change brings it back here.
      }
      if (isDeleting(snapshot) && isTaken && (await this.#isNeeded(snapshot))) return TRY_AGAIN_MS;
      if (volume.status.mode === 'replicated') return await this.#ofReplicas(snapshot, volume);
      const pool = this.#poolOf(volume);
      if (pool === null) return TRY_AGAIN_MS;
      if (isDeleting(snapshot)) await this.#delete(snapshot, pool);
      else if (snapshot.status?.phase !== 'Ready') return await this.#take(snapshot, pool);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      await this.#fails(snapshot, error.code, error.message);
      return TRY_AGAIN_MS * 5;
    }
    return undefined;
  }

  /** Something is being made from it. */
  async #isNeeded(snapshot: Snapshot): Promise<boolean> {
    const by = restoreUnderWay(this.#around.catalog, snapshot);
    if (by === null) return false;
    const message = `it goes once ${by}, which begins from it, has what it holds`;
    await this.#writer.status(SNAPSHOT, snapshot, (status) => {
      status.conditions ??= [];
      const condition = { type: 'Ready', status: 'True', reason: 'InUse', message } as const;
      setCondition(status.conditions, condition, this.#around.now());
    });
    return true;
  }

  async #ofGroup(head: Snapshot): Promise<number | undefined> {
    const { log, events } = this.#around;
    const { name } = head.metadata;
    if (isDeleting(head)) {
      if (!hasFinalizer(head, Finalizer.Snapshot)) return undefined;
      if (!(await this.#groups.undo(head))) return TRY_AGAIN_MS;
      await this.#writer.removeFinalizer(SNAPSHOT, head, Finalizer.Snapshot);
      return undefined;
    }
    // Without it nobody would be asked to take back what was cut.
    if (!hasFinalizer(head, Finalizer.Snapshot)) {
      await this.#writer.addFinalizer(SNAPSHOT, head, Finalizer.Snapshot);
      return undefined; // That change brings it back here.
    }
    try {
      const { snapshots } = await this.#groups.take(head);
      // The head last: until it says so, all of this is done again.
      for (const { object, id, cut } of [...snapshots].reverse()) {
        const { volumeName } = object.spec;
        const holders = cut.holders === null ? undefined : this.#namesOf(volumeName, cut.holders);
        await this.#tellReady(object, cut.createdMs, cut.sizeBlocks, holders, id);
      }
      const volumes = volumesOf(head);
      log.info({ snapshot: name, volumes }, 'a group of snapshots is taken');
      events.record(head, 'Normal', 'SnapshotTaken', `of ${volumes.join(', ')} at one instant`);
      return undefined;
    } catch (error) {
      if (!(error instanceof NotNow)) throw error;
      await this.#fails(head, 'NotNow', error.message);
      return TRY_AGAIN_MS / 4;
    }
  }

  #namesOf(volume: string, members: readonly string[]): string[] {
    return this.#around.catalog
      .where(REPLICAS_OF_VOLUME, volume)
      .filter((replica) => members.includes(memberIdOf(replica)))
      .map(({ metadata }) => metadata.name)
      .sort();
  }

  /** Its volume's coordinator takes it, on every replica in sync, and knows which hold it from then on (P3). */
  async #ofReplicas(snapshot: Snapshot, volume: Volume): Promise<number | undefined> {
    const { log, events } = this.#around;
    const { name } = snapshot.metadata;
    const uid = cutIdOf(snapshot);
    const { volumeName } = snapshot.spec;
    const handle = this.#volumes.handle(volumeName);
    if (handle?.serving !== true) return TRY_AGAIN_MS;
    const find = () => handle.snapshots().find(({ id }) => id === uid);
    if (isDeleting(snapshot)) {
      if (!hasFinalizer(snapshot, Finalizer.Snapshot)) return undefined;
      if (find() !== undefined) {
        try {
          await handle.deleteSnapshot(uid);
        } catch (error) {
          log.warn({ volume: volumeName, snapshot: name, err: error }, 'a snapshot is not deleted');
          return TRY_AGAIN_MS;
        }
        log.info({ volume: volumeName, snapshot: name }, 'a snapshot is deleted');
      }
      await this.#writer.removeFinalizer(SNAPSHOT, snapshot, Finalizer.Snapshot);
      return undefined;
    }
    if (find() === undefined) {
      if (snapshot.status?.takenAt !== undefined || snapshot.spec.receivedId !== undefined) {
        // What it held then is gone with the stores; what the volume is now would be something else under its name.
        await this.#fails(snapshot, 'Lost', 'every replica that held it has lost its store');
        return undefined;
      }
      if (this.#volumes.isReceiving(volumeName)) {
        await this.#fails(snapshot, 'NotNow', `${volumeName} is being received`);
        return TRY_AGAIN_MS;
      }
      try {
        await handle.takeSnapshot({ id: uid, name, createdMs: this.#around.now().getTime() });
      } catch (error) {
        await this.#fails(snapshot, 'NotNow', (error as Error).message);
        return TRY_AGAIN_MS;
      }
      log.info({ volume: volumeName, snapshot: name }, 'a snapshot is taken');
    }
    const taken = find();
    if (taken === undefined) return TRY_AGAIN_MS;
    const wasReady = snapshot.status?.phase === 'Ready';
    const holders = this.#namesOf(volume.metadata.name, taken.holders);
    await this.#tellReady(snapshot, taken.createdMs, taken.sizeBlocks, holders);
    if (!wasReady) events.record(snapshot, 'Normal', 'SnapshotTaken', `of ${volumeName}`);
    return LOOK_AGAIN_MS;
  }

  async #tellReady(
    snapshot: Snapshot,
    createdMs: number,
    sizeBlocks: number,
    holders?: string[],
    cutId?: string,
  ): Promise<void> {
    const { now } = this.#around;
    await this.#writer.status(SNAPSHOT, snapshot, (status) => {
      status.phase = 'Ready';
      status.takenAt = `${new Date(createdMs).toISOString().slice(0, 19)}Z`;
      status.sizeBytes = sizeBlocks * STORE_BLOCK_BYTES;
      if (holders !== undefined) status.holders = holders;
      if (cutId !== undefined) status.cutId = cutId;
      status.conditions ??= [];
      const condition = { type: 'Ready', status: 'True', reason: 'Taken' } as const;
      setCondition(status.conditions, { ...condition, message: 'it can be restored from' }, now());
    });
  }

  #poolOf({ metadata }: Volume): StorePool | null {
    const { catalog, nodeName } = this.#around;
    const replica = catalog
      .where(REPLICAS_OF_VOLUME, metadata.name)
      .find(({ spec }) => spec.nodeName === nodeName);
    return replica === undefined ? null : this.#open.get(replica.spec.poolName);
  }

  async #take(snapshot: Snapshot, pool: StorePool): Promise<number | undefined> {
    const { events, log } = this.#around;
    const { name, uid } = snapshot.metadata;
    const { volumeName } = snapshot.spec;
    const full = `${volumeName}@${name}`;
    let taken = pool.snapshot(full);
    if (taken !== null && taken.id !== uid) {
      // What it holds is not what this one is asked for.
      throw new StoreError(
        'STORE_EXISTS',
        `pool ${pool.name} holds another snapshot ${full} (${taken.id}), which is not this one`,
      );
    }
    if (taken === null) {
      const volume = this.#volumes.volume(volumeName);
      if (volume === null) return TRY_AGAIN_MS; // It is served in a moment.
      const request = { volume: volumeName, name, id: uid, ...volume.cut() };
      [taken = null] = await pool.createSnapshots([request], Date.now());
      log.info({ volume: volumeName, snapshot: name }, 'a snapshot is taken');
    }
    const info = taken?.snapshotInfo();
    if (info === undefined) return TRY_AGAIN_MS;
    await this.#tellReady(snapshot, info.createdMs, info.sizeBlocks);
    events.record(snapshot, 'Normal', 'SnapshotTaken', `of ${volumeName}`);
    return undefined;
  }

  async #delete(snapshot: Snapshot, pool: StorePool): Promise<void> {
    const { log } = this.#around;
    if (!hasFinalizer(snapshot, Finalizer.Snapshot)) return;
    const full = `${snapshot.spec.volumeName}@${snapshot.metadata.name}`;
    const there = pool.snapshot(full);
    // Its head alone knows the id of one that a group has not told of yet.
    if (there !== null && (isBeside(snapshot) || there.id === cutIdOf(snapshot))) {
      await pool.deleteSnapshot(full);
      log.info({ volume: snapshot.spec.volumeName, snapshot: full }, 'a snapshot is deleted');
    }
    await this.#writer.removeFinalizer(SNAPSHOT, snapshot, Finalizer.Snapshot);
  }

  async #fails(snapshot: Snapshot, reason: string, message: string): Promise<void> {
    const { events, now } = this.#around;
    const said = await this.#writer.status(SNAPSHOT, snapshot, (status) => {
      status.phase = 'Failed';
      status.conditions ??= [];
      setCondition(status.conditions, { type: 'Ready', status: 'False', reason, message }, now());
    });
    if (said !== snapshot) events.record(snapshot, 'Warning', 'SnapshotFailed', message);
  }
}
