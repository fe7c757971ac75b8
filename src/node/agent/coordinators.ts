// The coordinators that run on this node, one for each replicated volume whose target it is: begun over its members, told where
// those are, which policy holds and which members are wanted. What they know of replicas is told in the objects of these.
import { setCondition } from '../../apiserver/index.ts';
import type {
  NewReplica,
  ReplicaPolicy,
  ReplicatedHandle,
  WantedReplica,
} from '../../control/index.ts';
import { MEMBERS_AS_WANTED, type Writer } from '../../controllers/index.ts';
import {
  blockSizeOf,
  POOL,
  REPLICA,
  type Replica,
  rebuildStatus,
  SNAPSHOT,
  VOLUME,
  type Volume as VolumeObject,
} from '../../kinds/index.ts';
import { STORE_BLOCK_BYTES } from '../../store/index.ts';
import type { Volume } from '../../volume/index.ts';
import { MemberChange } from './member-change.ts';
import { memberIdOf, PHASES, replicasOf } from './members.ts';
import { Openings } from './openings.ts';
import type { Outgrowing } from './outgrow.ts';
import { blocksToMake, replicatedSourceOf } from './sources.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';
import { Told } from './told.ts';
import { CannotServe, policyOf, wantedOf } from './volume-policy.ts';

/** So soon what waits for others, of a volume that is to be served here, is looked at again. */
export const TRY_AGAIN_MS = 500;
/**
 * So long a coordinator that has just been started may gather its quorum before anybody is told that it has none. Of a thousand volumes
 * whose node was started again each replica would be told Offline and Healthy, and each volume with it.
 */
const GATHER_MS = 5000;
/** So long after its start a node waits for its own pools before it coordinates without them. */
const OWN_POOLS_MS = 5000;
/** A change of members that takes longer is not waited for. */
const CHANGE_MS = 1000;

export interface CoordinatorsOptions {
  readonly around: NodeSurroundings;
  readonly open: OpenPools;
  readonly writer: Writer;
  readonly outgrowing: Outgrowing;
  /** Has the volume looked at again. */
  readonly nudge: (name: string) => void;
  /** Before its coordinator begins: resolves when nothing of it is served in place any more. */
  readonly withdraw: (name: string) => Promise<void>;
  /** Its coordinator serves it: the first time, or again. */
  readonly onServing: (name: string, volume: Volume) => void;
  /** It was taken down: its coordinator has to gather a quorum first. */
  readonly onOffline: (name: string) => void;
}

/** What a look at a replicated volume came to: its coordinator runs, or cannot be begun yet. */
export type Coordination =
  | {
      readonly handle: ReplicatedHandle;
      /** False: a change of members is wanted that cannot be made now. */
      readonly mayChange: boolean;
    }
  | { readonly againMs: number };

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

/** Each look at a replicated volume goes to `coordinate`. Who stops a handle has it forgotten then. */
export class Coordinators {
  readonly #options: CoordinatorsOptions;
  readonly #around: NodeSurroundings;
  readonly #writer: Writer;
  readonly #coordinated = new Map<string, Coordinated>();
  readonly #told = new Told();
  readonly #startedMs: number;
  readonly #openings: Openings;

  constructor(options: CoordinatorsOptions) {
    const { around, writer, nudge } = options;
    this.#options = options;
    this.#around = around;
    this.#writer = writer;
    this.#startedMs = around.clock.nowMs();
    this.#openings = new Openings({ clock: around.clock, nudge });
    around.catalog.onChange(POOL, ({ status }, before) => {
      if (status?.replicaAddress !== before?.status?.replicaAddress) this.#relocate();
    });
  }

  /** Null: it is not coordinated here. */
  handle(volumeName: string): ReplicatedHandle | null {
    return this.#coordinated.get(volumeName)?.handle ?? null;
  }

