// The volumes that this node is to serve: opened over their replica, or handed over by their coordinator (coordinators.ts), put
// behind their limits, and exported to hosts.
// What an object changes of a served volume (size, limits, who may log in) takes effect while it is used.
import { ApiError, type KindDefinition, setCondition } from '../../apiserver/index.ts';
import { IoStatus } from '../../block/index.ts';
import { type ReplicatedHandle, resumeFlags } from '../../control/index.ts';
import {
  type Controller,
  isDeleting,
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
  SECRET,
  type Snapshot,
  VOLUME,
  VOLUME_POLICY,
  type Volume as VolumeObject,
} from '../../kinds/index.ts';
import { STORE_BLOCK_BYTES, StoreError } from '../../store/index.ts';
import { NO_LIMITS, Throttle, Volume } from '../../volume/index.ts';
import { adviceOf, Coordinators, TRY_AGAIN_MS } from './coordinators.ts';
import { isStoreOf, memberIdOf } from './members.ts';
import { Outgrowing } from './outgrow.ts';
import { isFilled, type Serving } from './replicas.ts';
import { Rollbacks } from './rollback.ts';
import { cutIdOf } from './snapshot-groups.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';
import { Told } from './told.ts';
import { endReceiving, receivingIn } from './transfer-ends.ts';
import { CannotServe, limitsOf, policyOf, wantedOf } from './volume-policy.ts';

/**
 * Looks wait for other nodes, of which one may be dead: a member that is changed then, for seconds. Those whose coordinator is to
 * begin here must not wait behind them.
 */
