// The coordinator in production: the core, its links to the replicas, its clock. What hosts do comes in by `submit`, what
// the volume must hear goes out by the listener, everything rare is a promise.
import { randomUUID } from 'node:crypto';
import {
  assert,
  type Clock,
  crc32cEach,
  type Log,
  type Random,
  type Timer,
  type Turn,
} from '../base/index.ts';
import type { BlockOp } from '../block/index.ts';
import { Coordinator } from '../volume/coordinator/coordinator.ts';
import {
  AlarmKind,
  type ControlDone,
  type CoordinatorConfig,
  type CoordinatorHost,
  CoordinatorPhase,
  type CoordinatorPolicy,
  type CoordinatorStatus,
  type CoordinatorTransport,
  type MapListed,
  type Question,
} from '../volume/coordinator/interfaces.ts';
import {
  CoreGate,
  PayloadPool,
  type PeerNodes,
  payloadByteOffset,
  payloadBytes,
  WIRE_BLOCK_BYTES,
  WireStatus,
} from '../wire/index.ts';
import type {
  Changed,
  CoordinatorMessage,
  CopyData,
  MemberMessage,
  Payload,
} from '../wire/messages.ts';
import type { SnapshotEntry, VolumeRecord } from '../wire/record.ts';
import { type NodeAddress, PeerLink, type PeerLinkOwner } from './peer-link.ts';

/** What the volume, its target and the log are told. From inside the core: nothing may be submitted in return. */
export interface CoordinatorListener {
  onPhase(phase: CoordinatorPhase): void;
  /** After `onHoldExpired`: operations are served again. */
  onServing(): void;
  /** C10: close the sessions, refuse logins until `onServing`. */
  onHoldExpired(): void;
  /** E5: close the sessions, for good. */
  onDeposed(byEpoch: number): void;
  /** C8. */
  onLossDeclared(): void;
  onRecord(record: VolumeRecord): void;
  onAlarm(kind: AlarmKind, replicaId: string, lba: number, text: string): void;
}

export interface CoordinatorShellOptions {
  readonly volumeId: string;
  readonly name: string;
  readonly config: CoordinatorConfig;
  readonly nodes: PeerNodes;
  readonly clock: Clock;
  readonly turn: Turn;
  readonly random: Random;
  readonly log: Log;
  readonly openTimeoutMs: number;
  /** Where a replica is; null while nobody knows. Asked again by `relocate`. */
  readonly addressOf: (replicaId: string) => NodeAddress | null;
  readonly listener: CoordinatorListener;
}

export class CoordinatorShell implements CoordinatorTransport, CoordinatorHost, PeerLinkOwner {
  readonly #options: CoordinatorShellOptions;
  readonly #core: Coordinator;
  readonly #gate: CoreGate;
  readonly #links: (PeerLink | undefined)[] = [];
  readonly #peers = new Map<string, number>();
  readonly #payloads = new PayloadPool(null);
  #timer: Timer | null = null;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #stopped = false;
  #losses = 0;