  /** How it is kept, once for all: what is written down here is what a crash in between goes on with. Throws CannotServe. */
  async decide(object: VolumeObject): Promise<number | undefined> {
    const { catalog, replication } = this.#around;
    const all = replicasOf(catalog, object.metadata.name);
    let replicas = all.filter(({ spec }) => spec.witness !== true);
    // All that have a place; our view of them may be a moment behind.
    const { placed = 1, wanted = 1 } = object.status?.replicas ?? {};
    if (replicas.length < Math.max(1, placed)) return TRY_AGAIN_MS;
    const from = object.spec.source?.snapshot;
    if (from !== undefined && (await this.#writer.live(SNAPSHOT, null, from)) === null) {
      throw new CannotServe(`snapshot ${from}, which it begins from, is gone: delete this volume`);
    }
    const mayGrow = wanted > 1 && object.spec.source === undefined && this.#mayGetMore(object);
    const source = replicatedSourceOf(catalog, object);
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
        replication !== null);
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

  /** Its replicas are made once, then its coordinator runs here while it is our target. Throws CannotServe. */
  async coordinate(object: VolumeObject): Promise<Coordination> {
    const { replication, catalog } = this.#around;
    const { name, uid } = object.metadata;
    if (replication === null) throw new CannotServe('this node coordinates no replicas');
    const members = this.#addressesOf(object);
    if (members === null) return { againMs: TRY_AGAIN_MS }; // Not all of its pools have said where they are.
    if (object.status?.made !== true) {
      const sizeBlocks = blocksToMake(catalog, object);
      try {
        await replication.make(uid, sizeBlocks, this.#withSources(object, members));
      } catch (error) {
        throw new CannotServe(`its replicas cannot be made: ${(error as Error).message}`);
      }
      await this.#writer.status(VOLUME, object, (status) => {
        status.made = true;
      });
      return { againMs: TRY_AGAIN_MS };
    }
    if (!this.#coordinated.has(name)) {
      const { withdraw, outgrowing } = this.#options;
      if (this.#waitsForPools(object)) return { againMs: TRY_AGAIN_MS };
      await withdraw(name); // It was served in place a moment ago, by a view that was behind.
      if (!this.#openings.begin(name)) return { againMs: TRY_AGAIN_MS * 4 };
      try {
        await outgrowing.assertNewest(object);
      } catch (error) {
        throw new CannotServe((error as Error).message);
      }
    }
    const coordinated = this.#coordinated.get(name) ?? this.#openCoordinator(object, members);
    this.#configure(object, coordinated);
    const mayChange = await this.#changeMembers(object, coordinated, members);
    return { handle: coordinated.handle, mayChange };
  }

  /** It was begun just now: that it has no quorum yet is nothing to tell. */
  isGathering(name: string): boolean {
    const coordinated = this.#coordinated.get(name);
    return (
      coordinated !== undefined && this.#around.clock.nowMs() - coordinated.openedMs < GATHER_MS
    );
  }

  /** Its volume was looked at, and all that it has to tell was told. */
  wasLookedAt(name: string): void {
    const coordinated = this.#coordinated.get(name);
    if (coordinated !== undefined) coordinated.seen = seenOf(coordinated.handle);
  }

  /** Those that have something to tell since their volume was looked at. */
  withNews(): string[] {
    const names: string[] = [];
    for (const [name, coordinated] of this.#coordinated) {
      const { handle } = coordinated;
      const spell = handle.quietSpell();
      if (spell !== null && spell === coordinated.comparedIn) continue;
      coordinated.comparedIn = spell;
      if (seenOf(handle) !== coordinated.seen) names.push(name);
    }
    return names;
  }

  /** `adviceOf`, asked for once in a quiet spell. Nothing is wrong with one that is not coordinated here. */
  advice(object: VolumeObject): readonly string[] {
    const coordinated = this.#coordinated.get(object.metadata.name);
    if (coordinated === undefined) return [];
    const spell = coordinated.handle.quietSpell();
    if (spell !== null && coordinated.advice?.spell === spell) return coordinated.advice.lines;
    const lines = adviceOf(object, coordinated.handle);
    coordinated.advice = spell === null ? null : { spell, lines };
    return lines;
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
    const { catalog, clock, nodeName } = this.#around;
    if (clock.nowMs() - this.#startedMs >= OWN_POOLS_MS) return false;
    return replicasOf(catalog, object.metadata.name).some(
      ({ spec }) => spec.nodeName === nodeName && this.#options.open.get(spec.poolName) === null,
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
    const { catalog, replication, exporter, iqnPrefix, log, clock } = this.#around;
    const { nudge, onServing, onOffline } = this.#options;
    const { name, uid } = object.metadata;
    const iqn = `${iqnPrefix}:${name}`;
    exporter.forget(iqn);
    exporter.reserve(iqn, wantedOf(catalog, object, policyOf(catalog, object)));
    const handle = replication!.open({
      id: uid,
      name,
      iqn,
      blockSize: blockSizeOf(object.spec),
      replicas: members,
      onServing: (volume) => {
        this.#openings.end(name);
        onServing(name, volume);
        log.info({ volume: name, epoch: handle.epoch() }, 'a volume is served');
        nudge(name);
      },
      onOffline: (reason) => {
        log.warn({ volume: name, reason }, 'a volume is not served');
        exporter.takeDown(iqn, reason);
        onOffline(name);
        nudge(name);
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
    const { catalog, nodeName, log } = this.#around;
    const { syncPolicy, readPolicy, timeouts } = policyOf(catalog, object);
    const here = replicasOf(catalog, object.metadata.name).find(
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
    for (const replica of replicasOf(catalog, object.metadata.name)) {
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
      if (witness === true && !isMember && copies < 2) wanted.splice(index, 1); // As in `decide`.
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
        await this.membersStay(object, change.error.message);
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
      if (this.#coordinated.get(name) === coordinated) this.#options.nudge(name);
    });
    return coordinated.change;
  }

  /** Who hosts are served by does not depend on it: the volume goes on with the members that it has. */
  async membersStay(object: VolumeObject, why: string): Promise<void> {
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
  async tellMembers(object: VolumeObject, handle: ReplicatedHandle): Promise<void> {
    const { catalog, now } = this.#around;
    const facts = new Map(handle.replicas().map((fact) => [fact.id, fact]));
    for (const replica of replicasOf(catalog, object.metadata.name)) {
      const fact = facts.get(memberIdOf(replica));
      if (fact === undefined) continue;
      const phase = fact.connected ? (PHASES[fact.state] ?? 'Offline') : 'Offline';
      const news = JSON.stringify([phase, fact]);
      if (!this.#told.isNews(replica, news)) continue;
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
      this.#told.tell(told, news);
    }
  }

  /** It is not begun after all: another may be. */
  endOpening(name: string): void {
    this.#openings.end(name);
  }

  /** Its coordinator was stopped. */
  forget(name: string): void {
    this.#coordinated.delete(name);
  }

  async close(): Promise<void> {
    this.#openings.close();
    await Promise.all([...this.#coordinated.values()].map(({ handle }) => handle.stop()));
    this.#coordinated.clear();
  }
}

function asWitness({ spec }: Replica): Pick<WantedReplica, 'witness'> {
  return spec.witness === true ? { witness: true } : {};
}

/** What is wrong with a volume that is served and what to do, of replicas by the names that people find them under. */
export function adviceOf({ status }: VolumeObject, handle: ReplicatedHandle): string[] {
  const lines = handle.advice();
  if (lines.length === 0) return lines;
  const names = status?.members?.filter(({ replica }) => replica !== '') ?? [];
  return lines.map((line) =>
    names.reduce((text, { id, replica }) => text.replaceAll(id, replica), line),
  );
}

/** How a coordinator and its replicas are, in short. */
function seenOf(handle: ReplicatedHandle): string {
  return JSON.stringify([handle.serving, handle.state(), handle.replicas()]);
}
