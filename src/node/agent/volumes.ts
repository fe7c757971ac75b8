// The volumes that this node is to serve: opened over their replica, put behind their limits, and exported to hosts.
// What an object changes of a served volume (size, limits, who may log in) takes effect while it is used.
import { ApiError, type KindDefinition, setCondition } from '../../apiserver/index.ts';
import { IoStatus } from '../../block/index.ts';
import {
  type NewReplica,
  type ReplicaPolicy,
  type ReplicatedHandle,
  resumeFlags,
  type WantedReplica,
} from '../../control/index.ts';
import {
  type Controller,
  isDeleting,
  MEMBERS_AS_WANTED,
  NO_QUORUM,
  placeOfReplica,
  REPLICAS_OF_VOLUME,
  stateOfPool,
  trigger,
  VOLUMES_OF_POLICY,
  VOLUMES_OF_TARGET,
  type Writer,
} from '../../controllers/index.ts';
import {
  blockSizeOf,
  NODE,
  POOL,
  quantityBytes,
  REPLICA,
  type Replica,
  rebuildStatus,
  SECRET,
  SNAPSHOT,
  type Snapshot,
  VOLUME,
  VOLUME_POLICY,
  type Volume as VolumeObject,
} from '../../kinds/index.ts';
import { STORE_BLOCK_BYTES, StoreError } from '../../store/index.ts';
import { NO_LIMITS, Throttle, Volume } from '../../volume/index.ts';
import { MemberChange } from './member-change.ts';
import { isStoreOf, memberIdOf, PHASES } from './members.ts';
import { Openings } from './openings.ts';
import { Outgrowing } from './outgrow.ts';
import { isFilled, type Serving } from './replicas.ts';
import { Rollbacks } from './rollback.ts';
import { cutIdOf } from './snapshot-groups.ts';
import { blocksToMake, replicatedSourceOf } from './sources.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';
import { Told } from './told.ts';
import { endReceiving, receivingIn } from './transfer-ends.ts';
import { CannotServe, limitsOf, policyOf, wantedOf } from './volume-policy.ts';

const TRY_AGAIN_MS = 500;
/**
 * So long a coordinator that has just been started may gather its quorum before anybody is told that it has none. Of a thousand volumes
 * whose node was started again each replica would be told Offline and Healthy, and each volume with it.
 */
const GATHER_MS = 5000;
/** So long after its start a node waits for its own pools before it coordinates without them. */
const OWN_POOLS_MS = 5000;
/**
 * Looks wait for other nodes, of which one may be dead: a member that is changed then, for seconds. Those whose coordinator is to
 * begin here must not wait behind them.
 */
const MOST_LOOKS = 64;
/** A change of members that takes longer is not waited for. */
const CHANGE_MS = 1000;

interface Coordinated {
  readonly handle: ReplicatedHandle;
  readonly openedMs: number;
  /** Those it was told of last, with their addresses. */
  members: string;
  /** Where it was told last that they are. */
  places: string;
  /** Under way, or ended and not looked at yet. */
  change: MemberChange | null;
  /** As it was told last. */
  policy: string;
  /** How it and its replicas were when the volume was looked at last. */
  seen: string;
  /** The quiet spell that it was compared in last. */
  comparedIn: number | null;
  /** What was wrong in a quiet spell: it stays so until that ends. */
  advice: { readonly spell: number; readonly lines: readonly string[] } | null;
}

interface Served {
  readonly volume: Volume;
  readonly throttle: Throttle;
  readonly iqn: string;
  epoch: number;
  /** What was exported last, to export only what changed. */
  exported: string;
}

export class VolumeKeeper implements Controller, Serving {
  readonly name = 'node-volumes';
  readonly kind = VOLUME as unknown as KindDefinition;
  readonly workers = MOST_LOOKS;
  readonly triggers;
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  readonly #served = new Map<string, Served>();
  readonly #coordinated = new Map<string, Coordinated>();
  /** Of these it is being found out whether a stream fits. */
  readonly #withheld = new Set<string>();
  readonly #toldOfVolumes = new Told();
  readonly #toldOfReplicas = new Told();
  /** Has the volume looked at again; set by who runs the keepers. */
  nudge: (name: string) => void = () => {};
  readonly #onChange: () => void;
  readonly #startedMs: number;
  readonly #openings: Openings;
  readonly #rollbacks: Rollbacks;
  readonly #outgrowing: Outgrowing;

