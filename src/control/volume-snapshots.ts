// Snapshots of the volumes that are served: in the pool here, or on replicas by their coordinator.
import { randomUUID } from 'node:crypto';
import type { StoreSnapshot } from '../store/types.ts';
import { ApiError, notFound } from './errors.ts';
import type { ExposedSnapshot, ExposedSnapshots } from './exposed-snapshots.ts';
import {
  type Hosted,
  type HostedVolumes,
  translated,
  type VolumeControllerOptions,
} from './hosted-volumes.ts';
import { type KeptSnapshot, keptInPool, keptOnReplicas } from './kept-snapshots.ts';
import { receivingOf, refuseWhileReceiving } from './receiving-mark.ts';
import { ReplicatedSource } from './replicated-source.ts';
import type { ReplicatedHandle } from './replication.ts';
import { SnapshotGroups } from './snapshot-groups.ts';
import type { SnapshotSchedule } from './snapshot-schedule.ts';

export class VolumeSnapshots {
  readonly #options: VolumeControllerOptions;
  readonly #table: HostedVolumes;
  readonly #exposed: ExposedSnapshots;
  readonly groups: SnapshotGroups;

  constructor(options: VolumeControllerOptions, table: HostedVolumes, exposed: ExposedSnapshots) {
    this.#options = options;
    this.#table = table;
    this.#exposed = exposed;
    this.groups = new SnapshotGroups(options, table);
  }

  /** Oldest first. */
  of(name: string): KeptSnapshot[] {
    const replicated = this.#table.get(name)?.replicated ?? null;
    return replicated === null
      ? this.#table.poolOf(name).snapshots(name).map(keptInPool)
      : replicated.snapshots().map((snapshot) => keptOnReplicas(name, snapshot));
  }

  /** By `volume@name`. */
  get(fullName: string): KeptSnapshot | null {
    const [volume = '', short] = fullName.split('@');
    return this.of(volume).find(({ name }) => name === short) ?? null;
  }

  /** To read a snapshot of a volume on replicas, whole or since an earlier one; null: its volume is in a pool here. */
  source(fullName: string, fromName: string | null): ReplicatedSource | null {
    const [volume = '', short = ''] = fullName.split('@');
    const hosted = this.#table.get(volume);
    if (hosted === undefined || hosted.replicated === null) return null;
    const { replicated: handle, wanted, store } = hosted;
    if (!handle.serving) throw new ApiError('Conflict', `volumes "${volume}" is not served`);
    const all = handle.snapshots();
    const find = (name: string): number => {
      const at = all.findIndex((one) => one.name === name);
      if (at < 0) throw notFound('snapshots', `${volume}@${name}`);
      return at;
    };
    const at = find(short);
    const fromAt = fromName === null ? -1 : find(fromName);
    if (fromAt >= at) {
      throw new ApiError('BadRequest', `${volume}@${fromName} is not older than ${fullName}`);
    }
    return new ReplicatedSource({
      handle,
      volume,
      volumeId: store.id,
      snapshot: all[at]!,
      from: fromAt < 0 ? null : all[fromAt]!,
      logicalBlockBytes: wanted.blockSize,
    });
  }

