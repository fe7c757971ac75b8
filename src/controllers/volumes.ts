// Volumes: gives each its replicas and a node that coordinates it, and says how it is. Nodes do the rest: they make the
// replicas that name them, and serve the volumes whose target they are.
//
// A target has an epoch that rises with each assignment. The node that is told to serve has to win that volume's
// replicas for itself first, so a node that was left behind by a partition serves nothing even where it does not know.
import type { KindDefinition } from '../apiserver/index.ts';
import { setCondition } from '../apiserver/index.ts';
import { formatQuantity } from '../base/index.ts';
import {
  BLOCK_DEVICE,
  NODE,
  type Node,
  POOL,
  type Pool,
  quantityBytes,
  REPLICA,
  type Replica,
  SNAPSHOT,
  type Snapshot,
  STORAGE_POOL_CLAIM,
  VOLUME,
  VOLUME_POLICY,
  type Volume,
  type VolumePolicySpec,
} from '../kinds/index.ts';
import {
  type Controller,
  hasFinalizer,
  isDeleting,
  ownerOf,
  type Surroundings,
  trigger,
  Writer,
} from './controller.ts';
import { expectedPlaces, mayHold } from './expected-places.ts';
import {
  LACKING_VOLUMES,
  placeOfReplica,
  REPLICAS_IN_POOL,
  REPLICAS_OF_VOLUME,
  REPLICAS_ON_NODE,
  roomOfPool,
  SNAPSHOTS_OF_VOLUME,
  stateOfNode,
  UNSETTLED_VOLUMES,
  VOLUMES_OF_POLICY,
  VOLUMES_OF_TARGET,
  VOLUMES_WITH_SOURCE,
} from './indexes.ts';
import {
  copySnapshotName,
  Finalizer,
  Label,
  MEMBERS_AS_WANTED,
  NO_QUORUM,
  REPLICAS_MISSING,
  replicaName,
  witnessName,
} from './names.ts';
import { isHeard, isLongSilent } from './on-node.ts';
import { isLeaving, placeReplicas } from './placement.ts';
import { promisedBytes } from './promises.ts';
import { targetOf } from './target.ts';
import { describe, type Wanted, type WitnessState } from './volume-words.ts';
import { apartFrom, placeWitness, WITNESS_SIZE } from './witness.ts';

/** How soon to look again where time alone changes what is to be done: a node goes silent, patience ends. */
const LOOK_AGAIN_MS = 1000;
/** Where room is waited for: it may have come while that was being said. */
const ROOM_AGAIN_MS = 30_000;

/** What became of the wish for more replicas. */
interface Placed {
  /** Asked for just now: the catalog may not show them yet. */
  readonly made: readonly Replica[];
  /** Why some cannot be had; empty: all can. */
  readonly missing: string;
  /** Of one that cannot be given others yet: places that they could have. */
  readonly places?: number;
}

