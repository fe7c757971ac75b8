// P5 on a node: snapshots of several volumes at one instant. A Snapshot with `alsoVolumes` is the head of a group; the
// others are Snapshots of their own, made by the node that serves them all, and cut with it between two events.
//
// What must hold: under which ids the cuts are made is in the head before the first of them is. Who comes after a crash
// finds all of them, and says so; or some, which are of an instant that the others do not have: those are taken back, and
// the group is taken anew under other ids, so that nobody who was away takes one cut for another.
import { randomUUID } from 'node:crypto';
import { cutTogether, type ReplicatedHandle, takeBack } from '../../control/index.ts';
import {
  Finalizer,
  isDeleting,
  Label,
  memberName,
  REPLICAS_OF_VOLUME,
  type Writer,
} from '../../controllers/index.ts';
import { SNAPSHOT, type Snapshot, VOLUME } from '../../kinds/index.ts';
import type { Pool as StorePool } from '../../store/index.ts';
import type { Volume as ServedVolume } from '../../volume/index.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';
import type { VolumeKeeper } from './volumes.ts';

/** What a snapshot is called in its volume. */
export function cutIdOf({ metadata, spec, status }: Snapshot): string {
  return spec.receivedId ?? status?.cutId ?? metadata.uid;
}

export interface Cut {
  readonly createdMs: number;
  readonly sizeBlocks: number;
  /** Members that hold it; null: it is in one pool. */
  readonly holders: readonly string[] | null;
}

/** A group that came to an end. */
export interface Group {
  /** The head's first. */
  readonly snapshots: readonly {
    readonly object: Snapshot;
    readonly id: string;
    readonly cut: Cut;
  }[];
}

/** Why a group is not taken now; it is tried again. */
export class NotNow extends Error {
  override readonly name = 'NotNow';
}

interface Part {
  readonly volume: string;
  readonly object: Snapshot;
  readonly id: string;
}

