// The replicas of one pool: makes them, opens them at start, drives a member core for each, and ends them. Their volumes
// in the pool are named `replica/VOLUME/REPLICA`, their branches (B6) `branch/VOLUME/REPLICA/SNAPSHOT`, which no volume of a user
// can be.
import { randomUUID } from 'node:crypto';
import type { Clock, Log, Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import { type Pool, StoreError, type StoreVolume } from '../store/index.ts';
import {
  CoreGate,
  type ReplicaIdentity,
  type ReplicaListEntry,
  type ReplicaSource,
} from '../wire/index.ts';
import type { CoordinatorMessage, MemberMessage } from '../wire/messages.ts';
import { compare, findMember, recordNames, type VolumeRecord } from '../wire/record.ts';
import { type Version, ZERO_VERSION } from '../wire/version.ts';
import { EngineStore } from './engine-store.ts';
import { FoundDamage } from './found-damage.ts';
import { WITNESS_KEY } from './kept-record.ts';
import { Member } from './member.ts';
import type { MemberTransport } from './member-interfaces.ts';
import { BRANCH_PREFIX, branchesOf, handOn } from './replica-snapshots.ts';

export const REPLICA_PREFIX = 'replica/';

/** Of a replica made from a snapshot: 4 bytes epoch and 8 bytes op of its cut. The last step of making it. */
const BASE_KEY = 'replica.base';
const BASE_BYTES = 12;

/** Is this volume of a pool a replica's, and none of the volume controller's? */
export function isReplicaVolume(name: string): boolean {
  return name.startsWith(REPLICA_PREFIX) || name.startsWith(BRANCH_PREFIX);
}

export interface ReplicaHostOptions {
  readonly pool: Pool;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly log: Log;
  readonly leaseMs: number;
}

interface HostedOptions extends ReplicaHostOptions {
  readonly damage: FoundDamage;
}

/** What carries a session's messages to the coordinator. */
export interface SessionLink {
  send(message: MemberMessage): void;
  /** The member ends it. */
  close(): void;
}

/** A request that cannot be granted, in words for its sender. */
export class ReplicaRefusal extends Error {
  override readonly name = 'ReplicaRefusal';
  readonly code: 'NotFound' | 'Exists' | 'Invalid' | 'Fenced' | 'NoSpace' | 'Faulted';

  constructor(code: ReplicaRefusal['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** One replica: its store, its core, and the sessions that coordinators have with it. */
export class HostedReplica implements MemberTransport {
  readonly volumeId: string;
  readonly replicaId: string;
  readonly volume: StoreVolume;
  readonly #options: HostedOptions;
  readonly #links = new Map<number, SessionLink>();
  #nextSession = 1;
  #gate!: CoreGate;
  #store!: EngineStore;
  #member!: Member;

  constructor(options: HostedOptions, volume: StoreVolume, volumeId: string, replicaId: string) {
    this.#options = options;
    this.volume = volume;
    this.volumeId = volumeId;
    this.replicaId = replicaId;
    this.#open();
  }

  get record(): VolumeRecord | null {
    return this.#member.record;
  }

  get promised(): number {
    return this.#member.promised;
  }

  get identity(): ReplicaIdentity {
    const { storeId, openId, openIds, bootId } = this.#store.opened;
    const identity = { storeId, openId, openIds, bootId };
    const { base, promised } = this;
    return { identity, blank: this.record === null, promised, base };
  }

  /** It holds records alone. */
  get witness(): boolean {
    return this.#store.opened.witness;
  }

  /** Of one made from a snapshot: its cut. Null: it was made empty. */
  get base(): Version | null {
    return baseOf(this.volume);
  }

  /** As it is called in the pool. */
  snapshotName(snapshotId: string): string {
    return this.#store.snapshotName(snapshotId);
  }

  /** A coordinator came. Its number is for the calls below. */
  startSession(link: SessionLink): number {
    const session = this.#nextSession;
    this.#nextSession += 1;
    this.#links.set(session, link);
    this.#gate.post((nowMs) => this.#member.onSessionStart(nowMs, session));
    return session;
  }

  /** Hot. The message is lent. */
  onMessage(session: number, message: CoordinatorMessage): void {
    const gate = this.#gate;
    // Messages come from sockets, never from inside the core.
    if (!gate.enter()) throw new TypeError('a message from inside the core');
    this.#member.onMessage(gate.nowMs, session, message);
    gate.leave();
  }

  endSession(session: number): void {
    if (!this.#links.delete(session)) return;
    this.#gate.post((nowMs) => this.#member.onSessionEnd(nowMs, session));
  }

  // For the core.

  send(session: number, message: MemberMessage): void {
    this.#links.get(session)?.send(message);
  }

  close(session: number): void {
    const link = this.#links.get(session);
    this.#links.delete(session);
    link?.close();
    this.#gate.post((nowMs) => this.#member.onSessionEnd(nowMs, session));
  }

  // For the host.

  /** The first record of a new volume (initialRecord): only a blank store that it names takes it. */
  async begin(record: VolumeRecord): Promise<void> {
    const { storeId } = this.#store.opened;
    if (this.record !== null || this.promised > 0) {
      const same = this.record !== null && this.record.volumeId === record.volumeId;
      if (same && recordNames(this.record, this.replicaId, storeId)) return; // Asked again.
      throw new ReplicaRefusal('Exists', `replica ${this.replicaId} has a record already`);
    }
    // A witness holds no blocks: where those of the others begin is nothing to it.
    const base = this.witness ? record.allApplied : (this.base ?? ZERO_VERSION);
    const isFirst = record.n === 1 && compare(record.allApplied, base) === 0;
    if (record.epoch !== base.epoch || !isFirst || record.volumeId !== this.volumeId) {
      throw new ReplicaRefusal('Invalid', 'this is not the first record of that volume');
    }
    if (!recordNames(record, this.replicaId, storeId)) {
      throw new ReplicaRefusal('Invalid', `the record does not name store ${storeId}`);
    }
    await this.#store.begin(record);
    this.#endSessions();
    this.#store.close();
    this.#open();
  }

  end(): void {
    this.#endSessions();
    this.#store.close();
  }

  /** Of one that has ended: nothing of it changes the pool any more. */
  ended(): Promise<void> {
    return this.#store.ended();
  }

  /** What a scrub found in it, to its coordinator. */
  tellDamage(): void {
    this.#gate.post(() => this.#member.tellDamage());
  }

  /** Its pool is faulted: whoever has a session is told, and asks again what it can hear in words. */
  dismiss(): void {
    for (const session of [...this.#links.keys()]) this.close(session);
  }

  #open(): void {
    const { pool, buffers, turn, clock, leaseMs, damage } = this.#options;
    const { volume } = this;
    this.#gate = new CoreGate(clock);
    this.#store = new EngineStore({ pool, volume, buffers, turn, gate: this.#gate, damage });
    const { volumeId, replicaId } = this;
    this.#member = new Member(clock.nowMs(), { volumeId, replicaId, leaseMs }, this.#store, this);
    this.#store.drive(this.#member);
  }

  #endSessions(): void {
    const links = [...this.#links.values()];
    this.#links.clear();
    for (const link of links) link.close();
  }
}

export class ReplicaHost {
  readonly #options: HostedOptions;
  readonly #replicas = new Map<string, HostedReplica>();
  /** Changes to the set happen one after the other. */
  #tail: Promise<unknown> = Promise.resolve();
  #fault = '';

  constructor(options: ReplicaHostOptions) {
    this.#options = { ...options, damage: new FoundDamage(options) };
  }

  get poolName(): string {
    return this.#options.pool.name;
  }

  /** Why the pool serves nothing any more; empty while it does. */
  get fault(): string {
    return this.#fault;
  }

  /** Opens the replicas that the pool holds. One that cannot be opened is named in the log, and serves nothing. */
  start(): void {
    const { pool, log, turn } = this.#options;
    pool.onFault((why) => {
      this.#fault = why;
      turn.enter();
      for (const replica of this.#replicas.values()) replica.dismiss();
      turn.leave();
    });
    for (const volume of pool.volumes()) {
      if (!volume.name.startsWith(REPLICA_PREFIX)) continue;
      const [, volumeId = '', replicaId = ''] = volume.name.split('/');
      try {
        const replica = new HostedReplica(this.#options, volume, volumeId, replicaId);
        this.#replicas.set(keyOf(volumeId, replicaId), replica);
        const { record } = replica;
        log.info({ volumeId, replica: replicaId, epoch: record?.epoch ?? 0 }, 'replica is open');
      } catch (error) {
        log.error({ volumeId, replica: replicaId, err: error }, 'a replica cannot be opened');
      }
    }
    void this.#exclusively(() => this.#dropOrphans());
  }

  /** Now and then: what a scrub found, where no heartbeat asks for it. */
  tellDamage(): void {
    if (!this.#options.damage.some()) return;
    for (const replica of this.#replicas.values()) replica.tellDamage();
  }

  find(volumeId: string, replicaId: string): HostedReplica | null {
    return this.#replicas.get(keyOf(volumeId, replicaId)) ?? null;
  }

  /** Without what a look into each of them costs. */
  promises(): Pick<ReplicaListEntry, 'volumeId' | 'replicaId' | 'promised'>[] {
    return [...this.#replicas.values()];
  }

  list(): ReplicaListEntry[] {
    return [...this.#replicas.values()].map((replica) => {
      const { volumeId, replicaId, record, promised, volume } = replica;
      const info = volume.info();
      const { storeId } = replica.identity.identity;
      const entry = record === null ? undefined : findMember(record, replicaId);
      return {
        volumeId,
        replicaId,
        blank: record === null,
        promised,
        sizeBlocks: info.sizeBlocks,
        usedBlocks: info.mappedBlocks,
        state: entry?.storeId === storeId ? entry.state : 0,
      };
    });
  }

  /** A blank replica, or the one that is there; from a snapshot of another one here (S14). Rejects with ReplicaRefusal. */
  create(wanted: {
    volumeId: string;
    replicaId: string;
    sizeBlocks: number;
    witness: boolean;
    source: ReplicaSource | null;
  }): Promise<HostedReplica> {
    return this.#exclusively(async () => {
      const { volumeId, replicaId, sizeBlocks, witness, source } = wanted;
      if (!ID.test(volumeId) || !ID.test(replicaId)) {
        throw new ReplicaRefusal('Invalid', 'volume and replica ids are letters, digits, - and .');
      }
      const known = this.find(volumeId, replicaId);
      const isBegun = known !== null && (known.record !== null || known.promised > 0);
      // What it is made as, it says itself with the last step.
      const halfMade =
        known !== null &&
        !isBegun &&
        ((source !== null && known.base === null) || (witness && !known.witness));
      if (known !== null && !halfMade) return known;
      const { pool } = this.#options;
      const name = storeName(volumeId, replicaId);
      if (halfMade) {
        // A crash came before its last step: nobody was told of it, and nothing was written there.
        this.#replicas.delete(keyOf(volumeId, replicaId));
        known.end();
        await pool.deleteVolume(name);
      }
      if (pool.volume(name) !== null) {
        throw new ReplicaRefusal('Faulted', `replica ${replicaId} is there and cannot be opened`);
      }
      let volume: StoreVolume;
      try {
        volume =
          source === null
            ? await pool.createVolume({
                id: randomUUID(),
                name,
                sizeBlocks: Math.max(1, sizeBlocks),
                holeFloor: ZERO_VERSION,
              })
            : await this.#clone(source, name, sizeBlocks);
        if (witness) await putBlob(volume, WITNESS_KEY, Uint8Array.of(1));
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        throw new ReplicaRefusal(
          error.code === 'STORE_NO_SPACE' ? 'NoSpace' : 'Faulted',
          error.message,
        );
      }
      const replica = new HostedReplica(this.#options, volume, volumeId, replicaId);
      this.#replicas.set(keyOf(volumeId, replicaId), replica);
      this.#options.log.info({ volumeId, replica: replicaId }, 'a blank replica was made');
      return replica;
    });
  }

  /**
   * A clone keeps the versions of its blocks, all of them at or below the cut, so its holes need none (B7), and everything
   * up to the cut is here.
   */
  async #clone(source: ReplicaSource, name: string, sizeBlocks: number): Promise<StoreVolume> {
    const { pool } = this.#options;
    const { volumeId, replicaId, snapshotId } = source;
    const from = this.find(volumeId, replicaId);
    if (from === null) throw notHere(volumeId, replicaId);
    const snapshot = pool.snapshot(from.snapshotName(snapshotId));
    // P3: one that no record names does not exist, whatever the pool has.
    const named = from.record?.snapshots.find(({ id }) => id === snapshotId);
    if (snapshot === null || named === undefined || !named.holders.includes(replicaId)) {
      throw new ReplicaRefusal('NotFound', `replica ${replicaId} holds no snapshot ${snapshotId}`);
    }
    return await this.#cloneAt(snapshot.name, named.version, name, sizeBlocks);
  }

  async #cloneAt(
    snapshot: string,
    base: Version,
    name: string,
    sizeBlocks: number,
  ): Promise<StoreVolume> {
    const volume = await this.#options.pool.cloneSnapshot(snapshot, { id: randomUUID(), name });
    await volume.setMarks({ holeFloor: base, contig: base });
    if (sizeBlocks > volume.info().sizeBlocks) await volume.resize(sizeBlocks);
    const b = Buffer.alloc(BASE_BYTES);
    b.writeUInt32LE(base.epoch, 0);
    b.writeBigUInt64LE(BigInt(base.op), 4);
    await putBlob(volume, BASE_KEY, b);
    return volume;
  }

  /**
   * A replica that begins as what a volume of this pool held at its cut: its only one so far, which nobody uses meanwhile. One
   * that an earlier try left goes first, if no coordinator ever had it. Rejects with ReplicaRefusal, StoreError.
   */
  adopt(wanted: {
    volumeId: string;
    replicaId: string;
    /** The volume's name in the pool. */
    from: string;
    /** Of the cut. */
    version: Version;
  }): Promise<void> {
    return this.#exclusively(async () => {
      const { volumeId, replicaId, from, version } = wanted;
      const { pool, log } = this.#options;
      await this.#discard(volumeId, replicaId, from);
      const cut = `${from}@${ADOPTED}`;
      const request = { volume: from, name: ADOPTED, id: randomUUID() };
      const { epoch, op: opNumber } = version;
      await pool.createSnapshots([{ ...request, epoch, opNumber }], Date.now());
      const others = pool.snapshots(from).filter((snapshot) => snapshot.name !== cut);
      if (others.length > 0) {
        await pool.deleteSnapshot(cut);
        throw new ReplicaRefusal('Exists', `${from} has snapshots of its own`);
      }
      const volume = await this.#cloneAt(cut, version, storeName(volumeId, replicaId), 0);
      this.#replicas.set(
        keyOf(volumeId, replicaId),
        new HostedReplica(this.#options, volume, volumeId, replicaId),
      );
      log.info({ volumeId, replica: replicaId, from }, 'a replica was made of a volume of its own');
    });
  }

  /** Whether something is left of a try to make that replica of the volume, which is still there. */
  isAdopting(volumeId: string, replicaId: string, from: string): boolean {
    const { pool } = this.#options;
    if (pool.volume(from) === null) return false;
    const isMade = pool.volume(storeName(volumeId, replicaId)) !== null;
    return isMade || pool.snapshot(`${from}@${ADOPTED}`) !== null;
  }

  /** What keeps the volume from being adopted, beside what a try left: the names of its snapshots, without the volume's. */
  snapshotsOf(from: string): string[] {
    const all = this.#options.pool.snapshots(from).map(({ shortName }) => shortName);
    return all.filter((name) => name !== ADOPTED);
  }

  /**
   * What a try to make a replica of a volume left goes: the volume is what counts. Rejects with ReplicaRefusal where a
   * coordinator has had the replica, or where there is nothing but it; with StoreError. Done already is done.
   */
  discardAdopted(volumeId: string, replicaId: string, from: string): Promise<void> {
    return this.#exclusively(() => this.#discard(volumeId, replicaId, from));
  }

  async #discard(volumeId: string, replicaId: string, from: string): Promise<void> {
    const { pool } = this.#options;
    const name = storeName(volumeId, replicaId);
    const known = this.find(volumeId, replicaId);
    if (known !== null && known.promised > (known.base?.epoch ?? 0)) {
      throw new ReplicaRefusal('Exists', `replica ${replicaId} has been coordinated already`);
    }
    if (known === null && pool.volume(name) !== null) {
      throw new ReplicaRefusal('Faulted', `replica ${replicaId} is there and cannot be opened`);
    }
    // It would be the only one that has the data.
    if (pool.volume(from) === null) throw new ReplicaRefusal('NotFound', `there is no ${from}`);
    if (known !== null) {
      this.#replicas.delete(keyOf(volumeId, replicaId));
      known.end();
      await known.ended();
      try {
        await pool.deleteVolume(name, { withSnapshots: true });
      } catch (error) {
        // It is still there, and asked for again it must be found.
        const again = new HostedReplica(this.#options, known.volume, volumeId, replicaId);
        this.#replicas.set(keyOf(volumeId, replicaId), again);
        throw error;
      }
    }
    const cut = `${from}@${ADOPTED}`;
    if (pool.snapshot(cut) !== null) await pool.deleteSnapshot(cut);
  }

  /**
   * The volume that a replica was made of by `adopt` goes, and the blocks are the replica's. Done already is done. Rejects with
   * ReplicaRefusal where that volume was written to after its cut: the replica has not got that.
   */
  dropAdopted(volumeId: string, replicaId: string, from: string): Promise<void> {
    return this.#exclusively(async () => {
      const { pool, log } = this.#options;
      const replica = this.find(volumeId, replicaId);
      if (replica === null || pool.volume(from) === null) return;
      await this.#assertNewest(replica, from);
      await handOn(pool, from);
      await pool.deleteVolume(from, { withSnapshots: true });
      log.info(
        { volumeId, replica: replicaId, from },
        'the volume that a replica was made of is gone',
      );
      await this.#dropUnnamed(`${replica.volume.name}@${ADOPTED}`);
    });
  }

  /** Rejects as `dropAdopted` would; resolves where there is nothing to compare. */
  assertNewest(volumeId: string, replicaId: string, from: string): Promise<void> {
    return this.#exclusively(async () => {
      const replica = this.find(volumeId, replicaId);
      if (replica !== null) await this.#assertNewest(replica, from);
    });
  }

  /** By its versions (E1), and by its blocks: one that was opened and never written to begins its versions anew. */
  async #assertNewest({ replicaId, volume, base }: HostedReplica, from: string): Promise<void> {
    const { pool } = this.#options;
    const before = pool.volume(from)?.info();
    if (before === undefined) return;
    // Which of the two is the other's clone depends on how far an earlier `dropAdopted` came.
    const { origin } = volume.info();
    const cut = [
      [origin, from],
      [before.origin, volume.name],
    ].find(([of, whose]) => of?.startsWith(`${whose}@`) === true)?.[0];
    const isAbove = base === null || compare({ epoch: before.epoch, op: before.op }, base) > 0;
    if (!isAbove && cut != null && !(await this.#hasChangedSince(cut, from))) return;
    throw new ReplicaRefusal(
      'Exists',
      `${from} was written to after replica ${replicaId} was made of it: the replica is older`,
    );
  }

  async #hasChangedSince(cut: string, from: string): Promise<boolean> {
    const { pool } = this.#options;
    const { sizeBlocks } = pool.volume(from)!.info();
    for (let lba = 0; lba < sizeBlocks; ) {
      const { extents, nextLba } = await pool.changedBetween(cut, from, lba, 1);
      if (extents.length > 0) return true;
      lba = nextLba;
    }
    return false;
  }

  begin(record: VolumeRecord, replicaId: string): Promise<HostedReplica> {
    return this.#exclusively(async () => {
      const replica = this.find(record.volumeId, replicaId);
      if (replica === null) throw notHere(record.volumeId, replicaId);
      await replica.begin(record);
      return replica;
    });
  }

  /** E8: nobody below the promised epoch deletes anything. Done already is done. */
  delete(volumeId: string, replicaId: string, epoch: number): Promise<void> {
    return this.#exclusively(async () => {
      const replica = this.find(volumeId, replicaId);
      if (replica === null) return;
      if (replica.promised > epoch) {
        throw new ReplicaRefusal(
          'Fenced',
          `epoch ${replica.promised} is promised, which is above ${epoch}`,
        );
      }
      this.#replicas.delete(keyOf(volumeId, replicaId));
      replica.end();
      await replica.ended(); // A branch that is being made (B6) would come into being after the look at what is there.
      const { name } = replica.volume;
      let origin: string | null = null;
      try {
        await this.#freeOfClones(name);
        ({ origin } = replica.volume.info());
        await this.#options.pool.deleteVolume(name, { withSnapshots: true });
      } catch (error) {
        // It is still there, and asked for again it must be found.
        const again = new HostedReplica(this.#options, replica.volume, volumeId, replicaId);
        this.#replicas.set(keyOf(volumeId, replicaId), again);
        throw error;
      }
      if (origin !== null) await this.#dropUnnamed(origin);
      this.#options.log.info({ volumeId, replica: replicaId, epoch }, 'a replica was deleted');
    });
  }

  /**
   * S14: what others were made from outlives it: the clone of its newest cloned snapshot gets that one and those before it,
   * and this replica becomes a clone of that. It is about to be deleted.
   */
  async #freeOfClones(volumeName: string): Promise<void> {
    const { pool } = this.#options;
    const branches = pool.volumes().filter(({ name }) => name.startsWith(branchesOf(volumeName)));
    for (const { name } of branches) await this.#deleteBranch(name);
    await handOn(pool, volumeName);
  }

  async #deleteBranch(name: string): Promise<void> {
    const { pool } = this.#options;
    await handOn(pool, name);
    await pool.deleteVolume(name, { withSnapshots: true });
  }

  /** Branches whose replica is gone: the deletion of it ended in between, or another process's did. */
  async #dropOrphans(): Promise<void> {
    const { pool, log } = this.#options;
    const isOrphan = (name: string): boolean => {
      const [, volumeId = '', replicaId = ''] = name.split('/');
      return name.startsWith(BRANCH_PREFIX) && pool.volume(storeName(volumeId, replicaId)) === null;
    };
    for (const { name } of pool.volumes().filter((volume) => isOrphan(volume.name))) {
      try {
        const origin = pool.volume(name)?.info().origin ?? null;
        await this.#deleteBranch(name);
        if (origin !== null) await this.#dropUnnamed(origin);
        log.info({ branch: name }, 'a branch of a replica that is gone was deleted');
      } catch (error) {
        log.warn({ branch: name, err: error }, 'a branch of a replica that is gone stays');
      }
    }
  }

  /**
   * P3: of the snapshots up to this one, `VOLUME@ID` in the pool, those that no record names and no clone needs any more. One
   * that is being taken, and that a record will name, is newer: this one has had clones.
   */
  async #dropUnnamed(last: string): Promise<void> {
    const { pool, log } = this.#options;
    const [volumeName = ''] = last.split('@');
    const owner = [...this.#replicas.values()].find(({ volume }) => volume.name === volumeName);
    if (owner?.record == null) return; // It drops them with its first record.
    const named = new Set(owner.record.snapshots.map(({ id }) => owner.snapshotName(id)));
    const all = pool.snapshots(volumeName);
    const upTo = all.slice(0, all.findIndex(({ name }) => name === last) + 1);
    for (const snapshot of upTo.reverse()) {
      if (named.has(snapshot.name) || snapshot.snapshotInfo().clones.length > 0) continue;
      await pool.deleteSnapshot(snapshot.name).catch((error: unknown) => {
        log.warn({ snapshot: snapshot.name, err: error }, 'a snapshot was left behind');
      });
    }
  }

  /** Sessions end; the pool is the caller's to close. */
  close(): void {
    for (const replica of this.#replicas.values()) replica.end();
    this.#replicas.clear();
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#tail.then(work);
    this.#tail = run.catch(() => {});
    return run;
  }
}