const MOST_LOOKS = 64;

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
  /** Of these it is being found out whether a stream fits. */
  readonly #withheld = new Set<string>();
  readonly #told = new Told();
  /** Has the volume looked at again; set by who runs the keepers. */
  nudge: (name: string) => void = () => {};
  readonly #onChange: () => void;
  readonly #rollbacks: Rollbacks;
  readonly #outgrowing: Outgrowing;
  readonly #coordinators: Coordinators;

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
    this.#rollbacks = new Rollbacks(around, writer);
    this.#outgrowing = new Outgrowing(around, open, writer);
    this.#coordinators = new Coordinators({
      around,
      open,
      writer,
      outgrowing: this.#outgrowing,
      nudge: (name) => this.nudge(name),
      withdraw: (name) => this.#withdraw(name),
      onServing: (name, volume) => {
        // The same one: it was taken down meanwhile.
        if (this.#served.get(name)?.volume === volume) this.#exportAnew(name);
        else this.#add(name, volume);
      },
      onOffline: (name) => this.#exportAnew(name),
    });
    const { catalog, nodeName } = around;
    const mine = (): string[] =>
      catalog.where(VOLUMES_OF_TARGET, nodeName).map(({ metadata }) => metadata.name);
    const all = (): string[] => catalog.all(VOLUME).map(({ metadata }) => metadata.name);
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
    return this.#coordinators.handle(volumeName);
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
    if (object.status?.mode !== undefined && this.handle(key) === null && !this.#served.has(key)) {
      this.#pointElsewhere(key, object);
    }
    let againMs: number | undefined;
    try {
      if (object.status?.mode === undefined) return await this.#coordinators.decide(object);
      if (object.status.mode === 'replicated') return await this.#coordinate(object, target.epoch);
      if (await this.#outgrowing.isUndecided(object)) return TRY_AGAIN_MS;
      const served = this.#served.get(key) ?? this.#serve(object);
      if (served === null) return TRY_AGAIN_MS; // Its replica here is not there yet.
      served.epoch = target.epoch;
      if (await this.#isRollingBack(object, served, null)) return TRY_AGAIN_MS;
      if (this.#outgrowing.isWanted(object, policyOf(this.#around.catalog, object))) {
        const why = this.#outgrowing.hindrance(object);
        if (why === '') return await this.#outgrow(object, served);
        await this.#coordinators.membersStay(object, why);
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

  /** Of a replicated volume: served as long as its coordinator serves. */
  async #coordinate(object: VolumeObject, epoch: number): Promise<number | undefined> {
    const { name } = object.metadata;
    const coordination = await this.#coordinators.coordinate(object);
    if ('againMs' in coordination) return coordination.againMs;
    const { handle, mayChange } = coordination;
    const served = this.#served.get(name) ?? null;
    if (served === null || !handle.serving) {
      if (served === null && this.#coordinators.isGathering(name)) return TRY_AGAIN_MS;
      await this.#coordinators.tellMembers(object, handle);
      const advice = adviceOf(object, handle).join('; ');
      await this.#fails(
        object,
        advice === '' ? 'its coordinator gathers a quorum' : advice,
        'Normal',
        NO_QUORUM,
      );
      return TRY_AGAIN_MS;
    }
    served.epoch = epoch;
    if (await this.#isRollingBack(object, served, handle)) {
      await this.#coordinators.tellMembers(object, handle);
      return TRY_AGAIN_MS;
    }
    if (await this.#isReceiving(object, served, handle)) {
      await this.#coordinators.tellMembers(object, handle);
      return TRY_AGAIN_MS * 4;
    }
    await this.#follow(object, served);
    await this.#coordinators.tellMembers(object, handle);
    await this.report(name);
    this.#coordinators.wasLookedAt(name);
    if (!mayChange) return TRY_AGAIN_MS * 10;
    // One that is well is looked at when that changes: `lookAgain`.
    return handle.state() === 'Healthy' ? undefined : TRY_AGAIN_MS * 2;
  }

  /** Now and then: coordinators that have something to tell have their volume looked at, the others' usage is told. */
  async lookAgain(): Promise<void> {
    for (const name of this.#coordinators.withNews()) {
      if (this.#served.has(name)) this.nudge(name);
    }
    for (const name of [...this.#served.keys()]) await this.report(name);
  }

  /** P4: then it is kept from hosts. `handle`: its coordinator; null: its one replica is a volume of a pool here. */
  async #isRollingBack(
    object: VolumeObject,
    served: Served,
    handle: ReplicatedHandle | null,
  ): Promise<boolean> {
    const { name } = object.metadata;
    const target = {
      initiators: this.#around.exporter.initiators(served.iqn),
      receiving: this.isReceiving(name),
      takeAway: () => this.#takeAway(object, served),
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

  #serve(object: VolumeObject): Served | null {
    const { catalog, nodeName, buffers, turn, clock, log } = this.#around;
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
    const served = this.#add(name, volume);
    log.info({ volume: name, pool: replica.spec.poolName }, 'a volume is served');
    return served;
  }

  #add(name: string, volume: Volume): Served {
    const { clock, turn, iqnPrefix } = this.#around;
    const throttle = new Throttle({ device: volume, clock, turn });
    const served = { volume, throttle, iqn: `${iqnPrefix}:${name}`, epoch: 0, exported: '' };
    this.#served.set(name, served);
    this.#onChange();
    return served;
  }

  /** At the next look at it. */
  #exportAnew(name: string): void {
    const served = this.#served.get(name);
    if (served !== undefined) served.exported = '';
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
    const handle = this.handle(object.metadata.name);
    const isMarked = handle !== null && receivingIn(handle) !== null;
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
    const handle = this.handle(key);
    if (handle?.serving === false) return;
    const usedBlocks = handle?.usedBlocks() ?? volume.store.info().mappedBlocks;
    const usedBytes = usedBlocks * STORE_BLOCK_BYTES;
    const capacityBytes = volume.geometry.blocks * volume.geometry.logicalBlockBytes;
    const advice = this.#coordinators.advice(object);
    const news = JSON.stringify([epoch, portal, capacityBytes, usedBytes, initiators, advice]);
    if (!this.#told.isNews(object, news)) return;
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
    this.#told.tell(told, news);
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
    this.#coordinators.endOpening(name);
    const served = this.#served.get(name);
    const handle = this.handle(name);
    if (served === undefined && handle === null) return;
    const { exporter, log, iqnPrefix } = this.#around;
    // What a limit holds back would only make the sessions linger.
    served?.throttle.setLimits(NO_LIMITS);
    await exporter.withdraw(`${iqnPrefix}:${name}`);
    if (handle === null) await served?.volume.close();
    else await handle.stop();
    this.#coordinators.forget(name);
    this.#served.delete(name);
    this.#rollbacks.forget(name);
    this.#onChange();
    log.info({ volume: name }, 'a volume is no longer served here');
  }

  /** At the end: hosts are gone already. */
  async close(): Promise<void> {
    for (const [name, { volume, throttle }] of this.#served) {
      throttle.setLimits(NO_LIMITS);
      if (this.handle(name) === null) await volume.close();
    }
    await this.#coordinators.close();
    this.#served.clear();
  }
}