export class SnapshotGroups {
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  readonly #volumes: VolumeKeeper;

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer, volumes: VolumeKeeper) {
    this.#around = around;
    this.#open = open;
    this.#writer = writer;
    this.#volumes = volumes;
  }

  /** Takes it, or finds that it is taken. Rejects with NotNow, or with StoreError. */
  async take(head: Snapshot): Promise<Group> {
    const volumes = volumesOf(head);
    const kept = this.#how(volumes);
    const parts = await this.#parts(head, volumes);
    const there = parts.map((part) => this.#find(part));
    if (there.every((cut) => cut !== null)) return groupOf(parts, there as Cut[]);
    this.#refuseWhileReceiving(parts);
    const { head: live, parts: fresh } = await this.#begin(head, parts);
    if (kept === 'replicated') await this.#onReplicas(fresh);
    else await this.#inPool(kept, fresh);
    const taken = fresh.map((part) => this.#find(part));
    if (taken.some((cut) => cut === null)) throw new NotNow('its cuts are being looked for');
    const [first, ...others] = fresh;
    return groupOf([{ ...first!, object: live }, ...others], taken as Cut[]);
  }

  /** Before its head goes: what was cut and never reported, and those that were to be beside it. False: not all of it now. */
  async undo(head: Snapshot): Promise<boolean> {
    const { catalog } = this.#around;
    const ids = new Map(head.status?.cuts?.map(({ volume, id }) => [volume, id]));
    for (const volume of volumesOf(head)) {
      if (catalog.get(VOLUME, volume) === null) continue;
      const name = memberName(head, volume);
      const object = catalog.get(SNAPSHOT, name);
      const id = ids.get(volume);
      if (id !== undefined && !(await this.#drop({ volume, name, id }))) return false;
      if (object?.spec.group?.uid === head.metadata.uid && !isDeleting(object)) {
        await this.#writer.remove(SNAPSHOT, object);
      }
    }
    return true;
  }

  /** All replicated, or the pool that all are in. */
  #how(volumes: readonly string[]): 'replicated' | StorePool {
    const { catalog, nodeName } = this.#around;
    const pools = new Set<string>();
    let replicated = 0;
    for (const name of volumes) {
      const volume = catalog.get(VOLUME, name);
      if (volume === null || isDeleting(volume)) throw new NotNow(`volumes "${name}" not found`);
      const { target, mode } = volume.status ?? {};
      if (mode === undefined || target === undefined) throw new NotNow(`${name} is not served yet`);
      if (target.nodeName !== nodeName) {
        // The controllers see to it (`VolumeController`), but what lives in one pool stays there.
        const why = mode === 'single' ? ', and its one replica is there' : ' still';
        throw new NotNow(
          `${name} is coordinated by ${target.nodeName}${why}: one instant is of one node`,
        );
      }
      if (mode === 'replicated') {
        replicated += 1;
        continue;
      }
      const replica = catalog
        .where(REPLICAS_OF_VOLUME, name)
        .find(({ spec }) => spec.nodeName === nodeName);
      pools.add(replica?.spec.poolName ?? '');
    }
    if (replicated === volumes.length) return 'replicated';
    const [poolName = ''] = pools;
    if (replicated > 0 || pools.size > 1) {
      throw new NotNow(
        'some are replicated and some are not, or in several pools: one instant is of one kind',
      );
    }
    const pool = this.#open.get(poolName);
    if (pool === null) throw new NotNow(`pool ${poolName} is not open`);
    return pool;
  }

  /** With the ids of the attempt that the head knows of. */
  async #parts(head: Snapshot, volumes: readonly string[]): Promise<Part[]> {
    const ids = new Map(head.status?.cuts?.map(({ volume, id }) => [volume, id]));
    const parts: Part[] = [];
    for (const volume of volumes) {
      const object = volume === head.spec.volumeName ? head : await this.#beside(head, volume);
      parts.push({ volume, object, id: ids.get(volume) ?? '' });
    }
    return parts;
  }

  async #beside(head: Snapshot, volume: string): Promise<Snapshot> {
    const { name, uid } = head.metadata;
    const made = await this.#writer.ensure<Snapshot>(SNAPSHOT, {
      metadata: {
        name: memberName(head, volume),
        labels: { [Label.Volume]: volume },
        finalizers: [Finalizer.Snapshot],
      },
      spec: { volumeName: volume, group: { name, uid } },
    });
    if (made.spec.group?.uid !== uid) {
      throw new NotNow(
        `snapshots "${made.metadata.name}" already exists, and is none of this group`,
      );
    }
    if (isDeleting(made)) throw new NotNow(`snapshots "${made.metadata.name}" is being deleted`);
    return made;
  }

  /** Takes back what is half a group, and says in the head what is to be cut now. */
  async #begin(head: Snapshot, parts: readonly Part[]): Promise<{ head: Snapshot; parts: Part[] }> {
    for (const { volume, id, object } of parts) {
      if (id === '') continue;
      const { name } = object.metadata;
      if (!(await this.#drop({ volume, name, id })))
        throw new NotNow(`${volume} is not served now`);
    }
    const fresh = parts.map((part) => ({ ...part, id: randomUUID() }));
    const live = await this.#writer.status(SNAPSHOT, head, (status) => {
      status.cuts = fresh.map(({ volume, id }) => ({ volume, id }));
    });
    return { head: live, parts: fresh };
  }

  async #onReplicas(parts: readonly Part[]): Promise<void> {
    this.#refuseWhileReceiving(parts); // A stream may have begun since.
    const createdMs = this.#around.now().getTime();
    const cuts = parts.map(({ volume, id, object }) => ({
      handle: this.#serving(volume),
      snapshot: { id, name: object.metadata.name, createdMs },
    }));
    const why = await cutTogether(cuts, 'replicas of a volume are being changed');
    if (why === null) return;
    for (const { handle, snapshot } of cuts) await takeBack(handle, snapshot.id); // Else the next attempt does.
    throw new NotNow(why);
  }

  /** What is there of a stream that is not whole is neither the old state nor the new. */
  #refuseWhileReceiving(parts: readonly Part[]): void {
    const received = parts.find(({ volume }) => this.#volumes.isReceiving(volume));
    if (received !== undefined) throw new NotNow(`${received.volume} is being received`);
  }

  async #inPool(pool: StorePool, parts: readonly Part[]): Promise<void> {
    const served = parts.map(({ volume }) => {
      const one = this.#volumes.volume(volume);
      if (one === null) throw new NotNow(`${volume} is not served yet`);
      return one;
    });
    const requests = parts.map(({ volume, object, id }, index) => {
      const { name } = object.metadata;
      return { volume, name, id, ...(served[index] as ServedVolume).cut() };
    });
    await pool.createSnapshots(requests, this.#around.now().getTime());
  }

  #serving(volume: string): ReplicatedHandle {
    const handle = this.#volumes.handle(volume);
    if (handle?.serving !== true) throw new NotNow(`${volume} has no quorum, or is not served yet`);
    return handle;
  }

  #find({ volume, object, id }: Part): Cut | null {
    const handle = this.#volumes.handle(volume);
    if (handle !== null) {
      const found = this.#serving(volume)
        .snapshots()
        .find((one) => one.id === id);
      return found ?? null;
    }
    const found = this.#poolOf(volume)
      ?.snapshot(`${volume}@${object.metadata.name}`)
      ?.snapshotInfo();
    if (found === undefined || found.id !== id) return null;
    return { createdMs: found.createdMs, sizeBlocks: found.sizeBlocks, holders: null };
  }

  #poolOf(volume: string): StorePool | null {
    const { catalog, nodeName } = this.#around;
    const replica = catalog
      .where(REPLICAS_OF_VOLUME, volume)
      .find(({ spec }) => spec.nodeName === nodeName);
    return this.#open.get(replica?.spec.poolName ?? '');
  }

  /** False: its volume is not served here now. */
  async #drop(cut: { volume: string; name: string; id: string }): Promise<boolean> {
    const { volume, name, id } = cut;
    const handle = this.#volumes.handle(volume);
    if (handle !== null) return (await takeBack(handle, id)) === null;
    if (this.#volumes.volume(volume) === null) return false;
    const pool = this.#poolOf(volume);
    const full = `${volume}@${name}`;
    if (pool?.snapshot(full)?.snapshotInfo().id === id) await pool.deleteSnapshot(full);
    return true;
  }
}

/** The head's first. */
export function volumesOf({ spec }: Snapshot): string[] {
  return [spec.volumeName, ...(spec.alsoVolumes ?? [])];
}

export function isHead({ spec }: Snapshot): boolean {
  return (spec.alsoVolumes ?? []).length > 0;
}

/** One that its group's head takes. */
export function isBeside({ spec }: Snapshot): boolean {
  return spec.group !== undefined;
}

function groupOf(parts: readonly Part[], cuts: readonly Cut[]): Group {
  return {
    snapshots: parts.map(({ object, id }, index) => ({ object, id, cut: cuts[index]! })),
  };
}