  /** `onChange`: what is served has changed. */
  constructor(
    around: NodeSurroundings,
    open: OpenPools,
    writer: Writer,
    onChange: () => void = () => {},
  ) {
    this.#around = around;
    this.#onChange = onChange;
    this.#open = open;
    this.#writer = writer;
    this.#startedMs = around.clock.nowMs();
    this.#openings = new Openings({ clock: around.clock, nudge: (name) => this.nudge(name) });
    this.#rollbacks = new Rollbacks(around, writer);
    this.#outgrowing = new Outgrowing(around, open, writer);
    const { catalog, nodeName } = around;
    const mine = (): string[] =>
      catalog.where(VOLUMES_OF_TARGET, nodeName).map(({ metadata }) => metadata.name);
    const all = (): string[] => catalog.all(VOLUME).map(({ metadata }) => metadata.name);
    catalog.onChange(POOL, ({ status }, before) => {
      if (status?.replicaAddress !== before?.status?.replicaAddress) this.#relocate();
    });
    this.triggers = [
      trigger(REPLICA, ({ spec }) => [spec.volumeName], placeOfReplica),
      trigger(POOL, mine, stateOfPool),
      // Its portals may be new; from one that is drained volumes go.
      trigger(NODE, all, ({ spec, status }) => [status?.portals, spec.drain]),
      trigger(SECRET, mine),
      trigger(VOLUME_POLICY, ({ metadata }) =>
        catalog.where(VOLUMES_OF_POLICY, metadata.name).map((volume) => volume.metadata.name),
      ),
    ];
  }

  /** Hosts that come here all the same are sent to who serves it, or told to come again where nobody does yet. */
  #pointElsewhere(key: string, object: VolumeObject | null): void {
    const { exporter, iqnPrefix, nodeName } = this.#around;
    const iqn = `${iqnPrefix}:${key}`;
    if (object === null) {
      exporter.forget(iqn);
      return;
    }
    const { serving, target } = object.status ?? {};
    const isCurrent = serving !== undefined && serving.epoch === target?.epoch;
    exporter.pointTo(iqn, {
      alias: key,
      initiators: (policyOf(this.#around.catalog, object).initiators ?? []).map((name) =>
        name.toLowerCase(),
      ),
      portal: isCurrent && serving.nodeName !== nodeName ? serving.portal : null,
      otherPortals: this.#otherPortals(),
    });
  }

