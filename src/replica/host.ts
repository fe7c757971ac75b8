// The replicas of one pool: makes them, opens them at start, drives a member core for each, and ends them. Their volumes
// in the pool are named `replica/VOLUME/REPLICA`, which no volume of a user can be.
import { randomUUID } from 'node:crypto';
import type { Clock, Log, Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import { type Pool, StoreError, type StoreVolume } from '../store/index.ts';
import { CoreGate, type ReplicaIdentity, type ReplicaListEntry } from '../wire/index.ts';
import type { CoordinatorMessage, MemberMessage } from '../wire/messages.ts';
import { findMember, recordNames, type VolumeRecord } from '../wire/record.ts';
import { ZERO_VERSION } from '../wire/version.ts';
import { EngineStore, WITNESS_KEY } from './engine-store.ts';
import { Member } from './member.ts';
import type { MemberTransport } from './member-interfaces.ts';

export const REPLICA_PREFIX = 'replica/';

/** Is this volume of a pool a replica's, and none of the volume controller's? */
export function isReplicaVolume(name: string): boolean {
  return name.startsWith(REPLICA_PREFIX);
}

export interface ReplicaHostOptions {
  readonly pool: Pool;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly log: Log;
  readonly leaseMs: number;
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
  readonly #options: ReplicaHostOptions;
  readonly #links = new Map<number, SessionLink>();
  #nextSession = 1;
  #gate!: CoreGate;
  #store!: EngineStore;
  #member!: Member;

  constructor(
    options: ReplicaHostOptions,
    volume: StoreVolume,
    volumeId: string,
    replicaId: string,
  ) {
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
    return { identity, blank: this.record === null, promised: this.promised };
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
    if (record.epoch !== 0 || record.n !== 1 || record.volumeId !== this.volumeId) {
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

  #open(): void {
    const { pool, buffers, turn, clock, leaseMs } = this.#options;
    this.#gate = new CoreGate(clock);
    this.#store = new EngineStore({ pool, volume: this.volume, buffers, turn, gate: this.#gate });
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
  readonly #options: ReplicaHostOptions;
  readonly #replicas = new Map<string, HostedReplica>();
  /** Changes to the set happen one after the other. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: ReplicaHostOptions) {
    this.#options = options;
  }

  /** Opens the replicas that the pool holds. One that cannot be opened is named in the log, and serves nothing. */
  start(): void {
    const { pool, log } = this.#options;
    for (const volume of pool.volumes()) {
      if (!isReplicaVolume(volume.name)) continue;
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
  }

  find(volumeId: string, replicaId: string): HostedReplica | null {
    return this.#replicas.get(keyOf(volumeId, replicaId)) ?? null;
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

  /** A blank replica, or the one that is there. Rejects with ReplicaRefusal. */
  create(wanted: {
    volumeId: string;
    replicaId: string;
    sizeBlocks: number;
    witness: boolean;
  }): Promise<HostedReplica> {
    return this.#exclusively(async () => {
      const { volumeId, replicaId, sizeBlocks, witness } = wanted;
      if (!ID.test(volumeId) || !ID.test(replicaId)) {
        throw new ReplicaRefusal('Invalid', 'volume and replica ids are letters, digits, - and .');
      }
      const known = this.find(volumeId, replicaId);
      if (known !== null) return known;
      const { pool } = this.#options;
      const name = `${REPLICA_PREFIX}${volumeId}/${replicaId}`;
      if (pool.volume(name) !== null) {
        throw new ReplicaRefusal('Faulted', `replica ${replicaId} is there and cannot be opened`);
      }
      let volume: StoreVolume;
      try {
        volume = await pool.createVolume({
          id: randomUUID(),
          name,
          sizeBlocks: Math.max(1, sizeBlocks),
          holeFloor: ZERO_VERSION,
        });
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
      await this.#options.pool.deleteVolume(replica.volume.name, { withSnapshots: true });
      this.#options.log.info({ volumeId, replica: replicaId, epoch }, 'a replica was deleted');
    });
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

/** They become parts of a name. */
const ID = /^[A-Za-z0-9][-A-Za-z0-9.]{0,99}$/;

function keyOf(volumeId: string, replicaId: string): string {
  return `${volumeId}/${replicaId}`;
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