  /** Snapshots of these volumes at one instant, all or none; in their order. Durable before it resolves. */
  async take(names: readonly string[], short: string): Promise<readonly KeptSnapshot[]> {
    const { now } = this.#options;
    const [alone = ''] = names;
    const { place, replicated: onReplicas } = this.#table.find(alone);
    this.#table.refuseWhenDown(place);
    for (const name of names) refuseWhileReceiving(this.#table.find(name).store);
    if (names.length === 1 && onReplicas !== null) {
      return [await this.#takeOnReplicas(alone, short)];
    }
    if (names.every((name) => this.#table.find(name).replicated !== null)) {
      return await this.#takeGroup(names, short);
    }
    const { pool } = place;
    const volumes = names.map((name) => {
      const { volume, failure, replicated, place: other } = this.#table.find(name);
      if (other !== place) {
        const why = `volumes "${alone}" is in pool ${place.name} and "${name}" in ${other.name}: one instant is of one pool`;
        throw new ApiError('Conflict', why);
      }
      if (replicated !== null) {
        // One after the other they would be of different instants, and look like one.
        throw new ApiError(
          'Conflict',
          `volumes "${name}" is on replicas, and not all of the others are: one instant is of one kind`,
        );
      }
      if (volume !== null) return { name, volume };
      throw new ApiError('Conflict', `volumes "${name}" is not open: ${failure}`);
    });
    const made = await translated(`${names[0]}.${short}`, () =>
      // Versions and the cut in one go: no change comes between (P1).
      pool.createSnapshots(
        volumes.map(({ name, volume }) => ({
          volume: name,
          name: short,
          id: randomUUID(),
          ...volume.cut(),
        })),
        now().getTime(),
      ),
    );
    return made.map(keptInPool);
  }

  async #takeOnReplicas(name: string, short: string): Promise<KeptSnapshot> {
    const full = `${name}@${short}`;
    const refusal = `snapshots "${name}.${short}" already exists`;
    if (this.get(full) !== null) throw new ApiError('AlreadyExists', refusal);
    const createdMs = this.#options.now().getTime();
    await this.byCoordinator(name, (replicated) =>
      replicated.takeSnapshot({ id: randomUUID(), name: short, createdMs }),
    );
    return this.get(full)!;
  }

  async #takeGroup(names: readonly string[], short: string): Promise<readonly KeptSnapshot[]> {
    for (const name of names) {
      if (this.get(`${name}@${short}`) === null) continue;
      throw new ApiError('AlreadyExists', `snapshots "${name}.${short}" already exists`);
    }
    await this.groups.take(names, short);
    return names.map((name) => this.get(`${name}@${short}`)!);
  }

  async byCoordinator(
    name: string,
    run: (replicated: ReplicatedHandle) => Promise<void>,
  ): Promise<void> {
    const { replicated } = this.#table.find(name);
    if (replicated?.serving !== true) {
      const why = replicated?.advice().join(' ') ?? '';
      throw new ApiError('Conflict', `volumes "${name}" is not served: ${why}`);
    }
    try {
      await run(replicated);
    } catch (error) {
      throw new ApiError('Conflict', (error as Error).message, {}, { cause: error });
    }
  }

  /** By `volume@name`. In the pool here it is refused, naming them, while it has clones. */
  async delete(fullName: string): Promise<void> {
    const { place } = this.#table.find(fullName.split('@')[0]!);
    this.#table.refuseWhenDown(place);
    const found = this.get(fullName);
    if (found !== null && found.holders !== null) {
      await this.byCoordinator(found.volume, (replicated) => replicated.deleteSnapshot(found.id));
      return;
    }
    await this.#table.exclusively(fullName.split('@')[0]!, async () => {
      this.#exposed.assertHidden([fullName], 'deleted');
      await translated(fullName, () => place.pool.deleteSnapshot(fullName));
    });
  }

  /** What hosts see of a snapshot; null: it is not exposed. */
  exposure(fullName: string): ExposedSnapshot | null {
    return this.#exposed.find(fullName);
  }

  /** Hosts see the snapshot as a read-only disk of its own, also after a restart. */
  async expose(fullName: string): Promise<void> {
    await this.#withSnapshot(fullName, async ({ store, wanted }, snapshot) => {
      if (receivingOf(store) !== null) {
        throw new ApiError('Conflict', `volumes "${store.name}" is being received: wait for that`);
      }
      await this.#exposed.expose(store, wanted, snapshot);
    });
  }

  async unexpose(fullName: string, { force }: { force: boolean }): Promise<void> {
    await this.#withSnapshot(fullName, async ({ store }, snapshot) => {
      await this.#exposed.unexpose(store, snapshot, force);
    });
  }

  async #withSnapshot(
    fullName: string,
    run: (hosted: Hosted, snapshot: StoreSnapshot) => Promise<void>,
  ): Promise<void> {
    const [name = ''] = fullName.split('@');
    await this.#table.exclusively(name, async () => {
      const hosted = this.#table.find(name);
      this.#table.refuseWhenDown(hosted.place);
      if (hosted.replicated !== null) {
        throw new ApiError(
          'Conflict',
          `volumes "${name}" is on replicas, and its snapshots are read through a clone: ashlar create volume NEW --from-snapshot ${fullName} --replica-node …`,
        );
      }
      const snapshot = hosted.place.pool.snapshot(fullName);
      if (snapshot === null) throw notFound('snapshots', fullName.replace('@', '.'));
      await run(hosted, snapshot);
    });
  }

  /** Volumes whose snapshots are taken by a schedule; one that is being received has its turn when it is whole. */
  scheduled(): { name: string; schedule: SnapshotSchedule }[] {
    return this.#table
      .all()
      .flatMap(({ wanted, volume, store }) =>
        volume === null || !wanted.snapshots || receivingOf(store) !== null
          ? []
          : [{ name: wanted.metadata.name, schedule: wanted.snapshots }],
      );
  }
}