export class VolumeController implements Controller {
  readonly name = 'volumes';
  readonly kind = VOLUME as unknown as KindDefinition;
  readonly triggers = [
    trigger(
      REPLICA,
      ({ metadata, spec }, catalog) => [
        spec.volumeName,
        // What was promised to one that is gone may be promised to another.
        ...(catalog.get(REPLICA, metadata.name) === null
          ? namesOf(catalog.where(LACKING_VOLUMES, 'yes'))
          : []),
      ],
      placeOfReplica,
    ),
    trigger(SNAPSHOT, ({ spec }, catalog) => [
      spec.volumeName,
      ...(spec.alsoVolumes ?? []),
      // Volumes that begin from it.
      ...namesOf(catalog.where(VOLUMES_WITH_SOURCE, 'yes')),
    ]),
    trigger(
      POOL,
      (pool, catalog) => [
        ...namesOf(catalog.where(LACKING_VOLUMES, 'yes')),
        // Those that are well, and are to go from where they are.
        ...catalog
          .all(NODE)
          .filter(({ spec }) => spec.drain === true)
          .flatMap(({ metadata }) => catalog.where(REPLICAS_ON_NODE, metadata.name))
          .map(({ spec }) => spec.volumeName),
        // What was never made in it goes elsewhere when it is gone.
        ...(isLeaving(pool) || catalog.get(POOL, pool.metadata.name) === null
          ? catalog.where(REPLICAS_IN_POOL, pool.metadata.name).map(({ spec }) => spec.volumeName)
          : []),
      ],
      roomOfPool,
    ),
    trigger(STORAGE_POOL_CLAIM, ({ metadata }, catalog) =>
      namesOf(
        catalog
          .where(UNSETTLED_VOLUMES, 'yes')
          .filter(({ spec }) => [undefined, metadata.name].includes(spec.storagePoolClaim)),
      ),
    ),
    trigger(
      NODE,
      ({ metadata }, catalog) => [
        ...catalog.where(REPLICAS_ON_NODE, metadata.name).map(({ spec }) => spec.volumeName),
        ...namesOf(catalog.where(VOLUMES_OF_TARGET, metadata.name)),
        ...namesOf(catalog.where(UNSETTLED_VOLUMES, 'yes')),
        // Those that are well, and wait for a place that is not on a drained node.
        ...namesOf(catalog.where(LACKING_VOLUMES, 'yes')),
      ],
      stateOfNode,
    ),
    trigger(VOLUME_POLICY, ({ metadata }, catalog) =>
      namesOf(catalog.where(VOLUMES_OF_POLICY, metadata.name)),
    ),
  ];
  readonly #around: Surroundings;
  readonly #writer: Writer;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#writer = new Writer(around);
  }

  async reconcile(key: string): Promise<number | undefined> {
    let volume = this.#around.catalog.get(VOLUME, key);
    if (volume === null) return undefined;
    if (isDeleting(volume)) return await this.#tearDown(volume);
    if (!hasFinalizer(volume, Finalizer.Volume)) {
      volume = await this.#writer.addFinalizer(VOLUME, volume, Finalizer.Volume);
    }
    if (volume.status?.made === true) await this.#dropCopySnapshot(volume);
    if (volume.status?.observedGeneration !== volume.metadata.generation)
      this.#tellMissingPolicy(volume);
    const wanted = this.#wantedOf(volume);
    // Before anything is placed: what comes meanwhile must not look as if it had been passed over.
    const expected = this.#expected(volume);
    const placed = await this.#place(volume, wanted);
    const witness = await this.#placeWitness(volume, wanted, placed.made);
    await this.#removeSurplus(volume, wanted);
    await this.#removeWitnesses(volume, wanted);
    await this.#report(volume, wanted, placed, witness, expected);
    if (expected.length > 0 || this.#waitsForTime(volume)) return LOOK_AGAIN_MS;
    return placed.missing !== '' || witness.missing !== '' ? ROOM_AGAIN_MS : undefined;
  }

  #tellMissingPolicy(volume: Volume): void {
    const { catalog, events } = this.#around;
    const { policy } = volume.spec;
    if (policy === undefined || catalog.get(VOLUME_POLICY, policy) !== null) return;
    const text = `spec.policy: there is no VolumePolicy "${policy}" yet; it is followed once there is`;
    events.record(volume, 'Warning', 'PolicyMissing', text);
  }

  #wantedOf({ spec }: Volume): Wanted {
    const policy: VolumePolicySpec =
      spec.policy === undefined
        ? {}
        : (this.#around.catalog.get(VOLUME_POLICY, spec.policy)?.spec ?? {});
    const replicas = spec.replicaCount ?? policy.replicaCount ?? 1;
    return {
      replicas,
      witness: replicas === 2 && (spec.witness ?? policy.witness ?? false),
      minimum: spec.minimumReplicas ?? policy.minimumReplicas ?? 1,
      placement: spec.replicaPlacement ?? policy.replicaPlacement ?? 'node',
    };
  }

  /** Its copies. */
  #replicasOf(volume: Volume): Replica[] {
    return this.#holdersOf(volume).filter(({ spec }) => spec.witness !== true);
  }

  #witnessesOf(volume: Volume): Replica[] {
    return this.#holdersOf(volume).filter(({ spec }) => spec.witness === true);
  }

  /** Copies and witnesses. */
  #holdersOf(volume: Volume): Replica[] {
    return this.#around.catalog
      .where(REPLICAS_OF_VOLUME, volume.metadata.name)
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }

  /** Those that stay: not being deleted, not on a node that is drained or gone, not in a pool that is exported. */
  #staying(replicas: readonly Replica[]): Replica[] {
    return replicas.filter((replica) => {
      if (isDeleting(replica)) return false;
      const node = this.#around.catalog.get(NODE, replica.spec.nodeName);
      if (node === null || node.spec.drain === true) return false;
      const pool = this.#around.catalog.get(POOL, replica.spec.poolName);
      // Placed while its pool went: it was never made.
      if (pool === null) return replica.status?.storeId !== undefined;
      if (isLeaving(pool)) return false;
      return !this.#isGone(replica.spec.nodeName);
    });
  }

  #isGone(nodeName: string): boolean {
    return isLongSilent(this.#around, nodeName);
  }

  #isReady(nodeName: string): boolean {
    return isHeard(this.#around, nodeName);
  }

  /** Asks for the replicas that are missing. */
  async #place(volume: Volume, wanted: Wanted): Promise<Placed> {
    const { catalog, events } = this.#around;
    const staying = this.#staying(this.#replicasOf(volume));
    const count = wanted.replicas - staying.length;
    if (count <= 0) return { made: [], missing: '' };
    const sizeBytes = quantityBytes(volume.spec.size) ?? 0;
    // One that knows how it is kept has what it begins from, or gets it where it is.
    const isSingle = volume.status?.mode === 'single';
    const source = isSingle ? undefined : await this.#sourcePools(volume);
    if (source === null) return { made: [], missing: 'what it begins from is not ready' };
    const all = catalog.all(POOL).filter((pool) => mayHold(volume, pool));
    // Also after a restart between two of them.
    const first =
      source !== undefined &&
      volume.status?.mode === undefined &&
      staying.length < Math.min(wanted.replicas, source.size);
    const placeBeside = (others: readonly Replica[]) =>
      placeReplicas({
        volumeName: volume.metadata.name,
        sizeBytes,
        count: first ? Math.min(count, source.size - staying.length) : count,
        placement: wanted.placement,
        existing: [...staying, ...others],
        // A clone shares its source's blocks: it begins in the same pools.
        pools: first ? all.filter(({ metadata }) => source.has(metadata.name)) : all,
        nodes: catalog.all(NODE).filter((node) => this.#mayGet(node)),
        promisedBytes: this.#promised(),
      });
    // Not on its witness's node; but data comes before votes.
    const apart = placeBeside(this.#staying(this.#witnessesOf(volume)));
    const { pools, missing: why } = apart.missing === '' ? apart : placeBeside([]);
    const missing = why !== '' && all.length === 0 ? this.#withoutPools(volume) : why;
    if (isSingle) {
      // Its data is in the one that it was made with, and another would be empty: its node gives that one a record first.
      const stays = volume.status?.conditions?.find(({ type }) => type === MEMBERS_AS_WANTED);
      const isHere = staying.length > 0 || !this.#isGone(volume.status?.target?.nodeName ?? '');
      // Only what a coordinator can reach: there is no way back once it has been told that there is a place.
      const reached = pools.filter(({ status }) => (status?.replicaAddress ?? '') !== '');
      const [mute] = pools;
      const waits = !isHere
        ? 'its one replica is on a node that is gone'
        : mute === undefined
          ? missing
          : reached.length === 0
            ? `pool ${mute.metadata.name} does not say where its replicas can be reached`
            : (stays?.message ?? 'there is a place: its one replica gets a record first');
      return { made: [], missing: waits, places: isHere ? reached.length : 0 };
    }
    // What begins from another volume begins where that is, and is told how it is kept before it gets more.
    if (source !== undefined && !first && volume.status?.mode === undefined) {
      return { made: [], missing: '' };
    }
    const made: Replica[] = [];
    for (const pool of pools) {
      const name = replicaName(volume.metadata.name, pool.metadata.name);
      made.push(await this.#ask(volume, pool, name, { size: formatQuantity(sizeBytes) }));
      events.record(
        volume,
        'Normal',
        'ReplicaPlaced',
        `a replica goes into pool ${pool.metadata.name} on ${pool.spec.nodeName}`,
      );
    }
    return { made, missing };
  }

  /** Why there is none that it may be in: what its pool claim says of itself, where it has one. */
  #withoutPools({ spec }: Volume): string {
    const name = spec.storagePoolClaim;
    const none = 'there is no pool that it may use';
    if (name === undefined || spec.casType === 'jiva') return none;
    const claim = this.#around.catalog.get(STORAGE_POOL_CLAIM, name);
    if (claim === null) return `there is no StoragePoolClaim "${name}" (spec.storagePoolClaim)`;
    const says = claim.status?.conditions?.find(({ type }) => type === 'Ready')?.message ?? '';
    return says === '' ? none : `StoragePoolClaim ${name} has no pool: ${says}`;
  }

  async #ask(
    volume: Volume,
    pool: Pool,
    name: string,
    as: Pick<Replica['spec'], 'size' | 'witness'>,
  ): Promise<Replica> {
    const { metadata } = volume;
    return await this.#around.client.create<Replica>(REPLICA, {
      metadata: {
        name,
        labels: {
          [Label.Volume]: metadata.name,
          [Label.Pool]: pool.metadata.name,
          [Label.Node]: pool.spec.nodeName,
          'cstorpool.openebs.io/name': pool.metadata.name,
        },
        finalizers: [Finalizer.Replica],
        ownerReferences: [ownerOf(this.kind, volume)],
      },
      spec: {
        volumeName: metadata.name,
        nodeName: pool.spec.nodeName,
        poolName: pool.metadata.name,
        ...as,
      },
    });
  }

  /** `made`: copies that were asked for just now. */
  async #placeWitness(volume: Volume, wanted: Wanted, made: readonly Replica[]): Promise<Placed> {
    const { catalog, events } = this.#around;
    if (!wanted.witness || volume.status?.mode === 'single') return { made: [], missing: '' };
    const { pools, missing } = placeWitness({
      volume,
      copies: [...this.#staying(this.#replicasOf(volume)), ...made],
      there: this.#staying(this.#witnessesOf(volume)),
      pools: catalog.all(POOL),
      nodes: catalog.all(NODE).filter((node) => this.#mayGet(node)),
    });
    const [pool] = pools;
    if (pool === undefined) return { made: [], missing };
    const name = witnessName(volume.metadata.name, pool.metadata.name);
    const witness = await this.#ask(volume, pool, name, { size: WITNESS_SIZE, witness: true });
    const why = `a witness goes into pool ${pool.metadata.name} on ${pool.spec.nodeName}`;
    events.record(volume, 'Normal', 'WitnessPlaced', why);
    return { made: [witness], missing };
  }

  /** Those that stay behind, once another has its vote; all, once there are other votes enough. */
  async #removeWitnesses(volume: Volume, wanted: Wanted): Promise<void> {
    const { events } = this.#around;
    const all = this.#witnessesOf(volume).filter((witness) => !isDeleting(witness));
    const copies = this.#staying(this.#replicasOf(volume));
    const inSync = copies.filter(({ status }) => status?.phase === 'Healthy').length;
    const [best] = apartFrom(copies, this.#staying(all)).filter(
      ({ status }) => status?.phase === 'Healthy',
    );
    if (wanted.witness ? best === undefined : inSync < wanted.replicas) return;
    for (const witness of all) {
      if (wanted.witness && witness === best) continue;
      await this.#writer.remove(REPLICA, witness);
      const why = `the witness on ${witness.spec.nodeName} is no longer needed`;
      events.record(volume, 'Normal', 'WitnessRemoved', why);
    }
  }

  #mayGet(node: Node): boolean {
    if (node.spec.unschedulable === true || node.spec.drain === true || isDeleting(node)) {
      return false;
    }
    return this.#isReady(node.metadata.name);
  }

  #promised(): Map<string, number> {
    const { catalog } = this.#around;
    return promisedBytes(catalog.all(REPLICA), (name) => catalog.get(VOLUME, name)?.spec.size);
  }

  /** Pools with what it begins from; undefined: it begins empty; null: not ready yet. */
  async #sourcePools({ metadata, spec, status }: Volume): Promise<Set<string> | undefined | null> {
    const { catalog } = this.#around;
    const { source } = spec;
    if (source === undefined) return undefined;
    const from = catalog.get(VOLUME, source.volume ?? '');
    let name = source.snapshot;
    if (from?.status?.mode === 'replicated' && status?.made !== true) {
      name = await this.#copySnapshot(metadata.uid, from);
    }
    let of = source.volume;
    let holders: readonly string[] | undefined;
    if (name !== undefined) {
      const snapshot = catalog.get(SNAPSHOT, name);
      if (snapshot?.status?.phase !== 'Ready') return null;
      // Nothing is begun from what is on its way out; what was begun before is waited for (restores.ts).
      if (isDeleting(snapshot) && status?.target === undefined) return null;
      of = snapshot.spec.volumeName;
      holders = snapshot.status.holders;
    }
    const pools = catalog
      .where(REPLICAS_OF_VOLUME, of ?? '')
      .filter((replica) => !isDeleting(replica) && replica.spec.witness !== true)
      .filter((replica) => replica.status?.phase === 'Healthy')
      .filter((replica) => holders?.includes(replica.metadata.name) ?? true)
      .map((replica) => replica.spec.poolName);
    return pools.length === 0 ? null : new Set(pools);
  }

  /** What a replicated volume holds at one moment, for the copy to begin from; it goes when that is made. */
  async #copySnapshot(uid: string, from: Volume): Promise<string> {
    const name = copySnapshotName(uid);
    if (this.#around.catalog.get(SNAPSHOT, name) === null) {
      await this.#writer.ensure<Snapshot>(SNAPSHOT, {
        metadata: {
          name,
          labels: { [Label.Volume]: from.metadata.name },
          finalizers: [Finalizer.Snapshot],
        },
        spec: { volumeName: from.metadata.name },
      });
    }
    return name;
  }

  async #dropCopySnapshot({ metadata, spec }: Volume): Promise<void> {
    if (spec.source?.volume === undefined) return;
    const snapshot = this.#around.catalog.get(SNAPSHOT, copySnapshotName(metadata.uid));
    if (snapshot !== null && !isDeleting(snapshot)) await this.#writer.remove(SNAPSHOT, snapshot);
  }

  /** Takes away what is too much, or what stays behind, once enough others are in sync. */
  async #removeSurplus(volume: Volume, wanted: Wanted): Promise<void> {
    const { events } = this.#around;
    const replicas = this.#replicasOf(volume).filter((replica) => !isDeleting(replica));
    if (volume.status?.mode === 'single') {
      // It has the one that it was made with; what was placed at the same moment is not needed.
      const members = new Set(volume.status.members?.map(({ replica }) => replica));
      for (const replica of replicas) {
        if (!members.has(replica.metadata.name)) await this.#writer.remove(REPLICA, replica);
      }
      return;
    }
    const staying = this.#staying(replicas);
    const inSync = staying.filter(({ status }) => status?.phase === 'Healthy');
    if (inSync.length < Math.min(wanted.replicas, 1)) return;
    const leaving = replicas.filter((replica) => !staying.includes(replica));
    if (leaving.length > 0 && inSync.length >= wanted.replicas) {
      for (const replica of leaving) {
        await this.#writer.remove(REPLICA, replica);
        const why = `the replica on ${replica.spec.nodeName} is no longer needed`;
        events.record(volume, 'Normal', 'ReplicaRemoved', why);
      }
      return;
    }
    if (leaving.length > 0 || staying.length <= wanted.replicas) return;
    // Scaled down: what is not in sync goes first, then the youngest.
    const target = volume.status?.serving?.nodeName;
    const rank = (replica: Replica): number =>
      (replica.status?.phase === 'Healthy' ? 2 : 0) + (replica.spec.nodeName === target ? 1 : 0);
    const [worst] = [...staying].sort(
      (a, b) =>
        rank(a) - rank(b) || (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? 1 : -1),
    );
    if (worst === undefined) return;
    await this.#writer.remove(REPLICA, worst);
    events.record(volume, 'Normal', 'ReplicaRemoved', `scaled down: ${worst.metadata.name} goes`);
  }

  async #report(
    volume: Volume,
    wanted: Wanted,
    { made, missing, places = 0 }: Placed,
    placedWitness: Placed,
    expected: readonly string[],
  ): Promise<void> {
    const { now, events } = this.#around;
    const known = this.#replicasOf(volume).filter((replica) => !isDeleting(replica));
    const names = new Set(known.map(({ metadata }) => metadata.name));
    const replicas = [...known, ...made.filter(({ metadata }) => !names.has(metadata.name))];
    const waitsFor =
      volume.status?.target === undefined && replicas.length < wanted.replicas ? expected : [];
    const target = targetOf(this.#around, volume, {
      replicas,
      minimum: wanted.minimum,
      waitsFor,
    });
    const before = volume.status;
    const { serving } = before ?? {};
    const isServed =
      serving !== undefined &&
      target !== undefined &&
      serving.epoch === target.epoch &&
      this.#isReady(serving.nodeName) &&
      !before?.conditions?.some(
        ({ type, status, reason }) =>
          type === 'Served' && status === 'False' && reason === NO_QUORUM,
      );
    const inSync = replicas.filter(
      ({ status, spec }) => status?.phase === 'Healthy' && this.#isReady(spec.nodeName),
    );
    const witness = wanted.witness ? this.#witness(volume, placedWitness) : null;
    const rebuilding = replicas.some(({ status }) => status?.phase === 'Rebuilding');
    const state = !isServed
      ? before?.phase === 'Ready'
        ? 'Offline'
        : 'Init'
      : inSync.length >= wanted.replicas && (!wanted.witness || witness?.votes === true)
        ? 'Healthy'
        : rebuilding
          ? 'Rebuilding'
          : 'Degraded';
    // Once ready, a volume stays so: what it lacks is told by its state.
    const phase = isServed || before?.phase === 'Ready' ? 'Ready' : 'Pending';
    // All is well with it, but for what is asked of its node or pool.
    const stay = this.#staying(known);
    const stuck =
      state === 'Healthy' && missing !== '' ? known.filter((one) => !stay.includes(one)) : [];
    const is = { state, wanted, replicas, inSync, missing, isServed, waitsFor, witness, stuck };
    const message = describe(is);
    const lacks = missing !== '' || (witness !== null && witness.missing !== '');
    const reason = waitsFor.length > 0 ? 'WaitForPools' : lacks ? REPLICAS_MISSING : state;
    const reported = await this.#writer.status(VOLUME, volume, (status) => {
      status.phase = phase;
      status.state = state;
      status.iqn = `${this.#around.settings.iqnPrefix}:${volume.metadata.name}`;
      status.lun = 0;
      if (target === undefined) delete status.target;
      else status.target = target;
      status.portals = this.#portals(serving?.portal);
      status.replicas = {
        wanted: wanted.replicas,
        placed: replicas.length,
        inSync: inSync.length,
        ...(places > 0 ? { places } : {}),
      };
      status.observedGeneration = volume.metadata.generation ?? 0;
      status.conditions ??= [];
      const is = state === 'Healthy' ? 'True' : 'False';
      const ready = isServed ? 'True' : 'False';
      setCondition(
        status.conditions,
        {
          type: 'Ready',
          status: ready,
          reason: waitsFor.length > 0 ? 'WaitForPools' : state,
          message,
        },
        now(),
      );
      setCondition(status.conditions, { type: 'Healthy', status: is, reason, message }, now());
    });
    if (reported === volume) return;
    const said = before?.conditions?.find(({ type }) => type === 'Healthy')?.message;
    if (said !== message) {
      const isWell = state === 'Healthy' && stuck.length === 0;
      const isNormal = isWell || (state === 'Init' && missing === '');
      const kind = isNormal || waitsFor.length > 0 ? 'Normal' : 'Warning';
      events.record(volume, kind, reason, message);
    }
    if (target !== undefined && target.epoch !== before?.target?.epoch) {
      const text = `${target.nodeName} is to coordinate it (assignment ${target.epoch})`;
      events.record(volume, 'Normal', 'TargetAssigned', text);
    }
  }

  /** How the one that counts is. */
  #witness(volume: Volume, { made, missing }: Placed): WitnessState {
    const known = this.#witnessesOf(volume).filter((witness) => !isDeleting(witness));
    const votes = ({ status, spec }: Replica): boolean =>
      status?.phase === 'Healthy' && this.#isReady(spec.nodeName);
    const one = known.find(votes) ?? known[0] ?? made[0];
    if (one === undefined) return { votes: false, nodeName: '', phase: 'Pending', missing };
    const phase = this.#isReady(one.spec.nodeName) ? (one.status?.phase ?? 'Pending') : 'Offline';
    // One that shares a node with a copy goes with that node, and then there is no majority.
    return { votes: votes(one) && missing === '', nodeName: one.spec.nodeName, phase, missing };
  }

  /** Of one that has not been told yet how it is kept: places that are on their way, in words. */
  #expected(volume: Volume): string[] {
    if (volume.status?.target !== undefined || volume.status?.mode !== undefined) return [];
    const { catalog, now, settings } = this.#around;
    const { storagePoolClaim, casType } = volume.spec;
    const poolClaims = catalog
      .all(STORAGE_POOL_CLAIM)
      .filter(
        ({ metadata }) =>
          casType !== 'jiva' && [undefined, metadata.name].includes(storagePoolClaim),
      );
    return expectedPlaces({
      volume,
      poolClaims,
      pools: catalog.all(POOL),
      nodes: catalog.all(NODE),
      devices: catalog.all(BLOCK_DEVICE),
      isReady: (nodeName) => this.#isReady(nodeName),
      nowMs: now().getTime(),
      patienceMs: settings.placePatienceMs,
    });
  }

  /** All nodes are portals of every target; the one that serves comes first. */
  #portals(serving: string | undefined): string[] {
    const all = this.#around.catalog
      .all(NODE)
      .filter((node) => !isDeleting(node))
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
      .flatMap(({ status }) => status?.portals ?? []);
    const others = all.filter((portal) => portal !== serving);
    return serving === undefined ? others : [serving, ...others];
  }

  /** A node that it depends on is silent: whether it is gone, only time tells. */
  #waitsForTime(volume: Volume): boolean {
    const target = volume.status?.target?.nodeName;
    if (target !== undefined && !this.#isReady(target)) return true;
    return this.#holdersOf(volume).some(({ spec }) => !this.#isReady(spec.nodeName));
  }

  async #tearDown(volume: Volume): Promise<number | undefined> {
    const { catalog, events } = this.#around;
    if (!hasFinalizer(volume, Finalizer.Volume)) return undefined;
    const { name } = volume.metadata;
    await this.#dropCopySnapshot(volume);
    const snapshots = catalog.where(SNAPSHOTS_OF_VOLUME, name);
    if (snapshots.length > 0) {
      const names = snapshots.slice(0, 3).map(({ metadata }) => metadata.name);
      const message = `it has ${snapshots.length} snapshots (${names.join(', ')}); delete those first`;
      if (await this.#say(volume, 'HasSnapshots', message)) {
        events.record(volume, 'Warning', 'HasSnapshots', message);
      }
      return undefined;
    }
    // Hosts first, then data: nothing is taken from under a session.
    const { serving, target } = volume.status ?? {};
    if (target !== undefined) {
      await this.#writer.status(VOLUME, volume, (status) => {
        status.phase = 'Deleting';
        delete status.target;
      });
      return undefined;
    }
    if (serving !== undefined) {
      // Its node says when it has stopped; that it is gone is a matter of time, of which nothing tells.
      if (!this.#isGone(serving.nodeName)) return LOOK_AGAIN_MS;
      // Or never: those that keep the other copies wait for that word.
      await this.#writer.status(VOLUME, volume, (status) => {
        delete status.serving;
      });
      return undefined;
    }
    const replicas = await this.#writer.liveList(REPLICA, Label.Volume, name);
    for (const replica of replicas) await this.#writer.remove(REPLICA, replica);
    if (replicas.length > 0) return undefined;
    await this.#writer.removeFinalizer(VOLUME, volume, Finalizer.Volume);
    return undefined;
  }

  /** Whether it was news. */
  async #say(volume: Volume, reason: string, message: string): Promise<boolean> {
    const said = await this.#writer.status(VOLUME, volume, (status) => {
      status.phase = 'Deleting';
      status.conditions ??= [];
      setCondition(
        status.conditions,
        { type: 'Ready', status: 'False', reason, message },
        this.#around.now(),
      );
    });
    return said !== volume;
  }
}

function namesOf(volumes: readonly Volume[]): string[] {
  return volumes.map(({ metadata }) => metadata.name);
}