/** The snapshot that a replica is adopted from. No object can be called so, and none of a user's snapshots is. */
const ADOPTED = '_adopted';

/** They become parts of a name. */
const ID = /^[A-Za-z0-9][-A-Za-z0-9.]{0,99}$/;

function keyOf(volumeId: string, replicaId: string): string {
  return `${volumeId}/${replicaId}`;
}

/** In the pool. */
function storeName(volumeId: string, replicaId: string): string {
  return `${REPLICA_PREFIX}${keyOf(volumeId, replicaId)}`;
}

export function notHere(volumeId: string, replicaId: string): ReplicaRefusal {
  return new ReplicaRefusal(
    'NotFound',
    `replica ${replicaId} of volume ${volumeId} is not on this node`,
  );
}

function putBlob(volume: StoreVolume, key: string, value: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    volume.putBlob(key, value, (status) => {
      if (status === 0) resolve();
      else reject(new StoreError('STORE_IO', `keeping ${key} failed (${status})`));
    });
  });
}

function baseOf(volume: StoreVolume): Version | null {
  const kept = volume.getBlob(BASE_KEY);
  if (kept === null || kept.length !== BASE_BYTES) return null;
  const b = Buffer.from(kept);
  return { epoch: b.readUInt32LE(0), op: Number(b.readBigUInt64LE(4)) };
}