  constructor(options: CoordinatorShellOptions) {
    this.#options = options;
    this.#gate = new CoreGate(options.clock);
    this.#core = new Coordinator({
      volumeId: options.volumeId,
      coordinatorId: randomUUID(),
      config: options.config,
      transport: this,
      host: this,
      random: {
        below: (bound) => {
          const b = Buffer.alloc(4);
          options.random.fill(b);
          return b.readUInt32LE() % bound;
        },
      },
    });
    this.#gate.onLeave = () => this.#wake();
  }

  get record(): VolumeRecord | null {
    return this.#core.record;
  }

  get phase(): CoordinatorPhase {
    return this.#core.phase;
  }

  get epoch(): number {
    return this.#core.epoch;
  }

  /** How often acknowledged writes that were not flushed were declared lost (C8). */
  get losses(): number {
    return this.#losses;
  }

  /** While it stays the same, nothing about the volume changes. Null: it may. */
  get quietSpell(): number | null {
    return this.#core.quietSpell;
  }

  /** Begins to gather promises from these replicas; those that the record names besides are found by `addressOf`. */
  start(replicaIds: readonly string[]): void {
    this.#inTurn(() => {
      for (const replicaId of replicaIds) this.addReplica(replicaId);
      this.#gate.post((nowMs) => this.#core.start(nowMs));
    });
  }

  addReplica(replicaId: string): void {
    this.#gate.post((nowMs) => {
      const peer = this.#core.addPeer(nowMs, replicaId);
      this.onPeerNeeded(replicaId, peer);
    });
  }

  removeReplica(replicaId: string): void {
    const peer = this.#peers.get(replicaId);
    if (peer === undefined) return;
    this.#inTurn(() => {
      this.#peers.delete(replicaId);
      this.#links[peer]?.close();
      this.#links[peer] = undefined;
      this.#gate.post((nowMs) => this.#core.removePeer(nowMs, replicaId));
    });
  }

  configure(policy: CoordinatorPolicy): void {
    this.#inTurn(() => this.#gate.post((nowMs) => this.#core.configure(nowMs, policy)));
  }

  /** Asks `addressOf` again for every replica. */
  relocate(): void {
    this.#inTurn(() => {
      for (const [replicaId, peer] of this.#peers) {
        this.#links[peer]?.moveTo(this.#options.addressOf(replicaId));
      }
    });
  }

  /** Lets operations end, releases the lease, closes the links. Idempotent; resolves in any case. */
  stop(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stopped) {
        resolve();
        return;
      }
      this.#stopped = true;
      this.#inTurn(() => {
        this.#gate.post((nowMs) =>
          this.#core.stop(nowMs, () => {
            // From inside the core: the links are closed when it has returned.
            this.#gate.post(() => {
              for (const link of this.#links) link?.close();
              this.#timer?.cancel();
              resolve();
            });
          }),
        );
      });
    });
  }

  /** Hot. The end is told to `op.lower`. */
  submit(op: BlockOp): void {
    const gate = this.#gate;
    if (gate.enter()) {
      this.#core.submit(gate.nowMs, op);
      gate.leave();
    } else {
      // From inside: an operation has ended, and its owner begins the next.
      this.#core.submit(gate.nowMs, op);
    }
  }

  status(): CoordinatorStatus {
    return this.#core.status(this.#options.clock.nowMs());
  }

  /** Why there is no session with a replica; empty when there is one, and it has told what it holds. */
  linkReason(replicaId: string): string {
    const peer = this.#peers.get(replicaId);
    if (peer === undefined) return 'not a peer';
    const reason = this.#links[peer]?.reason ?? '';
    if (reason !== '' || this.#core.hasGreeted(peer)) return reason;
    return 'its session has just begun';
  }

  /** Its node answers, and has no such replica: its disk is gone, or another one. */
  isMissing(replicaId: string): boolean {
    const peer = this.#peers.get(replicaId);
    return peer !== undefined && this.#links[peer]?.status === WireStatus.NotFound;
  }

  /** Its node answers, and its pool is faulted: it stays away until somebody mends that. */
  isFaulted(replicaId: string): boolean {
    const peer = this.#peers.get(replicaId);
    return peer !== undefined && this.#links[peer]?.status === WireStatus.IoError;
  }

  changeMember(
    leaver: string | null,
    newcomer: { readonly replicaId: string; readonly witness: boolean } | null,
  ): Promise<void> {
    return this.#control((nowMs, done) => this.#core.changeMember(nowMs, leaver, newcomer, done));
  }

  takeSnapshot(snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>): Promise<void> {
    return this.#control((nowMs, done) => this.#core.takeSnapshot(nowMs, snapshot, done));
  }

  /** P5: the cut is made when it returns. Null: not now. Rejects when it had to be given up. */
  takeSnapshotNow(
    snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>,
  ): Promise<void> | null {
    if (!this.#gate.enter()) return null;
    let isCut = false;
    const taken = new Promise<void>((resolve, reject) => {
      this.#inTurn(() => {
        isCut = this.#core.takeSnapshotNow(this.#gate.nowMs, snapshot, (error) => {
          if (error === null) resolve();
          else reject(new Error(error));
        });
        this.#gate.leave();
      });
    });
    return isCut ? taken : null;
  }

  deleteSnapshot(id: string): Promise<void> {
    return this.#control((nowMs, done) => this.#core.deleteSnapshot(nowMs, id, done));
  }

  /**
   * Asks one of the snapshot's holders; `use` is given the answer, which is lent for the call: null where nobody can give
   * one now.
   */
  ask<T>(
    snapshotId: string,
    question: Question,
    use: (answer: Changed | CopyData | null) => T,
  ): Promise<T> {
    return new Promise((resolve) => {
      this.#inTurn(() => {
        this.#gate.post((nowMs) =>
          this.#core.ask(nowMs, snapshotId, question, (answer) => resolve(use(answer))),
        );
      });
    });
  }

  resize(sizeBlocks: number): Promise<void> {
    return this.#control((nowMs, done) => this.#core.resize(nowMs, sizeBlocks, done));
  }

  putBlob(key: string, value: Uint8Array | null): Promise<void> {
    return this.#control((nowMs, done) => this.#core.putBlob(nowMs, key, value, done));
  }

  getBlob(key: string): Uint8Array | null {
    return this.#core.getBlob(key);
  }

  /** What holds something from `lba` on. `done` comes from inside the core. */
  listMapped(lba: number, maxRuns: number, done: MapListed): void {
    this.#inTurn(() =>
      this.#gate.post((nowMs) => this.#core.listMapped(nowMs, lba, maxRuns, done)),
    );
  }

  /** Takes back an operation that no member has seen: true. Nothing follows from it, so it may come at any time. */
  withdraw(op: BlockOp): boolean {
    return this.#core.withdraw(op);
  }

  /** Whether it is the active coordinator (E5). `done` comes from inside the core. */
  confirm(done: (serves: boolean) => void): void {
    this.#inTurn(() => this.#gate.post((nowMs) => this.#core.confirm(nowMs, done)));
  }

  crossScrub(lba: number, blocks: number): Promise<void> {
    return this.#control((nowMs, done) => this.#core.crossScrub(nowMs, lba, blocks, done));
  }

  /** C1: see docs/operations.md, "Quorum is lost for good". */
  force(): Promise<void> {
    return this.#control((nowMs, done) => this.#core.force(nowMs, done));
  }

  // CoordinatorTransport.

  send(peer: number, message: CoordinatorMessage): void {
    this.#links[peer]?.send(message);
  }

  disconnect(peer: number): void {
    this.#links[peer]?.restart();
  }

  // CoordinatorHost.

  fill(op: BlockOp, data: Payload): void {
    assert(op.data !== null);
    const bytes = payloadBytes(data);
    const start = payloadByteOffset(data);
    if (bytes === op.data.bytes && start === op.dataByteOffset) return; // Came straight to its place.
    const end = start + op.blocks * WIRE_BLOCK_BYTES;
    op.data.bytes.set(bytes.subarray(start, end), op.dataByteOffset);
  }

  checksum(op: BlockOp, into: Uint32Array): void {
    assert(op.data !== null);
    crc32cEach(op.data.bytes, op.dataByteOffset, WIRE_BLOCK_BYTES, op.blocks, into);
  }

  onPhase(phase: CoordinatorPhase, epoch: number): void {
    const words = Object.entries(CoordinatorPhase).find(([, value]) => value === phase)?.[0];
    this.#options.log.info({ phase: words, epoch }, 'the coordinator goes on');
    this.#options.listener.onPhase(phase);
  }

  onRecord(record: VolumeRecord): void {
    const members = record.members.map(({ replicaId, state }) => `${replicaId}:${state}`);
    this.#options.log.info({ epoch: record.epoch, n: record.n, members }, 'a record is committed');
    this.#options.listener.onRecord(record);
  }

  onHoldExpired(): void {
    this.#options.log.warn(
      {},
      'commands were held too long: sessions are closed until there is a quorum',
    );
    this.#options.listener.onHoldExpired();
  }

  onServing(): void {
    this.#options.log.info({ epoch: this.#core.epoch }, 'the volume is served');
    this.#options.listener.onServing();
  }

  onDeposed(byEpoch: number): void {
    this.#options.log.error({ byEpoch }, 'another coordinator has the volume; this one stops');
    this.#options.listener.onDeposed(byEpoch);
  }

  onLossDeclared(): void {
    this.#losses += 1;
    this.#options.log.error(
      {},
      'acknowledged writes that were never flushed may be lost; hosts are told',
    );
    this.#options.listener.onLossDeclared();
  }

  onPeerNeeded(replicaId: string, peer: number): void {
    if (this.#links[peer] !== undefined) return;
    const { volumeId, nodes, clock, turn, openTimeoutMs, addressOf } = this.#options;
    const link = new PeerLink({
      peer,
      volumeId,
      replicaId,
      nodes,
      payloads: this.#payloads,
      clock,
      turn,
      openTimeoutMs,
      owner: this,
    });
    this.#links[peer] = link;
    this.#peers.set(replicaId, peer);
    link.moveTo(addressOf(replicaId));
  }

  onAlarm(kind: AlarmKind, replicaId: string, lba: number, text: string): void {
    const words = Object.entries(AlarmKind).find(([, value]) => value === kind)?.[0];
    this.#options.log.error({ alarm: words, replica: replicaId, lba }, text);
    this.#options.listener.onAlarm(kind, replicaId, lba, text);
  }

  // PeerLinkOwner.

  onLinkUp(peer: number): void {
    this.#gate.post((nowMs) => this.#core.onConnected(nowMs, peer));
  }

  onLinkDown(peer: number, reason: string): void {
    if (reason !== '') {
      const replica = this.#links[peer]?.replicaId;
      this.#options.log.warn({ replica, reason }, 'the session with a replica has ended');
    }
    this.#gate.post((nowMs) => this.#core.onDisconnected(nowMs, peer));
  }

  onLinkRefused(peer: number, reason: string): void {
    const replica = this.#links[peer]?.replicaId;
    this.#options.log.warn({ replica, reason }, 'a replica cannot be reached');
  }

  onLinkMessage(peer: number, message: MemberMessage): void {
    const gate = this.#gate;
    assert(gate.enter(), 'a message from inside the core');
    this.#core.onMessage(gate.nowMs, peer, message);
    gate.leave();
  }

  readTarget(peer: number, id: number): BlockOp | null {
    return this.#core.readTarget(peer, id);
  }

  // The rest.

  #control(start: (nowMs: number, done: ControlDone) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#inTurn(() => {
        this.#gate.post((nowMs) =>
          start(nowMs, (error) => {
            if (error === null) resolve();
            else reject(new CoordinatorRefusal(error));
          }),
        );
      });
    });
  }

  #wake(): void {
    const atMs = this.#core.wakeAtMs;
    // A timer that fires early looks again; only one that would be late is replaced.
    if (atMs >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    const { clock } = this.#options;
    this.#timer = clock.schedule(Math.max(0, atMs - clock.nowMs()), () => {
      this.#timer = null;
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      this.#inTurn(() =>
        this.#gate.post((nowMs) => {
          if (nowMs >= this.#core.wakeAtMs) this.#core.tick(nowMs);
        }),
      );
    });
  }

  #inTurn(work: () => void): void {
    const { turn } = this.#options;
    turn.enter();
    work();
    turn.leave();
  }
}

/** Why a change of the volume was not made, in words. */
export class CoordinatorRefusal extends Error {
  override readonly name = 'CoordinatorRefusal';
}