  #otherPortals(): string[] {
    const { catalog, nodeName } = this.#around;
    return catalog
      .all(NODE)
      .filter(({ metadata }) => metadata.name !== nodeName)
      .flatMap(({ status }) => status?.portals ?? [])
      .sort();
  }

  isServed(volumeName: string): boolean {
    return this.#served.has(volumeName);
  }

  /** Whether hosts may log in. */
  isExported(volumeName: string): boolean {
    return (this.#served.get(volumeName)?.exported ?? '') !== '';
  }

  volume(volumeName: string): Volume | null {
    return this.#served.get(volumeName)?.volume ?? null;
  }

  /** Of a replicated volume that is coordinated here; null: it is not. */
  handle(volumeName: string): ReplicatedHandle | null {
    return this.#coordinated.get(volumeName)?.handle ?? null;
  }

  /** A stream is under way into it or broke off, or it is being found out whether one fits. */
  isReceiving(volumeName: string): boolean {
    const handle = this.handle(volumeName);
    return handle !== null && (this.#withheld.has(volumeName) || receivingIn(handle) !== null);
  }

  /** For metrics and the status line. */
  all(): { name: string; volume: Volume; throttle: Throttle }[] {
    return [...this.#served].map(([name, { volume, throttle }]) => ({ name, volume, throttle }));
  }

  async reconcile(key: string): Promise<number | undefined> {
    const { catalog, nodeName } = this.#around;
    const object = catalog.get(VOLUME, key);
    const target = object?.status?.target;
    if (object === null || target?.nodeName !== nodeName) {
      await this.#withdraw(key);
      this.#pointElsewhere(key, object);
      if (object?.status?.serving?.nodeName === nodeName) {
        await this.#writer.status(VOLUME, object, (status) => {
          delete status.serving;
          delete status.sessions;
          delete status.initiators;
          delete status.advice;
        });
      }
      return undefined;
    }
    // Until it is served: a host that is told that there is none gives up, and who served it last may be dead.
    if (
      object.status?.mode !== undefined &&
      !this.#coordinated.has(key) &&
      !this.#served.has(key)
    ) {
      this.#pointElsewhere(key, object);
    }
    let againMs: number | undefined;
    try {
      if (object.status?.mode === undefined) return await this.#decide(object);
      if (object.status.mode === 'replicated') return await this.#coordinate(object, target.epoch);
      if (await this.#outgrowing.isUndecided(object)) return TRY_AGAIN_MS;
      const served = this.#served.get(key) ?? this.#serve(object);
      if (served === null) return TRY_AGAIN_MS; // Its replica here is not there yet.
      served.epoch = target.epoch;
      if (await this.#isRollingBack(object, served, null)) return TRY_AGAIN_MS;
      if (this.#outgrowing.isWanted(object, policyOf(this.#around.catalog, object))) {
        const why = this.#outgrowing.hindrance(object);
        if (why === '') return await this.#outgrow(object, served);
        await this.#membersStay(object, why);
        againMs = TRY_AGAIN_MS * 20;
      }
      await this.#follow(object, served);
    } catch (error) {
      const isOurs = error instanceof StoreError || error instanceof CannotServe;
      if (!isOurs) throw error;
      await this.#fails(object, error.message);
      return TRY_AGAIN_MS * 10;
    }
    await this.report(key);
    return againMs;
  }

  /** Its one replica becomes the first member of a replicated volume; hosts are kept away meanwhile. */
  async #outgrow(object: VolumeObject, served: Served): Promise<number> {
    const { name } = object.metadata;
    served.throttle.setLimits(NO_LIMITS); // What a limit holds back would only make this last.
    await this.#takeAway(object, served);
    // From here on nobody finds it: a snapshot that is being taken is one that was begun before.
    const version = served.volume.cut();
    this.#served.delete(name);
    await served.volume.close();
    try {
      await this.#outgrowing.begin(object, served.volume, version);
    } catch (error) {
      this.#around.log.warn({ volume: name, err: error }, 'a volume keeps its one replica');
    }
    return 1; // It is served again at once, as what it is now.
  }

  #replicasOf(name: string): Replica[] {
    return this.#around.catalog
      .where(REPLICAS_OF_VOLUME, name)
      .filter((replica) => !isDeleting(replica))
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }

  /** How it is kept, once for all: what is written down here is what a crash in between goes on with. */
  async #decide(object: VolumeObject): Promise<number | undefined> {
    const { name } = object.metadata;
    const all = this.#replicasOf(name);
    let replicas = all.filter(({ spec }) => spec.witness !== true);
    // All that have a place; our view of them may be a moment behind.
    const { placed = 1, wanted = 1 } = object.status?.replicas ?? {};
    if (replicas.length < Math.max(1, placed)) return TRY_AGAIN_MS;
    const from = object.spec.source?.snapshot;
    if (from !== undefined && (await this.#writer.live(SNAPSHOT, null, from)) === null) {
      throw new CannotServe(`snapshot ${from}, which it begins from, is gone: delete this volume`);
    }
    const mayGrow = wanted > 1 && object.spec.source === undefined && this.#mayGetMore(object);
    const source = replicatedSourceOf(this.#around.catalog, object);
    if (source !== null) {
      // As its source is kept; those without the snapshot join when there is somebody to join.
      replicas = replicas.filter(({ spec }) => source.holders.has(spec.poolName));
      if (replicas.length === 0) {
        throw new CannotServe('no replica of it has a place where what it begins from is held');
      }
    }
    const isReplicated =
      source !== null ||
      ((replicas.length > 1 || mayGrow) &&
        object.spec.source === undefined &&
        this.#around.replication !== null);
    // Beside one copy its vote would be one more that must not be lost: it joins with the second.
    const witnesses =
      isReplicated && replicas.length > 1 ? all.filter(({ spec }) => spec.witness === true) : [];
    await this.#writer.status(VOLUME, object, (status) => {
      status.mode = isReplicated ? 'replicated' : 'single';
      status.made = false;
      status.members = [...replicas, ...witnesses].map((replica) => ({
        id: memberIdOf(replica),
        replica: replica.metadata.name,
      }));
    });
    return undefined; // That change brings it back here.
  }

  /** Places that are not there now may come later. */
  #mayGetMore(object: VolumeObject): boolean {
    return (
      !this.#around.isAlone || policyOf(this.#around.catalog, object).replicaPlacement === 'pool'
    );
  }

  /** Of a replicated volume: its replicas are made once, then its coordinator runs here while it is our target. */
  async #coordinate(object: VolumeObject, epoch: number): Promise<number | undefined> {
    const { replication } = this.#around;
    const { name, uid } = object.metadata;
    if (replication === null) throw new CannotServe('this node coordinates no replicas');
    const members = this.#addressesOf(object);
    if (members === null) return TRY_AGAIN_MS; // Not all of its pools have said where they are.
    if (object.status?.made !== true) {
      const sizeBlocks = blocksToMake(this.#around.catalog, object);
      try {
        await replication.make(uid, sizeBlocks, this.#withSources(object, members));
      } catch (error) {
        throw new CannotServe(`its replicas cannot be made: ${(error as Error).message}`);
      }
      await this.#writer.status(VOLUME, object, (status) => {
        status.made = true;
      });
      return TRY_AGAIN_MS;
    }
    if (!this.#coordinated.has(name)) {
      if (this.#waitsForPools(object)) return TRY_AGAIN_MS;
      await this.#withdraw(name); // It was served in place a moment ago, by a view that was behind.
      if (!this.#openings.begin(name)) return TRY_AGAIN_MS * 4;
      try {
        await this.#outgrowing.assertNewest(object);
      } catch (error) {
        throw new CannotServe((error as Error).message);
      }
    }
    const coordinated = this.#coordinated.get(name) ?? this.#openCoordinator(object, members);
    this.#configure(object, coordinated);
    const changed = await this.#changeMembers(object, coordinated, members);
    const served = this.#served.get(name) ?? null;
    if (served === null || !coordinated.handle.serving) {
      const gatheringMs = this.#around.clock.nowMs() - coordinated.openedMs;
      if (served === null && gatheringMs < GATHER_MS) return TRY_AGAIN_MS;
      await this.#tellMembers(object, coordinated);
      const advice = adviceOf(object, coordinated.handle).join('; ');
      await this.#fails(
        object,
        advice === '' ? 'its coordinator gathers a quorum' : advice,
        'Normal',
        NO_QUORUM,
      );
      return TRY_AGAIN_MS;
    }
    served.epoch = epoch;
    if (await this.#isRollingBack(object, served, coordinated.handle)) {
      await this.#tellMembers(object, coordinated);
      return TRY_AGAIN_MS;
    }
    if (await this.#isReceiving(object, served, coordinated.handle)) {
      await this.#tellMembers(object, coordinated);
      return TRY_AGAIN_MS * 4;
    }
    await this.#follow(object, served);
    await this.#tellMembers(object, coordinated);
    await this.report(name);
    coordinated.seen = seenOf(coordinated.handle);
    if (!changed) return TRY_AGAIN_MS * 10;
    // One that is well is looked at when that changes: `lookAgain`.
    return coordinated.handle.state() === 'Healthy' ? undefined : TRY_AGAIN_MS * 2;
  }

  /** Now and then: coordinators that have something to tell have their volume looked at, the others' usage is told. */
  async lookAgain(): Promise<void> {
    for (const [name, coordinated] of this.#coordinated) {
      const { handle } = coordinated;
      const spell = handle.quietSpell();
      if (spell !== null && spell === coordinated.comparedIn) continue;
      coordinated.comparedIn = spell;
      if (this.#served.has(name) && seenOf(handle) !== coordinated.seen) this.nudge(name);
    }
    for (const name of [...this.#served.keys()]) await this.report(name);
  }

  /** P4: then it is kept from hosts. `handle`: its coordinator; null: its one replica is a volume of a pool here. */
  async #isRollingBack(
    object: VolumeObject,
    served: Served,
    handle: ReplicatedHandle | null,
  ): Promise<boolean> {
    const { exporter } = this.#around;
    const { name } = object.metadata;
    const { iqn } = served;
    const target = {
      initiators: exporter.initiators(iqn),
      receiving: this.isReceiving(name),
      takeAway: async (): Promise<void> => {
        await exporter.withdraw(iqn);
        exporter.reserve(
          iqn,
          wantedOf(this.#around.catalog, object, policyOf(this.#around.catalog, object)),
        );
        served.exported = '';
      },
      rollBack: async (snapshot: Snapshot): Promise<void> => {
        if (handle !== null) await handle.rollback(cutIdOf(snapshot));
        else await this.#rollBackInPool(object, served, snapshot.metadata.name);
      },
    };
    return await this.#rollbacks.holds(object, target, () => this.nudge(name));
  }

  /** Until a stream into it is whole it is kept from hosts. What a crash left whole is ended. */
  async #isReceiving(
    object: VolumeObject,
    served: Served,
    handle: ReplicatedHandle,
  ): Promise<boolean> {
    const { name } = object.metadata;
    if (this.#withheld.has(name)) return true;
    const receiving = receivingIn(handle);
    if (receiving === null) return false;
    if (handle.snapshots().some(({ id }) => id === receiving.snapshotId)) {
      await endReceiving(this.#writer, name, handle, receiving);
      return false;
    }
    if (served.exported !== '') await this.#takeAway(object, served);
    const why = `the stream of snapshot ${receiving.snapshot} is not whole: send it again (${resumeFlags(receiving)} goes on where it broke off), or delete the volume`;
    await this.#fails(object, why, 'Normal', 'Receiving');
    return true;
  }

  async #takeAway(object: VolumeObject, served: Served): Promise<void> {
    const { exporter } = this.#around;
    await exporter.withdraw(served.iqn);
    exporter.reserve(
      served.iqn,
      wantedOf(this.#around.catalog, object, policyOf(this.#around.catalog, object)),
    );
    served.exported = '';
  }

  /** Takes a served volume away from hosts until `release`. Refused, in words, while one is logged in. */
  async withhold(name: string): Promise<void> {
    const object = this.#around.catalog.get(VOLUME, name);
    const served = this.#served.get(name);
    if (object === null || served === undefined) {
      throw new ApiError('Conflict', `volumes "${name}" is not served here`);
    }
    if (this.#rollbacks.isAsked(object)) {
      throw new ApiError('Conflict', `volumes "${name}" is being rolled back: wait for that`);
    }
    const who = [...new Set(this.#around.exporter.initiators(served.iqn))];
    if (who.length > 0) {
      const few = who.slice(0, 3).join(', ');
      throw new ApiError('Conflict', `volumes "${name}" is in use by ${few}; log out there first`);
    }
    this.#withheld.add(name);
    await this.#takeAway(object, served);
  }

  release(name: string): void {
    this.#withheld.delete(name);
    this.nudge(name);
  }

  /** It is opened again afterwards, as what it is then. */
  async #rollBackInPool(object: VolumeObject, served: Served, to: string): Promise<void> {
    const { catalog, nodeName } = this.#around;
    const { name } = object.metadata;
    const replica = catalog
      .all(REPLICA)
      .find(({ spec }) => spec.volumeName === name && spec.nodeName === nodeName);
    const pool = this.#open.get(replica?.spec.poolName ?? '');
    if (pool === null) throw new CannotServe('its pool is not open');
    const version = served.volume.cut();
    served.throttle.setLimits(NO_LIMITS);
    this.#served.delete(name);
    await served.volume.close();
    await pool.rollbackVolume(name, { to, ...version });
  }

  /** Those that are to begin from a snapshot, with the replica that holds it where they go. */
  #withSources(object: VolumeObject, members: readonly WantedReplica[]): readonly NewReplica[] {
    if (object.spec.source === undefined) return members;
    const { catalog } = this.#around;
    const source = replicatedSourceOf(catalog, object);
    // Never made empty instead.
    if (source === null) throw new Error('the snapshot that it begins from is gone');
    const { volumeId, snapshotId, holders } = source;
    return members.map((member) => {
      if (member.witness === true) return member; // It begins with the record alone.
      const name = object.status?.members?.find(({ id }) => id === member.id)?.replica ?? '';
      const replicaId = holders.get(catalog.get(REPLICA, name)?.spec.poolName ?? '');
      if (replicaId === undefined) throw new Error(`${name} is not where the snapshot is held`);
      return { ...member, source: { volumeId, replicaId, snapshotId } };
    });
  }

  /** This node was just started, and its replicas here are not there yet. */
  #waitsForPools(object: VolumeObject): boolean {
    const { clock, nodeName } = this.#around;
    if (clock.nowMs() - this.#startedMs >= OWN_POOLS_MS) return false;
    return this.#replicasOf(object.metadata.name).some(
      ({ spec }) => spec.nodeName === nodeName && this.#open.get(spec.poolName) === null,
    );
  }

  /** Where its members are; null: some pool has not said so yet. */
  #addressesOf(object: VolumeObject): WantedReplica[] | null {
    const { catalog } = this.#around;
    const found: WantedReplica[] = [];
    for (const { id, replica: replicaName } of object.status?.members ?? []) {
      const replica = catalog.get(REPLICA, replicaName);
      const pool = catalog.get(POOL, replica?.spec.poolName ?? '');
      const node = pool?.status?.replicaAddress;
      // One that is gone for good has no address, and needs none to be let go of.
      if (replica === null || memberIdOf(replica) !== id) found.push({ id, node: '127.0.0.1:1' });
      else if (node === undefined) return null;
      else found.push({ id, node, ...asWitness(replica) });
    }
    return found;
  }

  #openCoordinator(object: VolumeObject, members: readonly WantedReplica[]): Coordinated {
    const { replication, exporter, iqnPrefix, log, turn, clock } = this.#around;
    const { name, uid } = object.metadata;
    const iqn = `${iqnPrefix}:${name}`;
    exporter.forget(iqn);
    exporter.reserve(
      iqn,
      wantedOf(this.#around.catalog, object, policyOf(this.#around.catalog, object)),
    );
    const handle = replication!.open({
      id: uid,
      name,
      iqn,
      blockSize: blockSizeOf(object.spec),
      replicas: members,
      onServing: (volume) => {
        this.#openings.end(name);
        if (this.#served.get(name)?.volume !== volume) {
          const throttle = new Throttle({ device: volume, clock, turn });
          this.#served.set(name, { volume, throttle, iqn, epoch: 0, exported: '' });
          this.#onChange();
        } else {
          // Taken down meanwhile: it is exported anew.
          this.#served.get(name)!.exported = '';
        }
        log.info({ volume: name, epoch: handle.epoch() }, 'a volume is served');
        this.nudge(name);
      },
      onOffline: (reason) => {
        log.warn({ volume: name, reason }, 'a volume is not served');
        exporter.takeDown(iqn, reason);
        const served = this.#served.get(name);
        if (served !== undefined) served.exported = '';
        this.nudge(name);
      },
      onLoss: () => exporter.declareLoss(iqn),
    });
    // A change of members may have been interrupted: whether these are the ones, its record says.
    const places = JSON.stringify(members);
    const coordinated: Coordinated = {
      handle,
      openedMs: clock.nowMs(),
      members: '',
      places,
      change: null,
      policy: '',
      seen: '',
      comparedIn: null,
      advice: null,
    };
    this.#coordinated.set(name, coordinated);
    log.info({ volume: name, members: members.length }, 'its coordinator is started');
    return coordinated;
  }

  /** Also while it gathers a quorum: how long commands are held is a matter of then. */
  #configure(object: VolumeObject, coordinated: Coordinated): void {
    const { nodeName, log } = this.#around;
    const { syncPolicy, readPolicy, timeouts } = policyOf(this.#around.catalog, object);
    const here = this.#replicasOf(object.metadata.name).find(
      ({ spec }) => spec.nodeName === nodeName && spec.witness !== true,
    );
    const policy: ReplicaPolicy = {
      localReplica: here === undefined ? null : memberIdOf(here),
      ...(syncPolicy === undefined ? {} : { syncPolicy }),
      ...(readPolicy === undefined ? {} : { readPolicy }),
      ...(timeouts?.holdSeconds === undefined ? {} : { holdMs: timeouts.holdSeconds * 1000 }),
      ...(timeouts?.ioSeconds === undefined ? {} : { lagMs: timeouts.ioSeconds * 1000 }),
      ...(timeouts?.hedgeMilliseconds === undefined ? {} : { hedgeMs: timeouts.hedgeMilliseconds }),
    };
    const key = JSON.stringify(policy);
    if (key === coordinated.policy) return;
    coordinated.handle.configure(policy);
    coordinated.policy = key;
    log.info({ volume: object.metadata.name, policy }, 'its policy is in force');
  }

  /**
   * Replicas that came join, those that go leave; nodes that moved are found again. False: a change is wanted that cannot be
   * made now.
   */
  async #changeMembers(
    object: VolumeObject,
    coordinated: Coordinated,
    members: readonly WantedReplica[],
  ): Promise<boolean> {
    const { catalog } = this.#around;
    this.#tellPlaces(coordinated, members);
    if (!coordinated.handle.serving) return true;
    const wanted: WantedReplica[] = [];
    const names = new Map<string, string>();
    for (const replica of this.#replicasOf(object.metadata.name)) {
      const id = memberIdOf(replica);
      const node = catalog.get(POOL, replica.spec.poolName)?.status?.replicaAddress;
      const known = members.find((member) => member.id === id);
      if (node === undefined && known === undefined) continue; // It joins when its pool is there.
      wanted.push({ id, node: node ?? known!.node, ...asWitness(replica) });
      names.set(id, replica.metadata.name);
    }
    const copies = wanted.filter(({ witness }) => witness !== true).length;
    for (const [index, { id, witness }] of [...wanted.entries()].reverse()) {
      const isMember = members.some((member) => member.id === id);
      if (witness === true && !isMember && copies < 2) wanted.splice(index, 1); // As in `#decide`.
    }
    // Never the last one: a volume without replicas is none.
    if (wanted.length === 0) return true;
    const key = JSON.stringify(wanted);
    if (key !== coordinated.members) {
      // Newcomers are named first: once a record names them, who coordinates next needs to find them (of two members it needs
      // both). Who is named and is no member yet is nobody's majority.
      const all = [
        ...members,
        ...wanted.filter(({ id }) => members.every((known) => known.id !== id)),
      ];
      if (all.length > members.length) {
        const replicaOf = new Map(object.status?.members?.map(({ id, replica }) => [id, replica]));
        await this.#writer.status(VOLUME, object, (status) => {
          status.members = all.map(({ id }) => ({
            id,
            replica: names.get(id) ?? replicaOf.get(id) ?? '',
          }));
        });
        return true; // That change brings it back here.
      }
      const change =
        coordinated.change ?? this.#beginChange(object.metadata.name, coordinated, key, wanted);
      await change.within(this.#around.clock, CHANGE_MS);
      if (!change.isEnded) return true; // Its end brings it back here.
      coordinated.change = null;
      if (change.error !== null) {
        await this.#membersStay(object, change.error.message);
        return false;
      }
      if (change.key !== key) return await this.#changeMembers(object, coordinated, members);
      coordinated.members = key;
    }
    // Each time: letting go of one whose node is away takes seconds, the object has changed by then, and this fails the first
    // time. Until it says so the node that comes back keeps what was let go of.
    await this.#writer.status(VOLUME, object, (status) => {
      status.members = wanted.map(({ id }) => ({ id, replica: names.get(id) ?? '' }));
      const rest = status.conditions?.filter(({ type }) => type !== MEMBERS_AS_WANTED);
      if (rest !== undefined) status.conditions = rest;
    });
    return true;
  }

  /**
   * A node that was started again may be found at another address, and a quorum may wait for just that: told at once, whatever the
   * look at a volume waits for. That may be the quorum itself.
   */
  #relocate(): void {
    for (const [name, coordinated] of this.#coordinated) {
      const object = this.#around.catalog.get(VOLUME, name);
      const members = object === null ? null : this.#addressesOf(object);
      if (members !== null) this.#tellPlaces(coordinated, members);
    }
  }

  #tellPlaces(coordinated: Coordinated, members: readonly WantedReplica[]): void {
    const places = JSON.stringify(members);
    if (places === coordinated.places) return;
    coordinated.places = places;
    coordinated.handle.relocate(members);
  }

  #beginChange(
    name: string,
    coordinated: Coordinated,
    key: string,
    wanted: readonly WantedReplica[],
  ): MemberChange {
    this.#around.log.info({ volume: name, members: wanted.length }, 'its members change');
    coordinated.change = new MemberChange(key, coordinated.handle.changeReplicas(wanted), () => {
      if (this.#coordinated.get(name) === coordinated) this.nudge(name);
    });
    return coordinated.change;
  }

  /** Who hosts are served by does not depend on it: the volume goes on with the members that it has. */
  async #membersStay(object: VolumeObject, why: string): Promise<void> {
    const { events, now, log } = this.#around;
    const message = `its members cannot be changed now: ${why}`;
    log.warn({ volume: object.metadata.name, why }, 'its members stay as they are for now');
    const said = await this.#writer.status(VOLUME, object, (status) => {
      status.conditions ??= [];
      const condition = { type: MEMBERS_AS_WANTED, status: 'False', reason: 'CannotChange' };
      setCondition(status.conditions, { ...condition, status: 'False', message }, now());
    });
    if (said !== object) events.record(object, 'Warning', 'MembersStay', message);
  }

  /** What its coordinator knows of each replica. */
  async #tellMembers(object: VolumeObject, { handle }: Coordinated): Promise<void> {
    const { now } = this.#around;
    const facts = new Map(handle.replicas().map((fact) => [fact.id, fact]));
    for (const replica of this.#replicasOf(object.metadata.name)) {
      const fact = facts.get(memberIdOf(replica));
      if (fact === undefined) continue;
      const phase = fact.connected ? (PHASES[fact.state] ?? 'Offline') : 'Offline';
      const news = JSON.stringify([phase, fact]);
      if (!this.#toldOfReplicas.isNews(replica, news)) continue;
      const told = await this.#writer.status(REPLICA, replica, (status) => {
        status.phase = phase;
        // Not its lag: that is another one at each look.
        status.connected = fact.connected;
        status.state = fact.state;
        status.lastFault = fact.lastFault;
        if (phase === 'Rebuilding') {
          status.rebuild = rebuildStatus({
            doneBytes: fact.rebuiltBlocks * STORE_BLOCK_BYTES,
            totalBytes: fact.rebuildBlocks * STORE_BLOCK_BYTES,
            bytesPerSecond: fact.bytesPerSecond,
          });
        } else delete status.rebuild;
        status.conditions ??= [];
        const is = phase === 'Healthy' ? 'True' : 'False';
        // While it is being tried again there is no reason: the last one stays.
        const ready = status.conditions.find(({ type }) => type === 'Ready');
        const before = ready?.status === 'False' ? ready.message : '';
        const message = fact.connected ? fact.lastFault : fact.linkReason || before;
        setCondition(
          status.conditions,
          {
            type: 'Ready',
            status: is,
            reason: fact.state,
            message: phase === 'Healthy' ? 'in sync' : message || phase.toLowerCase(),
          },
          now(),
        );
      });
      this.#toldOfReplicas.tell(told, news);
    }
  }

  #serve(object: VolumeObject): Served | null {
    const { catalog, nodeName, buffers, turn, clock, log, iqnPrefix } = this.#around;
    const { name } = object.metadata;
    const replica = catalog
      .where(REPLICAS_OF_VOLUME, name)
      .find(({ spec }) => spec.nodeName === nodeName);
    if (replica === undefined || isDeleting(replica)) return null;
    if (!this.#outgrowing.isSettled(object)) return null;
    const open = this.#open.find(replica.spec.poolName);
    const store = open?.pool.volume(name) ?? null;
    const member = open?.replicas?.host.find(object.metadata.uid, memberIdOf(replica)) ?? null;
    if (member !== null && member.promised > (member.base?.epoch ?? 0)) {
      throw new CannotServe(
        'a coordinator has had its replica: the objects are older than the data',
      );
    }
    if (store !== null && !isStoreOf(replica, store)) return null;
    if (store === null) return null;
    if (object.spec.source !== undefined && !isFilled(store)) return null;
    const logicalBlockBytes = blockSizeOf(object.spec);
    const volume = new Volume({ store, logicalBlockBytes, buffers, turn, clock });
    const throttle = new Throttle({ device: volume, clock, turn });
    const served = { volume, throttle, iqn: `${iqnPrefix}:${name}`, epoch: 0, exported: '' };
    this.#served.set(name, served);
    this.#onChange();
    log.info({ volume: name, pool: replica.spec.poolName }, 'a volume is served');
    return served;
  }

  /** Makes what is served agree with what is wanted. */
  async #follow(object: VolumeObject, served: Served): Promise<void> {
    const { exporter } = this.#around;
    const policy = policyOf(this.#around.catalog, object);
    const { volume, throttle, iqn } = served;
    const sizeBytes =
      Math.ceil((quantityBytes(object.spec.size) ?? 0) / STORE_BLOCK_BYTES) * STORE_BLOCK_BYTES;
    const hasBytes = volume.geometry.blocks * volume.geometry.logicalBlockBytes;
    if (sizeBytes > hasBytes) await volume.resize(sizeBytes);
    const writeCache = policy.writeCache;
    if (writeCache !== undefined && volume.writeCache !== writeCache) {
      await new Promise<void>((resolve, reject) => {
        volume.setWriteCache(writeCache, (status) => {
          if (status === IoStatus.Ok) resolve();
          else reject(new StoreError('STORE_IO', 'the write cache setting could not be kept'));
        });
      });
    }
    const limits = limitsOf(policy);
    if (JSON.stringify(limits) !== JSON.stringify(throttle.limits)) throttle.setLimits(limits);
    const wanted = wantedOf(this.#around.catalog, object, policy);
    const otherPortals = this.#otherPortals();
    const shape = JSON.stringify([wanted.initiators, wanted.chap, wanted.mutualChap, otherPortals]);
    if (shape === served.exported) return;
    // Since it was looked at a stream may have begun: nothing may come between this and the export.
    const handle = this.#coordinated.get(object.metadata.name)?.handle;
    const isMarked = handle !== undefined && receivingIn(handle) !== null;
    if (isMarked || this.#withheld.has(object.metadata.name)) return;
    exporter.expose({ iqn, wanted, volume, device: throttle, otherPortals });
    served.exported = shape;
  }

  async report(key: string): Promise<void> {
    const { catalog, nodeName, exporter, now } = this.#around;
    const object = catalog.get(VOLUME, key);
    const served = this.#served.get(key);
    if (object === null || served === undefined || served.exported === '') return;
    if (object.status?.target?.nodeName !== nodeName) return;
    const { volume, iqn, epoch } = served;
    const initiators = exporter.initiators(iqn);
    const [portal = ''] = exporter.portals;
    const coordinated = this.#coordinated.get(key);
    if (coordinated?.handle.serving === false) return;
    const usedBlocks = coordinated?.handle.usedBlocks() ?? volume.store.info().mappedBlocks;
    const usedBytes = usedBlocks * STORE_BLOCK_BYTES;
    const capacityBytes = volume.geometry.blocks * volume.geometry.logicalBlockBytes;
    const advice = coordinated === undefined ? [] : knownAdvice(object, coordinated);
    const news = JSON.stringify([epoch, portal, capacityBytes, usedBytes, initiators, advice]);
    if (!this.#toldOfVolumes.isNews(object, news)) return;
    const told = await this.#writer.status(VOLUME, object, (status) => {
      status.serving = { nodeName, epoch, portal };
      status.capacityBytes = capacityBytes;
      status.usedBytes = usedBytes;
      status.sessions = initiators.length;
      status.initiators = [...new Set(initiators)].sort();
      if (advice.length > 0) status.advice = [...advice];
      else delete status.advice;
      status.conditions ??= [];
      setCondition(
        status.conditions,
        { type: 'Served', status: 'True', reason: 'Serving', message: 'hosts can log in' },
        now(),
      );
    });
    this.#toldOfVolumes.tell(told, news);
  }

  async #fails(
    object: VolumeObject,
    message: string,
    severity: 'Normal' | 'Warning' = 'Warning',
    reason = 'CannotServe',
  ): Promise<void> {
    const { events, now } = this.#around;
    const said = await this.#writer.status(VOLUME, object, (status) => {
      delete status.advice; // It was of a volume that is served.
      status.conditions ??= [];
      const condition = {
        type: 'Served',
        status: 'False',
        reason,
        message,
      } as const;
      setCondition(status.conditions, condition, now());
    });
    if (said !== object) events.record(object, severity, 'NotServed', message);
  }

  /** Resolves when nothing of it can take effect any more. */
  async #withdraw(name: string): Promise<void> {
    this.#openings.end(name);
    const served = this.#served.get(name);
    const coordinated = this.#coordinated.get(name);
    if (served === undefined && coordinated === undefined) return;
    const { exporter, log, iqnPrefix } = this.#around;
    // What a limit holds back would only make the sessions linger.
    served?.throttle.setLimits(NO_LIMITS);
    await exporter.withdraw(`${iqnPrefix}:${name}`);
    if (coordinated === undefined) await served?.volume.close();
    else await coordinated.handle.stop();
    this.#coordinated.delete(name);
    this.#served.delete(name);
    this.#rollbacks.forget(name);
    this.#onChange();
    log.info({ volume: name }, 'a volume is no longer served here');
  }

  /** At the end: hosts are gone already. */
  async close(): Promise<void> {
    this.#openings.close();
    for (const [name, { volume, throttle }] of this.#served) {
      throttle.setLimits(NO_LIMITS);
      if (!this.#coordinated.has(name)) await volume.close();
    }
    await Promise.all([...this.#coordinated.values()].map(({ handle }) => handle.stop()));
    this.#coordinated.clear();
    this.#served.clear();
  }
}

function asWitness({ spec }: Replica): Pick<WantedReplica, 'witness'> {
  return spec.witness === true ? { witness: true } : {};
}

/** What is wrong with a volume that is served and what to do, of replicas by the names that people find them under. */
function adviceOf({ status }: VolumeObject, handle: ReplicatedHandle): string[] {
  const lines = handle.advice();
  if (lines.length === 0) return lines;
  const names = status?.members?.filter(({ replica }) => replica !== '') ?? [];
  return lines.map((line) =>
    names.reduce((text, { id, replica }) => text.replaceAll(id, replica), line),
  );
}

/** The same, asked for once in a quiet spell. */
function knownAdvice(object: VolumeObject, coordinated: Coordinated): readonly string[] {
  const spell = coordinated.handle.quietSpell();
  if (spell !== null && coordinated.advice?.spell === spell) return coordinated.advice.lines;
  const lines = adviceOf(object, coordinated.handle);
  coordinated.advice = spell === null ? null : { spell, lines };
  return lines;
}

/** How a coordinator and its replicas are, in short. */
function seenOf(handle: ReplicatedHandle): string {
  return JSON.stringify([handle.serving, handle.state(), handle.replicas()]);
}
