// The coordinator of a volume (consistency.md §2-§8, its half): gains an epoch, settles what its predecessors left, then
// issues ops to the members and answers hosts by the rules. A state machine without I/O (T1): see interfaces.ts.
//
//   Idle -> Collecting -> Reconciling -> Activating -> Active
//             ^  V1         V4             V5             |
//             +-------------------------------------------+   V8: the same coordinator again, its sessions kept
//
// What must hold:
// - Nothing is acknowledged but under a committed record, with none proposed and none due (R3, W4): `#ackable`.
// - Everything about who is worth what is decided by records alone; this object only remembers what the record in force
//   says (`#inSync`, `#joining`) and whom the next one must drop (`#leaving`).
// - An operation of a host is in exactly one place: held, parked (reads), in the ring, in a read slot, or a flush.
import { assert, assertNever } from '../../base/index.ts';
import { type BlockOp, BlockOpKind, IoStatus } from '../../block/index.ts';
import {
  type Apply,
  BlockKind,
  type Changed,
  ChangeKind,
  type CopyData,
  type DigestDone,
  type Flushed,
  type HelloReply,
  type Installed,
  InstallMode,
  type MemberMessage,
  MessageType,
  type Read,
  type ReadDone,
  type RecordStored,
  RefusalReason,
  type Refused,
  type SnapshotTaken,
} from '../../wire/messages.ts';
import {
  compare,
  findMember,
  MemberState,
  majorityOf,
  type SnapshotEntry,
  type VolumeRecord,
} from '../../wire/record.ts';
import { ALL_RULES, type Rules } from '../../wire/rules.ts';
import { MAX_OP_NUMBER, minVersion, type Version, ZERO_VERSION } from '../../wire/version.ts';
import { type Adoption, adopt, type Promiser } from './adoption.ts';
import { BlockSync, type CopyDecision, type Segment } from './block-sync.ts';
import {
  AlarmKind,
  type AskDone,
  type ControlDone,
  type CoordinatorConfig,
  type CoordinatorEvents,
  type CoordinatorHost,
  CoordinatorPhase,
  type CoordinatorPolicy,
  type CoordinatorRandom,
  type CoordinatorStatus,
  type CoordinatorTransport,
  type MapListed,
  type MemberStatus,
  type Question,
  ReadPolicy,
  SyncPolicy,
} from './interfaces.ts';
import {
  BACKOFF_MS,
  LEAST_JOIN_PAUSE_MS,
  LOSS_WAIT_FACTOR,
  MAX_DIGEST_BLOCKS,
  MAX_PEERS,
  MOST_JOIN_PAUSE_MS,
  POLL_MS,
} from './limits.ts';
import { OpRing, type RingEntry } from './op-ring.ts';
import { bitCount, Peer } from './peer.ts';
import { type ReadSlot, ReadTable } from './reads.ts';
import {
  activationRecord,
  detached,
  joined,
  memberChanged,
  nextRecord,
  promoted,
} from './record-change.ts';

export interface CoordinatorOptions {
  readonly volumeId: string;
  readonly coordinatorId: string;
  readonly config: CoordinatorConfig;
  readonly transport: CoordinatorTransport;
  readonly host: CoordinatorHost;
  readonly random: CoordinatorRandom;
  readonly rules?: Rules;
}

interface Proposal {
  readonly record: VolumeRecord;
  readonly counted: number;
  readonly sentMs: number;
  acks: number;
  /** R2: those that it does not count have been sent it. */
  sentRest: boolean;
  readonly onCommit: (() => void) | null;
}

interface Held {
  readonly op: BlockOp;
}

interface PendingFlush {
  readonly op: BlockOp;
  id: number;
  acks: number;
  sentMs: number;
}

interface Rebuild {
  readonly peer: Peer;
  readonly join: Version;
  readonly since: Version;
  sync: BlockSync | null;
  source: number;
  copied: boolean;
}

/** A change of the record that somebody asked for. One after another. */
interface Control {
  readonly kind: 'member' | 'snapshot' | 'edit';
  readonly leaver?: string | null;
  readonly newcomer?: { readonly replicaId: string; readonly witness: boolean } | null;
  readonly snapshot?: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>;
  readonly edit?: (record: VolumeRecord) => Partial<VolumeRecord> | string;
  readonly done: ControlDone;
}

interface RunningSnapshot {
  readonly control: Control;
  readonly op: number;
  readonly sentTo: number;
  readonly recordN: number;
  acks: number;
}

interface Repair {
  readonly bad: number;
  readonly lba: number;
  readonly sources: number[];
  /** A read that waits for it, or null. */
  readonly read: BlockOp | null;
  /** The peer whose answer it waits for. */
  asked: number;
}

interface MapQuery {
  readonly peer: number;
  readonly done: MapListed;
}

interface Scrub {
  readonly lba: number;
  readonly blocks: number;
  readonly sentTo: number;
  readonly digests: Map<number, string>;
  acks: number;
  readonly done: ControlDone;
}

export class Coordinator implements CoordinatorEvents {
  readonly #options: CoordinatorOptions;
  #config: CoordinatorConfig;
  readonly #transport: CoordinatorTransport;
  readonly #host: CoordinatorHost;
  readonly #rules: Rules;

  phase: CoordinatorPhase = CoordinatorPhase.Idle;
  epoch = 0;
  record: VolumeRecord | null = null;
  wakeAtMs = Number.POSITIVE_INFINITY;

  readonly #peers: (Peer | undefined)[] = [];
  readonly #byReplica = new Map<string, Peer>();

  // Collecting.
  #chosen = false;
  #chooseAtMs = 0;
  #highestSeen = 0;
  #satisfiedMs = -1;
  #backoffs = 0;
  #force: ControlDone | null = null;
  #waitingFor = 'not started';
  #adoption: Adoption | null = null;
  #reconcile: BlockSync | null = null;
  #progressMs = 0;
  /** V8: the last epoch in which this coordinator was active, hosts may wait for answers of that time; 0: none. */
  #servedEpoch = 0;

  // The record in force, as masks of peers.
  #inSync = 0;
  #joining = 0;
  #voters = 0;
  #hasWitness = false;
  /** How many acks an op needs; Infinity while too few members count. */
  #need = Number.POSITIVE_INFINITY;
  /** Counted members that the next record must drop (W4). */
  #leaving = 0;
  #proposal: Proposal | null = null;

  // Active.
  readonly #ring = new OpRing();
  readonly #reads = new ReadTable();
  #held: Held[] = [];
  #parked: BlockOp[] = [];
  #flushes: PendingFlush[] = [];
  /** The time of the event under way. */
  #nowMs = 0;
  #nextHeartbeatMs = 0;
  #leaseUntilMs = Number.NEGATIVE_INFINITY;
  #nextId = 1;
  #readTurn = 0;
  #rebuilds = new Map<number, Rebuild>();
  #rebuildTokens = 0;
  #rebuildTokensMs = 0;
  readonly #repairs = new Map<number, Repair>();
  readonly #scrubs = new Map<number, Scrub>();
  readonly #mapQueries = new Map<number, MapQuery>();
  /** Questions to one member each, by id. */
  readonly #asked = new Map<number, { readonly peer: Peer; readonly done: AskDone }>();
  #controls: Control[] = [];
  #snapshot: RunningSnapshot | null = null;
  #stalledSinceMs = -1;
  #expired = false;
  #pumping = false;
  #stopping: (() => void) | null = null;

  // One of each message that is sent for every I/O, filled anew each time.
  readonly #apply: Apply = {
    type: MessageType.Apply,
    epoch: 0,
    op: 0,
    kind: ChangeKind.Write,
    lba: 0,
    blocks: 0,
    fua: false,
    allAppliedOp: 0,
    crcs: null,
    data: null,
    dataByteOffset: 0,
  };
  readonly #read: Read = {
    type: MessageType.Read,
    epoch: 0,
    id: 0,
    lba: 0,
    blocks: 0,
    verifyOnly: false,
  };

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#transport = options.transport;
    this.#host = options.host;
    this.#rules = options.rules ?? ALL_RULES;
  }

  /** From now on, for what is under way too: what now has acks enough is answered, who is now late is detached. */
  configure(nowMs: number, policy: CoordinatorPolicy): void {
    this.#nowMs = nowMs;
    this.#config = { ...this.#config, ...policy };
    if (this.phase === CoordinatorPhase.Idle) return;
    if (this.phase === CoordinatorPhase.Active) {
      this.#need = this.#needFor(this.record!, bitCount(this.#inSync | this.#joining));
      this.#recheckAll(nowMs);
    }
    this.#wake(nowMs, 0);
  }

  // ---------------------------------------------------------------------------------------------------------- peers

  addPeer(_nowMs: number, replicaId: string): number {
    const known = this.#byReplica.get(replicaId);
    if (known !== undefined) return known.index;
    let index = 0;
    while (this.#peers[index] !== undefined) index += 1;
    assert(index < MAX_PEERS, 'more replicas than a mask has bits');
    const peer = new Peer(index, replicaId);
    this.#peers[index] = peer;
    this.#byReplica.set(replicaId, peer);
    return index;
  }

  removePeer(nowMs: number, replicaId: string): void {
    const peer = this.#byReplica.get(replicaId);
    if (peer === undefined) return;
    if (peer.connected) {
      this.#transport.disconnect(peer.index);
      this.onDisconnected(nowMs, peer.index);
    }
    if (this.record !== null && this.#isNamed(this.record, replicaId)) return;
    this.#byReplica.delete(replicaId);
    this.#peers[peer.index] = undefined;
  }

  start(nowMs: number): void {
    this.#nowMs = nowMs;
    assert(this.phase === CoordinatorPhase.Idle);
    this.#stopping = null;
    this.#stalledSinceMs = nowMs;
    this.#collect(nowMs, 0);
  }

  stop(nowMs: number, done: () => void): void {
    this.#nowMs = nowMs;
    this.#stopping = done;
    for (const { op } of this.#held.splice(0)) this.#answer(op, IoStatus.Offline);
    this.#checkStopped(nowMs);
  }

  onConnected(nowMs: number, index: number): void {
    this.#nowMs = nowMs;
    const peer = this.#peers[index];
    if (peer === undefined) return;
    peer.beginSession(nowMs);
    this.#transport.send(index, {
      type: MessageType.Hello,
      volumeId: this.#options.volumeId,
      replicaId: peer.replicaId,
      coordinatorId: this.#options.coordinatorId,
    });
  }

  onDisconnected(nowMs: number, index: number): void {
    this.#nowMs = nowMs;
    const peer = this.#peers[index];
    if (peer === undefined || !peer.connected) return;
    peer.endSession();
    switch (this.phase) {
      case CoordinatorPhase.Reconciling:
      case CoordinatorPhase.Activating: {
        // V4, V5: what the activation stands on is gone.
        const used = this.#adoption!.trusted.some(({ replicaId }) => replicaId === peer.replicaId);
        if (used) this.#collect(nowMs, 0);
        return;
      }
      case CoordinatorPhase.Active:
        this.#lost(nowMs, peer, 'its connection ended');
        return;
      default:
        return;
    }
  }

  // ------------------------------------------------------------------------------------------------------- messages

  onMessage(nowMs: number, index: number, message: MemberMessage): void {
    this.#nowMs = nowMs;
    const peer = this.#peers[index];
    if (peer === undefined || !peer.connected) return;
    peer.lastHeardMs = nowMs;
    if (message.type === MessageType.HelloReply) {
      this.#onHelloReply(nowMs, peer, message);
      return;
    }
    if (message.type === MessageType.Refused) {
      this.#onRefused(nowMs, peer, message);
      return;
    }
    if (message.epoch !== this.epoch || this.phase === CoordinatorPhase.Idle) return;
    switch (message.type) {
      case MessageType.PromiseMade:
        if (this.phase !== CoordinatorPhase.Collecting || !this.#chosen) return;
        peer.promise = message;
        peer.prepareAtMs = Number.POSITIVE_INFINITY;
        peer.credit = message.credit;
        this.#tryAdopt(nowMs);
        return;
      case MessageType.RecordStored:
        this.#onRecordStored(nowMs, peer, message);
        return;
      case MessageType.HeartbeatReply:
        peer.credit = message.credit;
        this.#onHeartbeatReply(nowMs, peer, message.sentMs);
        return;
      case MessageType.Applied:
        if (this.phase !== CoordinatorPhase.Active) return;
        peer.credit = message.credit;
        this.#onApplied(nowMs, peer, message.op, message.status);
        return;
      case MessageType.SnapshotTaken:
        this.#onSnapshotTaken(nowMs, peer, message);
        return;
      case MessageType.Flushed:
        this.#onFlushed(nowMs, peer, message);
        return;
      case MessageType.ReadDone:
        this.#onReadDone(nowMs, peer, message);
        return;
      case MessageType.Changed:
        if (this.#onMapListed(message)) return;
        this.#progressMs = nowMs;
        if (this.#onAnswer(message)) return;
        if (this.#reconcile?.onChanged(index, message)) return;
        for (const rebuild of this.#rebuilds.values()) {
          if (!rebuild.sync?.onChanged(index, message)) continue;
          if (rebuild.copied) this.#advance(nowMs);
          return;
        }
        return;
      case MessageType.CopyData:
        this.#progressMs = nowMs;
        if (this.#onAnswer(message)) return;
        if (this.#onRepairData(nowMs, peer, message)) return;
        if (this.#reconcile?.onCopyData(index, message)) return;
        for (const rebuild of this.#rebuilds.values()) {
          if (!rebuild.sync?.onCopyData(index, message)) continue;
          if (rebuild.copied) this.#advance(nowMs);
          return;
        }
        return;
      case MessageType.Installed:
        this.#progressMs = nowMs;
        if (this.#onRepaired(nowMs, message)) return;
        if (this.#reconcile?.onInstalled(index, message)) return;
        for (const rebuild of this.#rebuilds.values()) {
          if (!rebuild.sync?.onInstalled(index, message)) continue;
          if (rebuild.copied) this.#advance(nowMs);
          return;
        }
        return;
      case MessageType.DigestDone:
        this.#onDigest(nowMs, peer, message);
        return;
      default:
        assertNever(message);
    }
  }

  #onHelloReply(nowMs: number, peer: Peer, message: HelloReply): void {
    peer.hello = message;
    peer.issuedBlocks = 0;
    peer.credit = message.credit;
    this.#highestSeen = Math.max(this.#highestSeen, message.promised, message.record?.epoch ?? 0);
    peer.blank = message.record === null;
    if (this.phase === CoordinatorPhase.Collecting) {
      if (this.#chosen) this.#prepare(peer);
      else this.#wake(nowMs, 0);
      return;
    }
    if (this.phase === CoordinatorPhase.Active) {
      // E2, V8: a member that has promised a higher epoch answers this one no more.
      if (message.promised > this.epoch) {
        this.#collect(nowMs, 0);
        return;
      }
      this.#bringUpToDate(nowMs, peer);
    } else if (this.phase === CoordinatorPhase.Activating) {
      this.#bringUpToDate(nowMs, peer);
    }
  }

  #onRefused(nowMs: number, peer: Peer, message: Refused): void {
    this.#highestSeen = Math.max(this.#highestSeen, message.promised);
    if (message.epoch !== this.epoch || this.phase === CoordinatorPhase.Idle) return;
    switch (message.reason) {
      case RefusalReason.Fenced:
        // E5, V8: somebody has asked for a higher epoch. Whether he got it shows when this one asks again.
        this.#collect(nowMs, this.phase === CoordinatorPhase.Active ? 0 : this.#backoff());
        return;
      case RefusalReason.Leased:
        if (this.#servedEpoch > 0 && message.promised > this.#servedEpoch) {
          // E5: leases are granted to the active alone, so another one has been active since.
          this.#deposed(nowMs, message.promised);
          return;
        }
        peer.prepareAtMs = nowMs + Math.max(1, message.retryAfterMs);
        this.#waitingFor = 'another coordinator holds a lease';
        return;
      case RefusalReason.JustStarted:
        peer.prepareAtMs = nowMs + Math.max(1, message.retryAfterMs);
        this.#waitingFor = 'a replica that has just started waits until its leases have ended';
        return;
      case RefusalReason.NoLease: {
        const slot = this.#reads.find(message.id);
        if (slot === null || slot.peer !== peer.index) return;
        this.#retryRead(nowMs, slot, 0, true);
        return;
      }
      case RefusalReason.Blank:
      case RefusalReason.NotFound:
        peer.blank = true;
        peer.lastFault = 'its store is not the one that the record names';
        this.#host.onAlarm(AlarmKind.ForeignStore, peer.replicaId, 0, peer.lastFault);
        if (message.refusedType === MessageType.Prepare) return;
        break;
      default:
        peer.lastFault = `it refused a message (${message.refusedType}, reason ${message.reason})`;
    }
    this.#drop(nowMs, peer, peer.lastFault);
  }

  // ------------------------------------------------------------------------------------------------------ collecting

  /** V8: start, restart and takeover are one path. Hosts' operations wait; who was active issues them anew. */
  #collect(nowMs: number, delayMs: number): void {
    this.#leaveEpoch(nowMs);
    this.#setPhase(CoordinatorPhase.Collecting);
    this.#chooseAtMs = nowMs + delayMs;
    this.#waitingFor = 'collecting promises';
    if (delayMs === 0) this.#tickCollecting(nowMs);
    this.#wake(nowMs, Math.min(POLL_MS, delayMs));
  }

  /** Forgets all that belongs to the present epoch. */
  #leaveEpoch(nowMs: number): void {
    this.#requeueEverything();
    this.#chosen = false;
    this.#satisfiedMs = -1;
    this.#adoption = null;
    this.#reconcile?.abandon();
    this.#reconcile = null;
    this.#proposal = null;
    this.#leaving = 0;
    for (const rebuild of this.#rebuilds.values()) rebuild.sync?.abandon();
    this.#rebuilds.clear();
    this.#repairs.clear();
    this.#snapshot = null;
    for (const { done } of this.#scrubs.values()) done('the volume went through recovery');
    this.#scrubs.clear();
    this.#endMapQueries(-1);
    this.#unask(null);
    this.#leaseUntilMs = Number.NEGATIVE_INFINITY;
    this.#ring.reset();
    if (this.#stalledSinceMs < 0) this.#stalledSinceMs = nowMs;
    for (const peer of this.#peers) peer?.endEpoch();
  }

  #tickCollecting(nowMs: number): void {
    if (!this.#chosen) {
      if (nowMs < this.#chooseAtMs) return;
      let heard = 0;
      let connected = 0;
      let known = 0;
      for (const peer of this.#peers) {
        if (peer === undefined) continue;
        known += 1;
        if (peer.connected) connected += 1;
        if (peer.hello !== null) heard += 1;
      }
      // Who says hello first tells how high epochs are: a few more answers save a wasted attempt.
      if (heard === 0) {
        this.#waitingFor = 'no replica answers';
        return;
      }
      if (heard < majorityOf(known) && heard < connected && nowMs < this.#chooseAtMs + POLL_MS)
        return;
      this.epoch = Math.max(this.epoch, this.#highestSeen) + 1;
      this.#highestSeen = this.epoch;
      this.#chosen = true;
      this.#satisfiedMs = -1;
      for (const peer of this.#peers) if (peer?.hello) this.#prepare(peer);
      return;
    }
    for (const peer of this.#peers) {
      if (peer !== undefined && peer.prepareAtMs <= nowMs) this.#prepare(peer);
    }
    this.#tryAdopt(nowMs);
  }

  #prepare(peer: Peer): void {
    peer.prepareAtMs = Number.POSITIVE_INFINITY;
    if (peer.hello === null || (peer.hello.record === null && this.#rules.E6_storeId)) return; // E6: no vote.
    this.#transport.send(peer.index, {
      type: MessageType.Prepare,
      epoch: this.epoch,
      coordinatorId: this.#options.coordinatorId,
    });
  }

  #tryAdopt(nowMs: number): void {
    const promisers: Promiser[] = [];
    for (const peer of this.#peers) {
      if (peer?.promise) promisers.push({ replicaId: peer.replicaId, promise: peer.promise });
    }
    if (promisers.length === 0) return;
    // Whom any record names is asked too: after members were replaced, those that this coordinator was told of may be a
    // minority of the record's, and it would wait for ever.
    for (const { promise } of promisers) {
      for (const member of promise.record?.members ?? []) this.#needPeer(nowMs, member.replicaId);
      for (const old of promise.record?.oldMembers ?? []) this.#needPeer(nowMs, old.replicaId);
    }
    const adoption = adopt(promisers, this.#rules, {
      force: this.#force !== null,
      volatileCache: this.#volatileCache(promisers),
    });
    if (typeof adoption === 'string') {
      this.#waitingFor = adoption;
      return;
    }
    if (this.#satisfiedMs < 0) this.#satisfiedMs = nowMs;
    // V1, V6: a little patience saves a rebuild, or a loss.
    const patience = this.#config.promiseWaitMs * (adoption.lossAvoidable ? LOSS_WAIT_FACTOR : 1);
    if (!adoption.complete && this.#force === null && nowMs < this.#satisfiedMs + patience) {
      this.#waitingFor = adoption.lossAvoidable
        ? 'members that lost their caches: waiting for those that did not'
        : 'waiting for the rest of the members';
      return;
    }
    // V8, C6: another coordinator may have been active since; what hosts of this one wait for is settled or superseded.
    if (
      this.#servedEpoch > 0 &&
      this.#rules.V8_deposedByRecord &&
      adoption.record.coordinatorId !== this.#options.coordinatorId
    ) {
      this.#deposed(nowMs, adoption.record.epoch);
      return;
    }
    this.#startReconcile(nowMs, adoption);
  }

  /** V6 does not apply where every ack was durable (C9). */
  #volatileCache(promisers: readonly Promiser[]): boolean {
    for (const { promise } of promisers) {
      const blob = promise.record?.blobs.find(({ key }) => key === WRITE_CACHE_BLOB);
      if (blob === undefined || blob.value[0] !== 0) return true;
    }
    return false;
  }

  // ----------------------------------------------------------------------------------------------------- reconciling

  #startReconcile(nowMs: number, adoption: Adoption): void {
    this.#setPhase(CoordinatorPhase.Reconciling);
    this.#waitingFor = 'settling what was in flight';
    this.#adoption = adoption;
    this.#progressMs = nowMs;
    this.record = adoption.record;
    const listers = adoption.trusted.map(({ replicaId }) => this.#byReplica.get(replicaId)!.index);
    this.#reconcile = new BlockSync({
      fromLba: 0,
      sizeBlocks: adoption.record.sizeBlocks,
      epoch: this.epoch,
      since: adoption.lowest,
      listers,
      mode: InstallMode.Reconcile,
      join: ZERO_VERSION,
      windowBytes: this.#config.rebuildWindowBytes,
      decide: (segment) => this.#settle(adoption, listers, segment),
      send: (peer, message) => this.#transport.send(peer, message),
      nextId: () => this.#nextId++,
      mayCopy: () => true,
      onDone: () => this.#activate(this.#progressMs),
      onFailed: (peer, why) => {
        const failed = this.#peers[peer];
        if (failed !== undefined) this.#drop(this.#progressMs, failed, why);
      },
      onLost: (lba) =>
        this.#host.onAlarm(AlarmKind.BlockLost, '', lba, `block ${lba} is damaged on every member`),
    });
    this.#reconcile.start();
  }

  /** V4: the highest trusted version wins, and goes to all of P ∩ S that do not have it. */
  #settle(adoption: Adoption, listers: readonly number[], segment: Segment): CopyDecision | null {
    const { kinds, epochs, ops } = segment;
    let winner = -1;
    for (let index = 0; index < listers.length; index += 1) {
      const epoch = epochs[index]!;
      const op = ops[index]!;
      if (epoch === 0 && op === 0) continue;
      const { from } = adoption.trusted[index]!;
      if (compare({ epoch, op }, from) < 0) continue; // V3: a joiner, below its `j`.
      if (winner < 0 || compare({ epoch, op }, { epoch: epochs[winner]!, op: ops[winner]! }) > 0) {
        winner = index;
      }
    }
    if (winner < 0) return null;
    const sources: number[] = [];
    const targets: number[] = [];
    listers.forEach((peer, index) => {
      const same = epochs[index] === epochs[winner] && ops[index] === ops[winner];
      if (same) sources.push(peer);
      else if (adoption.trusted[index]!.inSync && this.#rules.V4_writeBack) targets.push(peer);
    });
    return {
      hole: kinds[winner] === BlockKind.Hole,
      epoch: epochs[winner]!,
      op: ops[winner]!,
      sources,
      targets,
    };
  }

  #activate(nowMs: number): void {
    const adoption = this.#adoption!;
    this.#reconcile = null;
    this.#setPhase(CoordinatorPhase.Activating);
    this.#waitingFor = 'storing the activation record';
    const record = activationRecord(
      adoption,
      this.epoch,
      this.#options.coordinatorId,
      this.#rules,
      this.#force !== null,
    );
    this.#propose(nowMs, record, null);
  }

  // --------------------------------------------------------------------------------------------------------- records

  /** R1-R3: in the stream, first to those it counts; acks stop until it is committed. */
  #propose(nowMs: number, record: VolumeRecord, onCommit: (() => void) | null): void {
    assert(this.#proposal === null);
    const counted = this.#countedMask(record);
    this.#proposal = { record, counted, sentMs: nowMs, acks: 0, sentRest: false, onCommit };
    for (const peer of this.#peers) {
      if (peer === undefined || peer.hello === null) continue;
      const first = (counted & peer.bit) !== 0;
      if (first || (!this.#rules.R2_countedFirst && this.#isNamed(record, peer.replicaId))) {
        this.#sendRecord(peer, record);
      }
    }
    if (!this.#rules.R2_countedFirst) this.#proposal.sentRest = true;
    this.#sendRest();
    this.#wake(nowMs, POLL_MS);
    if (!this.#rules.B3_copyAfterCommit) this.#startRebuilds(nowMs);
  }

  #sendRecord(peer: Peer, record: VolumeRecord): void {
    peer.sentN = record.n;
    this.#transport.send(peer.index, {
      type: MessageType.StoreRecord,
      epoch: this.epoch,
      op: this.#ring.next - 1,
      record,
    });
  }

  #sendRest(): void {
    const proposal = this.#proposal!;
    if (proposal.sentRest || (proposal.counted & ~proposal.acks) !== 0) return;
    proposal.sentRest = true;
    for (const peer of this.#peers) {
      if (peer === undefined || (proposal.counted & peer.bit) !== 0) continue;
      if (this.#mayStore(peer, proposal.record)) this.#sendRecord(peer, proposal.record);
    }
  }

  /** A store that the record names, and that has not promised more. */
  #mayStore(peer: Peer, record: VolumeRecord): boolean {
    if (peer.hello === null || !this.#isNamed(record, peer.replicaId)) return false;
    return this.#storeMatches(peer, record) || !this.#rules.E6_storeId;
  }

  #onRecordStored(nowMs: number, peer: Peer, { n, snapshots }: RecordStored): void {
    peer.storedEpoch = this.epoch;
    peer.storedN = n;
    peer.blank = false;
    const proposal = this.#proposal;
    // E6: with its first record a store that came blank has a vote, in this very session.
    if (peer.hello?.record === null) {
      peer.hello = { ...peer.hello, record: proposal?.record ?? this.record };
    }
    // P3: what it took under another coordinator, in a session with us that began before.
    if (peer.hello !== null && snapshots.length > 0) peer.hello = { ...peer.hello, snapshots };
    if (proposal !== null && n === proposal.record.n) {
      proposal.acks |= peer.bit;
      this.#sendRest();
      if (this.#isCommitted(proposal)) {
        this.#commit(nowMs);
        return;
      }
    }
    this.#advance(nowMs);
  }

  /** R2, R5: all it counts, a majority of its members, and of the list before while a change is under way. */
  #isCommitted(proposal: Proposal): boolean {
    const { record, acks, counted } = proposal;
    if (this.#rules.R2_allCounted && (counted & ~acks) !== 0) return false;
    let have = 0;
    for (const member of record.members) {
      const peer = this.#byReplica.get(member.replicaId);
      if (peer !== undefined && (acks & peer.bit) !== 0 && this.#storeIs(peer, member.storeId))
        have += 1;
    }
    if (have < majorityOf(record.members.length)) return false;
    if (record.oldMembers.length === 0) return true;
    let old = 0;
    for (const member of record.oldMembers) {
      const peer = this.#byReplica.get(member.replicaId);
      if (peer !== undefined && (acks & peer.bit) !== 0 && this.#storeIs(peer, member.storeId))
        old += 1;
    }
    return old >= majorityOf(record.oldMembers.length);
  }

  #commit(nowMs: number): void {
    const { record, onCommit } = this.#proposal!;
    this.#proposal = null;
    this.#setRecord(record);
    if (this.phase === CoordinatorPhase.Activating) {
      this.#goActive(nowMs);
      return;
    }
    onCommit?.();
    this.#startRebuilds(nowMs);
    for (const rebuild of [...this.#rebuilds.values()]) {
      if ((this.#inSync & rebuild.peer.bit) === 0) continue;
      rebuild.peer.failedJoins = 0;
      this.#rebuilds.delete(rebuild.peer.index);
    }
    this.#leaving &= this.#inSync | this.#joining;
    for (const peer of this.#peers) {
      if (peer === undefined) continue;
      if (this.#counts(peer) && !peer.connected) this.#leaving |= peer.bit;
      // Who came while this record was under way may not have been sent it.
      if (peer.hello !== null && !this.#counts(peer) && peer.sentN < record.n) {
        this.#bringUpToDate(nowMs, peer);
      }
    }
    this.#issueAnew(nowMs);
    this.#restartFlushes(nowMs);
    this.#advance(nowMs);
    this.#recheckAll(nowMs);
  }

  #setRecord(record: VolumeRecord): void {
    this.record = record;
    this.#inSync = 0;
    this.#joining = 0;
    this.#voters = 0;
    this.#hasWitness = false;
    for (const member of record.members) {
      const peer = this.#byReplica.get(member.replicaId)!;
      this.#voters |= peer.bit;
      if (member.witness) this.#hasWitness = true;
      else if (member.state === MemberState.InSync) this.#inSync |= peer.bit;
      else if (member.state === MemberState.Joining) this.#joining |= peer.bit;
    }
    this.#need = this.#needFor(record, bitCount(this.#inSync | this.#joining));
    this.#updateLease();
    this.#host.onRecord(record);
  }

  #goActive(nowMs: number): void {
    this.#setPhase(CoordinatorPhase.Active);
    this.#adoption = null;
    this.#servedEpoch = this.epoch;
    this.#backoffs = 0;
    this.#leaving = 0;
    this.#nextHeartbeatMs = nowMs;
    for (const peer of this.#peers) {
      if (peer === undefined) continue;
      if (this.#counts(peer) && !peer.connected) this.#leaving |= peer.bit;
      if (peer.hello !== null && !this.#counts(peer)) this.#bringUpToDate(nowMs, peer);
    }
    this.#force?.(null);
    this.#force = null;
    if (this.record!.lossPending) this.#host.onLossDeclared(); // C8; V7: the next record says that it was.
    this.#heartbeats(nowMs);
    this.#advance(nowMs);
    this.#pump(nowMs);
  }

  /** V3: a returning member first stores the record that says what it is worth; then it may join (B3). */
  #bringUpToDate(nowMs: number, peer: Peer): void {
    const proposal = this.#proposal;
    const record = proposal?.sentRest ? proposal.record : this.record!;
    if (this.phase === CoordinatorPhase.Activating) {
      if (proposal === null || !proposal.sentRest || !this.#mayStore(peer, record)) return;
      this.#sendRecord(peer, record);
      return;
    }
    if (!this.#isNamed(record, peer.replicaId)) return;
    const entry = findMember(record, peer.replicaId);
    if (entry !== undefined && !this.#storeMatches(peer, record)) {
      peer.blank = true; // E6, B8: another store under the same name.
      peer.lastFault = 'its store is not the one that the record names';
      this.#host.onAlarm(AlarmKind.ForeignStore, peer.replicaId, 0, peer.lastFault);
      return;
    }
    // It counts, and has begun a new session: it was lost in between, and must be detached first.
    if (this.#counts(peer) || (proposal !== null && (proposal.counted & peer.bit) !== 0)) {
      this.#leaving |= this.#counts(peer) ? peer.bit : 0;
      this.#advance(nowMs);
      return;
    }
    this.#sendRecord(peer, record);
  }

  // ------------------------------------------------------------------------------------------------- who stays in sync

  /** W4: a counted member is gone, or no longer to be relied on. */
  #lost(nowMs: number, peer: Peer, why: string): void {
    const rebuild = this.#rebuilds.get(peer.index);
    if (rebuild !== undefined) {
      rebuild.sync?.abandon();
      this.#rebuilds.delete(peer.index);
      const pauseMs = LEAST_JOIN_PAUSE_MS * 2 ** peer.failedJoins;
      peer.joinAtMs = nowMs + Math.min(MOST_JOIN_PAUSE_MS, pauseMs);
      peer.failedJoins = Math.min(peer.failedJoins + 1, 10);
    }
    for (const slot of this.#reads.slots) {
      if (slot.live && slot.peer === peer.index) this.#retryRead(nowMs, slot, 0, false);
    }
    for (const other of this.#rebuilds.values()) {
      if (other.sync !== null && other.source === peer.index) {
        other.sync.abandon();
        other.sync = null;
      }
    }
    // A repair that asked it hears no answer: another source is asked, and a read that waits goes on without it.
    for (const [id, repair] of [...this.#repairs]) {
      if (repair.asked !== peer.index && repair.bad !== peer.index) continue;
      this.#repairs.delete(id);
      if (repair.bad !== peer.index) this.#repair(nowMs, repair);
      else if (repair.read !== null) this.#startRead(nowMs, repair.read, 0);
    }
    this.#endMapQueries(peer.index);
    this.#unask(peer);
    for (const [id, scrub] of [...this.#scrubs]) {
      if ((scrub.sentTo & peer.bit) === 0) continue;
      this.#scrubs.delete(id);
      scrub.done('a member was lost meanwhile');
    }
    // What it applied on the session that ended counts no more (W3): should it come back, it comes as a joiner, which is
    // trusted with nothing below its `j`. What it had applied without a gap is where it will be stale from (B1).
    peer.contigAtLoss = this.#contigOf(peer);
    for (let number = this.#ring.first; number < this.#ring.next; number += 1) {
      const entry = this.#ring.get(number)!;
      entry.sentTo &= ~peer.bit;
      entry.acks &= ~peer.bit;
    }
    for (const flush of this.#flushes) flush.acks &= ~peer.bit;
    const proposed = this.#proposal !== null && (this.#proposal.counted & peer.bit) !== 0;
    if (this.#counts(peer)) {
      peer.lastFault = why;
      this.#leaving |= peer.bit;
      this.#host.onAlarm(AlarmKind.MemberDetached, peer.replicaId, 0, why);
    }
    if (proposed) {
      this.#collect(nowMs, 0); // R3: it will never store what is proposed.
      return;
    }
    this.#stall(nowMs);
    this.#advance(nowMs);
    this.#startRebuilds(nowMs);
  }

  #drop(nowMs: number, peer: Peer, why: string): void {
    if (!peer.connected) return;
    peer.lastFault = why;
    this.#transport.disconnect(peer.index);
    this.onDisconnected(nowMs, peer.index);
  }

  /** Proposes the next change that is due. One record at a time (R3). */
  #advance(nowMs: number): void {
    if (this.phase !== CoordinatorPhase.Active || this.#proposal !== null) return;
    const record = this.record!;
    if (this.#leaving !== 0) {
      this.#detach(nowMs);
      return;
    }
    if (record.oldMembers.length > 0) {
      this.#propose(nowMs, nextRecord(record, { oldMembers: [] }), null); // R5: the second record.
      return;
    }
    if (record.lossPending && this.#rules.V7_lossStays) {
      this.#propose(nowMs, nextRecord(record, {}), null);
      return;
    }
    if (this.#snapshot !== null) {
      this.#advanceSnapshot(nowMs);
      return;
    }
    for (const rebuild of this.#rebuilds.values()) {
      if (rebuild.copied && (this.#joining & rebuild.peer.bit) !== 0) {
        this.#propose(nowMs, promoted(record, rebuild.peer.replicaId, record.snapshots), null); // B5.
        return;
      }
    }
    for (const member of record.members) {
      if (member.witness || member.state !== MemberState.Stale) continue;
      const peer = this.#byReplica.get(member.replicaId)!;
      if (peer.hello === null || peer.blank || this.#expelled(peer)) continue;
      if (nowMs < peer.joinAtMs) continue;
      if (peer.storedEpoch !== this.epoch || peer.storedN !== record.n) continue;
      this.#join(nowMs, peer, member.since);
      return;
    }
    this.#nextControl(nowMs);
  }

  #detach(nowMs: number): void {
    const record = this.record!;
    if ((this.#inSync & ~this.#leaving) === 0) {
      this.#collect(nowMs, 0); // Nobody left to be in sync: recovery decides who is.
      return;
    }
    let all = this.#ring.next - 1;
    const leavers = new Map<string, Version>();
    for (const peer of this.#peers) {
      if (peer === undefined) continue;
      if ((this.#leaving & peer.bit) !== 0) {
        leavers.set(peer.replicaId, { epoch: this.epoch, op: peer.contigAtLoss });
      } else if ((this.#inSync & peer.bit) !== 0) {
        all = Math.min(all, this.#contigOf(peer));
      }
    }
    this.#propose(
      nowMs,
      detached(record, leavers, { epoch: this.epoch, op: all }, this.#rules),
      null,
    );
  }

  /** Every op up to it has been applied there. */
  #contigOf(peer: Peer): number {
    for (let number = this.#ring.first; number < this.#ring.next; number += 1) {
      const entry = this.#ring.get(number)!;
      if ((entry.sentTo & peer.bit) !== 0 && (entry.acks & peer.bit) === 0) return number - 1;
    }
    return this.#ring.next - 1;
  }

  #join(nowMs: number, peer: Peer, recorded: Version): void {
    // B1: less, if it says itself that it lost something; B7: from zero, if holes it may lack have no version any more.
    let since = this.#rules.B1_returningContig
      ? minVersion(recorded, peer.hello!.contig)
      : recorded;
    if (this.#rules.B7_holeFloor && compare(since, this.record!.holeFloor) < 0)
      since = ZERO_VERSION;
    const join = { epoch: this.epoch, op: this.#ring.next };
    const copied = !this.#rules.B5_allCopied;
    this.#rebuilds.set(peer.index, { peer, join, since, sync: null, source: -1, copied });
    this.#propose(
      nowMs,
      joined(this.record!, peer.replicaId, peer.hello!, join, since, this.#rules),
      null,
    );
  }

  /** B3: after the commit, R1 has made every source apply all below `j`. */
  #startRebuilds(nowMs: number): void {
    for (const rebuild of this.#rebuilds.values()) {
      if (rebuild.sync !== null || rebuild.copied) continue;
      const { peer } = rebuild;
      if ((this.#joining & peer.bit) === 0 && this.#rules.B3_copyAfterCommit) continue;
      const sources: number[] = [];
      for (const other of this.#peers) {
        if (other === undefined || other.hello === null || other === peer) continue;
        if ((this.#inSync & ~this.#leaving & other.bit) !== 0) sources.push(other.index);
      }
      const source = sources[this.#options.random.below(sources.length || 1)];
      if (source === undefined) continue;
      rebuild.source = source;
      sources.splice(sources.indexOf(source), 1);
      this.#progressMs = nowMs;
      rebuild.sync = new BlockSync({
        fromLba: 0,
        sizeBlocks: this.record!.sizeBlocks,
        epoch: this.epoch,
        since: rebuild.since,
        listers: this.#rules.B2_targetsList ? [source, peer.index] : [source],
        mode: InstallMode.Rebuild,
        join: rebuild.join,
        windowBytes: this.#config.rebuildWindowBytes,
        decide: (segment) => this.#differs(rebuild, source, sources, segment),
        send: (to, message) => this.#transport.send(to, message),
        nextId: () => this.#nextId++,
        mayCopy: (bytes) => this.#mayCopy(bytes),
        onDone: () => {
          rebuild.copied = true;
        },
        onFailed: (failed, why) => {
          rebuild.sync = null;
          const faulty = this.#peers[failed];
          if (faulty !== undefined) this.#drop(this.#progressMs, faulty, why);
        },
        onLost: (lba) =>
          this.#host.onAlarm(
            AlarmKind.BlockLost,
            '',
            lba,
            `block ${lba} is damaged on every member`,
          ),
      });
      rebuild.sync.start();
    }
  }

  /** B2, B4: what differs goes from the source to the joiner, back to an older version if need be. */
  #differs(
    rebuild: Rebuild,
    source: number,
    others: readonly number[],
    segment: Segment,
  ): CopyDecision | null {
    const epoch = segment.epochs[0]!;
    const op = segment.ops[0]!;
    // Equal versions are skipped unread; what is not below `j` comes in the joiner's own stream.
    if (epoch === segment.epochs[1] && op === segment.ops[1]) return null;
    if (compare({ epoch, op }, rebuild.join) >= 0) return null;
    const hole = segment.kinds[0] === BlockKind.Hole;
    return { hole, epoch, op, sources: [source, ...others], targets: [rebuild.peer.index] };
  }

  /** B9: a bucket of tokens, one second deep. */
  #mayCopy(bytes: number): boolean {
    if (this.#config.rebuildBytesPerSecond === Number.POSITIVE_INFINITY) return true;
    if (this.#rebuildTokens < bytes && this.#rebuildTokens < this.#config.rebuildBytesPerSecond) {
      return false;
    }
    this.#rebuildTokens -= bytes;
    return true;
  }

  // --------------------------------------------------------------------------------------------- operations of hosts

  submit(nowMs: number, op: BlockOp): void {
    this.#nowMs = nowMs;
    if (this.phase === CoordinatorPhase.Idle || this.#expired || this.#stopping !== null) {
      op.lower.onBlockDone(op, IoStatus.Offline);
      return;
    }
    const reads = op.kind === BlockOpKind.Read || op.kind === BlockOpKind.Verify;
    if (reads && this.phase === CoordinatorPhase.Active) {
      this.#startRead(nowMs, op, 0);
      return;
    }
    if (this.#held.length > 0 || !this.#issue(nowMs, op)) {
      this.#held.push({ op });
      this.#stall(nowMs);
    }
  }

  /** False: it must be held. */
  #issue(nowMs: number, op: BlockOp): boolean {
    if (this.phase !== CoordinatorPhase.Active) return false;
    switch (op.kind) {
      case BlockOpKind.Read:
      case BlockOpKind.Verify:
        this.#startRead(nowMs, op, 0);
        return true;
      case BlockOpKind.Flush:
        if (this.#need === Number.POSITIVE_INFINITY) return false;
        this.#startFlush(nowMs, op);
        return true;
      default:
        return this.#issueChange(nowMs, op);
    }
  }

  /** W2: the version is given here; every counted member gets the op, and whoever a proposal counts. */
  #issueChange(nowMs: number, op: BlockOp): boolean {
    const { record } = this;
    // R5: acks wait for the second record of a member change; W3: fewer than q count, the op waits for a joiner.
    if (this.#need === Number.POSITIVE_INFINITY || record!.oldMembers.length > 0) return false;
    let to = (this.#inSync | this.#joining) & ~this.#leaving;
    if (this.#proposal !== null && this.#rules.B3_opsFromProposal) {
      to |= this.#proposal.counted & ~this.#leaving;
    }
    if ((to & this.#inSync) === 0) return false;
    if (this.#ring.next > MAX_OP_NUMBER) {
      this.#collect(nowMs, 0); // E1: the epoch has no numbers left.
      return false;
    }
    const write = op.kind === BlockOpKind.Write;
    if (write) {
      const credit = this.#checkCredit(nowMs, op, to);
      if (credit === Credit.None) {
        op.lower.onBlockDone(op, IoStatus.NoSpace); // N1: nobody saw it, the blocks are unchanged.
        return true;
      }
      if (credit === Credit.Wait) return false;
    }
    const entry = this.#ring.push();
    entry.op = op;
    entry.lba = op.lba;
    entry.blocks = op.blocks;
    entry.bytes = write ? op.blocks * 4096 : 0;
    entry.sentTo = to;
    entry.issuedMs = nowMs;
    const apply = this.#apply;
    apply.epoch = this.epoch;
    apply.op = entry.opNumber;
    apply.kind = write ? ChangeKind.Write : ChangeKind.Unmap;
    apply.lba = op.lba;
    apply.blocks = op.blocks;
    apply.fua = op.fua;
    apply.allAppliedOp = this.#ring.first - 1; // W10.
    apply.crcs = null;
    apply.data = null;
    apply.dataByteOffset = op.dataByteOffset;
    if (write) {
      if (entry.crcs.length < op.blocks) entry.crcs = new Uint32Array(op.blocks * 2);
      this.#host.checksum(op, entry.crcs); // H1.
      apply.crcs = entry.crcs;
      apply.data = op.data;
    }
    for (let index = 0; index < this.#peers.length; index += 1) {
      const peer = this.#peers[index];
      if (peer === undefined || (to & peer.bit) === 0) continue;
      peer.lagOps += 1;
      peer.lagBytes += entry.bytes;
      if (write) peer.issuedBlocks += op.blocks;
      this.#transport.send(index, apply);
    }
    apply.data = null;
    return true;
  }

  /** N1, N2: short of credit, the fullest member goes if enough remain. */
  #checkCredit(nowMs: number, op: BlockOp, to: number): Credit {
    let short = 0;
    for (const peer of this.#peers) {
      if (peer === undefined || (to & peer.bit) === 0) continue;
      if (peer.issuedBlocks + op.blocks > peer.credit) short |= peer.bit;
    }
    if (short === 0) return Credit.Enough;
    const rest = to & ~short;
    const enough = this.#hasWitness || bitCount(rest) >= majorityOf(this.record!.members.length);
    if (!enough || (rest & this.#inSync) === 0) return Credit.None;
    for (const peer of this.#peers) {
      if (peer === undefined || (short & peer.bit) === 0) continue;
      this.#host.onAlarm(AlarmKind.MemberFull, peer.replicaId, 0, 'it has no room left');
      this.#drop(nowMs, peer, 'it has no room left');
    }
    return Credit.Wait;
  }

  #onApplied(nowMs: number, peer: Peer, opNumber: number, status: IoStatus): void {
    const entry = this.#ring.get(opNumber);
    if (entry === null || (entry.sentTo & peer.bit) === 0 || (entry.acks & peer.bit) !== 0) return;
    if (status !== IoStatus.Ok) {
      this.#drop(nowMs, peer, `op ${this.epoch}.${opNumber} failed there (status ${status})`); // W4, N2.
      return;
    }
    entry.acks |= peer.bit;
    peer.lagOps -= 1;
    peer.lagBytes -= entry.bytes;
    if (entry.op !== null && this.#ackable()) this.#tryAck(entry);
    if (opNumber === this.#ring.first) this.#retire();
    if (this.#parked.length > 0) this.#retryParked(nowMs);
    if (this.#stopping !== null) this.#checkStopped(nowMs);
  }

  /** R3, R5, W4: acks only under a committed record, with none proposed and none due. */
  #ackable(): boolean {
    if (this.phase !== CoordinatorPhase.Active) return false;
    // E5: whoever may have been deposed without knowing completes nothing.
    if (this.#rules.E5_acksUnderLease && this.#nowMs >= this.#leaseUntilMs) return false;
    if (this.#proposal !== null && this.#rules.R3_acksStop) {
      // W3 switched off: a joiner is counted as soon as it is proposed.
      const early = !this.#rules.W3_joinersAfterCommit;
      if (
        !early ||
        (this.#proposal.counted & (this.#inSync | this.#joining)) !== (this.#inSync | this.#joining)
      )
        return false;
    }
    if (this.#leaving !== 0 && this.#rules.W4_recordBeforeAck) return false;
    return this.record!.oldMembers.length === 0;
  }

  /** W3: applied at enough of the counted, one of them in sync. */
  #tryAck(entry: RingEntry): void {
    if (!this.#enough(entry.acks)) return;
    const op = entry.op!;
    entry.op = null;
    entry.acked = true;
    this.#answer(op, IoStatus.Ok);
  }

  #enough(acks: number): boolean {
    let counted = this.#inSync | this.#joining;
    let need = this.#need;
    if (this.#proposal !== null) {
      // R3 switched off: acks go on by the record that is only proposed. W3: joiners count as soon as they are proposed.
      if (!this.#rules.R3_acksStop) {
        counted = this.#proposal.counted;
        need = this.#needFor(this.#proposal.record, bitCount(counted));
      } else if (!this.#rules.W3_joinersAfterCommit) counted |= this.#proposal.counted;
    }
    const have = acks & counted & ~this.#leaving;
    // W4 switched off: who is gone is left out at once.
    if (!this.#rules.W4_recordBeforeAck && this.#leaving !== 0) {
      need = this.#needFor(this.record!, bitCount(counted & ~this.#leaving));
    }
    if (bitCount(have) < need) return false;
    return (have & this.#inSync) !== 0 || !this.#rules.W3_oneInSync;
  }

  /** W3: how many acks an op needs under the record, when so many members count; Infinity: they are too few. */
  #needFor(record: VolumeRecord, counted: number): number {
    if (!this.#rules.W3_quorum) return 1;
    const q = this.#hasWitness ? 1 : majorityOf(record.members.length);
    if (counted < q) return Number.POSITIVE_INFINITY;
    return this.#hasWitness || this.#config.syncPolicy === SyncPolicy.All ? counted : q;
  }

  /** Forgets ops that every counted member has applied. */
  #retire(): void {
    let counted = this.#inSync | this.#joining;
    if (this.#proposal !== null) counted |= this.#proposal.counted;
    for (;;) {
      const entry = this.#ring.get(this.#ring.first);
      if (entry === null || entry.op !== null) return;
      if ((entry.sentTo & counted & ~entry.acks) !== 0) return;
      this.#ring.shift();
    }
  }

  #recheckAll(nowMs: number): void {
    if (!this.#ackable()) return;
    for (let number = this.#ring.first; number < this.#ring.next; number += 1) {
      const entry = this.#ring.get(number);
      if (entry !== null && entry.op !== null) this.#tryAck(entry);
    }
    this.#retire();
    for (const flush of [...this.#flushes]) this.#tryFlush(flush);
    this.#retryParked(nowMs);
    this.#pump(nowMs);
    this.#checkStopped(nowMs);
  }

  /** After a record that takes members away, some ops can never be applied at enough of them: they become new ops. */
  #issueAnew(nowMs: number): void {
    const counted = (this.#inSync | this.#joining) & ~this.#leaving;
    const again: BlockOp[] = [];
    for (let number = this.#ring.first; number < this.#ring.next; number += 1) {
      const entry = this.#ring.get(number)!;
      if (entry.op === null) continue;
      const possible = entry.sentTo & counted;
      if (bitCount(possible) >= this.#need && (possible & this.#inSync) !== 0) continue;
      again.push(entry.op);
      entry.op = null;
    }
    if (again.length === 0) return;
    this.#held = [...again.map((op) => ({ op })), ...this.#held];
    this.#stall(nowMs);
  }

  #pump(nowMs: number): void {
    if (this.#pumping || this.phase !== CoordinatorPhase.Active) return;
    this.#pumping = true;
    while (this.#held.length > 0 && this.phase === CoordinatorPhase.Active) {
      const { op } = this.#held[0]!;
      this.#held.shift();
      if (this.#issue(nowMs, op)) continue;
      this.#held.unshift({ op });
      break;
    }
    this.#pumping = false;
    if (this.#ackable() && this.#need !== Number.POSITIVE_INFINITY) this.#unstall();
    else this.#stall(nowMs);
  }

  #answer(op: BlockOp, status: IoStatus): void {
    op.lower.onBlockDone(op, status);
  }

  // ------------------------------------------------------------------------------------------------------------ SYNC

  #startFlush(nowMs: number, op: BlockOp): void {
    const flush: PendingFlush = { op, id: 0, acks: 0, sentMs: nowMs };
    this.#flushes.push(flush);
    this.#sendFlush(nowMs, flush);
  }

  /** W5: a marker to all counted. */
  #sendFlush(nowMs: number, flush: PendingFlush): void {
    flush.id = this.#nextId++;
    flush.acks = 0;
    flush.sentMs = nowMs;
    for (const peer of this.#peers) {
      if (peer === undefined || !this.#counts(peer) || (this.#leaving & peer.bit) !== 0) continue;
      this.#transport.send(peer.index, {
        type: MessageType.Flush,
        epoch: this.epoch,
        id: flush.id,
      });
    }
  }

  /** Other members count now: their markers must be behind what they have got. */
  #restartFlushes(nowMs: number): void {
    for (const flush of this.#flushes) this.#sendFlush(nowMs, flush);
  }

  #onFlushed(nowMs: number, peer: Peer, message: Flushed): void {
    if (message.status !== IoStatus.Ok) {
      this.#drop(nowMs, peer, `a flush failed there (status ${message.status})`); // S9, W4.
      return;
    }
    const flush = this.#flushes.find(({ id }) => id === message.id);
    if (flush === undefined) return;
    flush.acks |= peer.bit;
    this.#tryFlush(flush);
    this.#checkStopped(nowMs);
  }

  #tryFlush(flush: PendingFlush): void {
    if (!this.#ackable()) return;
    const enough = this.#rules.W5_quorumFlushed ? this.#enough(flush.acks) : flush.acks !== 0;
    if (!enough) return;
    this.#flushes.splice(this.#flushes.indexOf(flush), 1);
    this.#answer(flush.op, IoStatus.Ok);
  }

  // ----------------------------------------------------------------------------------------------------------- reads

  #startRead(nowMs: number, op: BlockOp, tried: number): void {
    const peer = this.#leaseHolds(nowMs) ? this.#reader(op.lba, op.blocks, tried) : null;
    if (peer === null) {
      this.#parked.push(op);
      this.#stall(nowMs);
      return;
    }
    this.#sendRead(nowMs, peer, op, tried);
  }

  #sendRead(nowMs: number, peer: Peer, op: BlockOp, tried: number): ReadSlot {
    const slot = this.#reads.take(op, peer.index, nowMs, tried);
    peer.outstandingReads += 1;
    const message = this.#read;
    message.epoch = this.epoch;
    message.id = slot.id;
    message.lba = op.lba;
    message.blocks = op.blocks;
    message.verifyOnly = op.kind === BlockOpKind.Verify;
    this.#transport.send(peer.index, message);
    if (this.#config.hedgeMs > 0) this.#wake(nowMs, this.#config.hedgeMs);
    return slot;
  }

  /** W8: in sync, on its stream, with every acked op on the range applied. By policy among those. */
  #reader(lba: number, blocks: number, tried: number): Peer | null {
    let best: Peer | null = null;
    const { length } = this.#peers;
    this.#readTurn = (this.#readTurn + 1) % length;
    for (let step = 0; step < length; step += 1) {
      const peer = this.#peers[(this.#readTurn + step) % length];
      if (peer === undefined || (tried & peer.bit) !== 0) continue;
      const eligible = this.#rules.W8_onlyInSync ? this.#inSync : this.#inSync | this.#joining;
      if ((eligible & ~this.#leaving & peer.bit) === 0 || !peer.connected) continue;
      if (peer.lagOps > 0 && this.#rules.W8_readsBehindAcks && this.#lacks(peer, lba, blocks))
        continue;
      if (best === null) best = peer;
      else if (this.#config.readPolicy === ReadPolicy.LeastOutstanding) {
        if (peer.outstandingReads < best.outstandingReads) best = peer;
      }
      if (this.#config.readPolicy === ReadPolicy.RoundRobin) return best;
      if (
        this.#config.readPolicy === ReadPolicy.LocalFirst &&
        peer.replicaId === this.#config.localReplicaId
      ) {
        return peer;
      }
    }
    return best;
  }

  #lacks(peer: Peer, lba: number, blocks: number): boolean {
    for (let number = this.#ring.first; number < this.#ring.next; number += 1) {
      const entry = this.#ring.get(number)!;
      if ((entry.sentTo & peer.bit) === 0 || (entry.acks & peer.bit) !== 0) continue;
      if (entry.lba < lba + blocks && lba < entry.lba + entry.blocks) return true;
    }
    return false;
  }

  readTarget(peer: number, id: number): BlockOp | null {
    const slot = this.#reads.find(id);
    return slot !== null && slot.peer === peer ? slot.op : null;
  }

  #onReadDone(nowMs: number, peer: Peer, message: ReadDone): void {
    const slot = this.#reads.find(message.id);
    if (slot === null || slot.peer !== peer.index) return;
    const { op } = slot;
    if (op === null) {
      this.#giveSlot(slot); // Another member was faster.
      return;
    }
    if (message.status === IoStatus.Damaged) {
      this.#onDamagedRead(nowMs, peer, slot, message.failedLba);
      return;
    }
    if (message.status !== IoStatus.Ok) {
      this.#drop(nowMs, peer, `a read failed there (status ${message.status})`);
      return;
    }
    // E3: the lease must hold when the data has arrived.
    if (!this.#leaseHolds(nowMs)) {
      this.#retryRead(nowMs, slot, 0, true);
      return;
    }
    if (message.data !== null) this.#host.fill(op, message.data);
    this.#finishRead(slot, op, IoStatus.Ok);
    this.#checkStopped(nowMs);
  }

  #finishRead(slot: ReadSlot, op: BlockOp, status: IoStatus): void {
    const { hedged } = slot;
    this.#giveSlot(slot);
    if (hedged) this.#reads.forget(op);
    this.#answer(op, status);
  }

  #giveSlot(slot: ReadSlot): void {
    const peer = this.#peers[slot.peer];
    if (peer !== undefined && peer.outstandingReads > 0) peer.outstandingReads -= 1;
    this.#reads.give(slot);
  }

  /** The read goes elsewhere, or waits. `park`: nobody can serve it just now. */
  #retryRead(nowMs: number, slot: ReadSlot, tried: number, park: boolean): void {
    const { op } = slot;
    const other = op !== null && this.#reads.hasOther(slot);
    this.#giveSlot(slot);
    if (op === null || other) return;
    if (park) {
      this.#parked.push(op);
      this.#stall(nowMs);
    } else {
      this.#startRead(nowMs, op, tried);
    }
  }

  #retryParked(nowMs: number): void {
    const parked = this.#parked;
    if (parked.length === 0 || !this.#leaseHolds(nowMs)) return;
    this.#parked = [];
    for (const op of parked) this.#startRead(nowMs, op, 0);
    if (this.#parked.length === 0 && this.#ackable()) this.#unstall();
  }

  /** W9: another member delivers, and the damaged copy is mended from it (H3). */
  #onDamagedRead(nowMs: number, peer: Peer, slot: ReadSlot, failedLba: number): void {
    const op = slot.op!;
    const tried = slot.tried | peer.bit;
    this.#giveSlot(slot);
    const sources = this.#peers.filter(
      (other) =>
        other !== undefined &&
        other !== peer &&
        other.connected &&
        (this.#inSync & ~this.#leaving & other.bit) !== 0,
    ) as Peer[];
    const next = this.#leaseHolds(nowMs) ? this.#reader(op.lba, op.blocks, tried) : null;
    const read = next === null ? op : null;
    if (next !== null) this.#sendRead(nowMs, next, op, tried);
    this.#repair(nowMs, {
      bad: peer.index,
      lba: failedLba,
      sources: sources.map((other) => other.index),
      read,
      asked: peer.index,
    });
  }

  #repair(nowMs: number, repair: Repair): void {
    let source = repair.sources.shift();
    while (source !== undefined && this.#peers[source]?.connected !== true) {
      source = repair.sources.shift();
    }
    if (source === undefined) {
      if (repair.read === null) return;
      this.#host.onAlarm(AlarmKind.BlockLost, '', repair.lba, 'damaged on every member in sync');
      repair.read.failedLba = repair.lba;
      this.#answer(repair.read, IoStatus.Damaged);
      return;
    }
    const id = this.#nextId++;
    repair.asked = source;
    this.#repairs.set(id, repair);
    this.#wake(nowMs, POLL_MS);
    this.#transport.send(source, {
      type: MessageType.CopyRead,
      epoch: this.epoch,
      id,
      lba: repair.lba,
      blocks: 1,
      snapshotId: null,
    });
  }

  #onRepairData(nowMs: number, _peer: Peer, message: CopyData): boolean {
    const repair = this.#repairs.get(message.id);
    if (repair === undefined) return false;
    this.#repairs.delete(message.id);
    const { copy } = message;
    if (message.status !== IoStatus.Ok || copy === null || copy.kinds[0] === BlockKind.Damaged) {
      this.#repair(nowMs, repair);
      return true;
    }
    const id = this.#nextId++;
    repair.asked = repair.bad;
    this.#repairs.set(id, repair);
    this.#transport.send(repair.bad, {
      type: MessageType.Install,
      epoch: this.epoch,
      id,
      mode: InstallMode.Repair,
      join: ZERO_VERSION,
      copy,
    });
    return true;
  }

  #onRepaired(nowMs: number, message: Installed): boolean {
    const repair = this.#repairs.get(message.id);
    if (repair === undefined) return false;
    this.#repairs.delete(message.id);
    const { read } = repair;
    if (read === null) return true;
    if (message.status === IoStatus.Ok) this.#startRead(nowMs, read, 0);
    else {
      read.failedLba = repair.lba;
      this.#answer(read, IoStatus.Damaged);
    }
    return true;
  }

  // --------------------------------------------------------------------------------------------------------- leases

  #heartbeats(nowMs: number): void {
    this.#nextHeartbeatMs = nowMs + this.#config.heartbeatMs;
    for (const peer of this.#peers) {
      if (peer === undefined || (this.#voters & peer.bit) === 0 || peer.hello === null) continue;
      if (peer.storedEpoch !== this.epoch && peer.promise === null) continue;
      this.#transport.send(peer.index, {
        type: MessageType.Heartbeat,
        epoch: this.epoch,
        sentMs: nowMs,
        allAppliedEpoch: this.epoch,
        allAppliedOp: this.#ring.first - 1,
      });
    }
  }

  #onHeartbeatReply(nowMs: number, peer: Peer, sentMs: number): void {
    // E3: from *send* time.
    const fromMs = this.#rules.E3_countFromSend ? sentMs : nowMs;
    if (fromMs <= peer.leaseSentMs) return;
    peer.leaseSentMs = fromMs;
    const lapsed = nowMs >= this.#leaseUntilMs;
    this.#updateLease();
    if (lapsed) this.#recheckAll(nowMs);
    else this.#retryParked(nowMs);
  }

  /** Until when a majority (of both lists, R5) has promised nobody else. */
  #updateLease(): void {
    const record = this.record!;
    const of = (replicas: readonly { readonly replicaId: string }[]): number => {
      const sent = replicas.map(
        ({ replicaId }) => this.#byReplica.get(replicaId)?.leaseSentMs ?? -1e300,
      );
      sent.sort((a, b) => b - a);
      return sent[majorityOf(sent.length) - 1]!;
    };
    let fromMs = of(record.members);
    if (record.oldMembers.length > 0) fromMs = Math.min(fromMs, of(record.oldMembers));
    this.#leaseUntilMs = fromMs + this.#config.leaseMs * LEASE_SHARE;
  }

  #leaseHolds(nowMs: number): boolean {
    return nowMs < this.#leaseUntilMs || !this.#rules.E3_majorityAtArrival;
  }

  // ----------------------------------------------------------------------------------------------------------- time

  tick(nowMs: number): void {
    this.#nowMs = nowMs;
    this.wakeAtMs = nowMs + POLL_MS;
    switch (this.phase) {
      case CoordinatorPhase.Idle:
        this.wakeAtMs = Number.POSITIVE_INFINITY;
        return;
      case CoordinatorPhase.Collecting:
        this.#tickCollecting(nowMs);
        break;
      case CoordinatorPhase.Reconciling:
        if (nowMs - this.#progressMs > this.#config.lagMs) this.#collect(nowMs, 0);
        break;
      case CoordinatorPhase.Activating:
        if (nowMs - this.#proposal!.sentMs > this.#config.recordTimeoutMs)
          this.#collect(nowMs, this.#backoff());
        break;
      case CoordinatorPhase.Active:
        this.#tickActive(nowMs);
        break;
      default:
        assertNever(this.phase);
    }
    if (this.#stopping !== null) this.#checkStopped(nowMs);
    // C10.
    if (
      this.#stalledSinceMs >= 0 &&
      !this.#expired &&
      nowMs - this.#stalledSinceMs >= this.#config.holdMs
    ) {
      this.#expire(nowMs);
    }
  }

  #tickActive(nowMs: number): void {
    if (nowMs >= this.#nextHeartbeatMs) {
      this.#heartbeats(nowMs);
      this.#checkLag(nowMs);
      if (this.phase !== CoordinatorPhase.Active) return;
    }
    const proposal = this.#proposal;
    if (proposal !== null && nowMs - proposal.sentMs > this.#config.recordTimeoutMs) {
      if ((proposal.counted & ~proposal.acks) !== 0) {
        this.#collect(nowMs, 0); // R3, V8: without the one that is late.
        return;
      }
    }
    this.#advance(nowMs);
    this.#recheckAll(nowMs);
    if (this.phase !== CoordinatorPhase.Active) return;
    this.#startRebuilds(nowMs);
    this.#refill(nowMs);
    if (this.#config.hedgeMs > 0) this.#hedge(nowMs);
    const busy =
      this.#proposal !== null ||
      this.#stalledSinceMs >= 0 ||
      this.#rebuilds.size > 0 ||
      this.#parked.length > 0 ||
      this.#controls.length > 0;
    this.wakeAtMs = busy ? nowMs + POLL_MS : this.#nextHeartbeatMs;
    if (this.#config.hedgeMs > 0 && this.#reads.liveCount > 0)
      this.#wake(nowMs, this.#config.hedgeMs);
  }

  /** W4: who is late is detached: with an op, a flush, a read or a heartbeat. */
  #checkLag(nowMs: number): void {
    const { lagMs, lagBytes } = this.#config;
    for (const peer of this.#peers) {
      if (peer === undefined || !peer.connected || !this.#counts(peer)) continue;
      if (peer.lagBytes > lagBytes) {
        this.#drop(nowMs, peer, `it lags by ${peer.lagBytes} bytes`);
      } else if (nowMs - peer.lastHeardMs > lagMs || nowMs - this.#oldestMs(peer, nowMs) > lagMs) {
        this.#drop(nowMs, peer, `it lags by more than ${lagMs} ms`);
      }
      if (this.phase !== CoordinatorPhase.Active) return;
    }
  }

  /** When the oldest thing was sent that it has not answered. */
  #oldestMs(peer: Peer, nowMs: number): number {
    let oldest = nowMs;
    if (peer.lagOps > 0) {
      for (let number = this.#ring.first; number < this.#ring.next; number += 1) {
        const entry = this.#ring.get(number)!;
        if ((entry.sentTo & peer.bit) === 0 || (entry.acks & peer.bit) !== 0) continue;
        oldest = entry.issuedMs;
        break;
      }
    }
    for (const flush of this.#flushes) {
      if ((flush.acks & peer.bit) === 0) oldest = Math.min(oldest, flush.sentMs);
    }
    if (peer.outstandingReads > 0) {
      for (const slot of this.#reads.slots) {
        if (slot.live && slot.peer === peer.index) oldest = Math.min(oldest, slot.sentMs);
      }
    }
    return oldest;
  }

  #refill(nowMs: number): void {
    const rate = this.#config.rebuildBytesPerSecond;
    if (rate === Number.POSITIVE_INFINITY) return;
    const seconds = (nowMs - this.#rebuildTokensMs) / 1000;
    this.#rebuildTokensMs = nowMs;
    this.#rebuildTokens = Math.min(rate, this.#rebuildTokens + rate * seconds);
    for (const rebuild of this.#rebuilds.values()) rebuild.sync?.resume();
  }

  #hedge(nowMs: number): void {
    for (const slot of [...this.#reads.slots]) {
      if (!slot.live || slot.op === null || slot.hedged) continue;
      if (nowMs - slot.sentMs < this.#config.hedgeMs || !this.#leaseHolds(nowMs)) continue;
      const { op } = slot;
      const other = this.#reader(op.lba, op.blocks, slot.tried | this.#peers[slot.peer]!.bit);
      if (other === null) continue;
      slot.hedged = true;
      this.#sendRead(nowMs, other, op, slot.tried).hedged = true;
    }
  }

  // --------------------------------------------------------------------------------------------- holding, stepping down

  #stall(nowMs: number): void {
    if (this.#stalledSinceMs < 0) this.#stalledSinceMs = nowMs;
    this.#wake(nowMs, POLL_MS);
  }

  #unstall(): void {
    if (this.#parked.length > 0 || this.#held.length > 0) return;
    this.#stalledSinceMs = -1;
    this.#waitingFor = '';
    if (!this.#expired) return;
    this.#expired = false;
    this.#host.onServing();
  }

  /** C10: the sessions are closed unanswered, and what they had under way is settled by a recovery (C4, C6). */
  #expire(nowMs: number): void {
    this.#expired = true;
    this.#host.onHoldExpired();
    if (this.phase === CoordinatorPhase.Active) this.#collect(nowMs, 0);
    this.#endHeld();
    this.#stalledSinceMs = nowMs;
  }

  /** E5: closes its sessions and answers nothing more. */
  #deposed(nowMs: number, byEpoch: number): void {
    if (!this.#rules.E5_deposedIsSilent) {
      // Switched off: it tells hosts that their operations failed, though they may yet take effect (C6).
      this.#requeueEverything();
      for (const { op } of this.#held.splice(0)) this.#answer(op, IoStatus.IoError);
    }
    this.#host.onDeposed(byEpoch);
    this.#leaveEpoch(nowMs);
    this.#servedEpoch = 0;
    this.#setPhase(CoordinatorPhase.Idle);
    this.#waitingFor = 'another coordinator has the volume';
    this.wakeAtMs = Number.POSITIVE_INFINITY;
    this.#endHeld();
    for (const control of this.#controls.splice(0))
      control.done('another coordinator has the volume');
    this.#unask(null);
    this.#stopping?.();
    this.#stopping = null;
  }

  #endHeld(): void {
    for (const { op } of this.#held.splice(0)) this.#answer(op, IoStatus.Offline);
  }

  /** Every operation without an answer is held again, in the order of its version: to be issued as a new op (V8). */
  #requeueEverything(): void {
    const ops: Held[] = [];
    for (let number = this.#ring.first; number < this.#ring.next; number += 1) {
      const entry = this.#ring.get(number)!;
      if (entry.op !== null) ops.push({ op: entry.op });
      entry.op = null;
    }
    for (const { op } of this.#flushes.splice(0)) ops.push({ op });
    for (const slot of this.#reads.slots) {
      if (!slot.live) continue;
      const { op } = slot;
      if (op !== null && !ops.some((held) => held.op === op)) ops.push({ op });
      this.#giveSlot(slot);
    }
    for (const op of this.#parked.splice(0)) ops.push({ op });
    for (const { read } of this.#repairs.values()) if (read !== null) ops.push({ op: read });
    this.#repairs.clear();
    this.#held = [...ops, ...this.#held];
  }

  #checkStopped(nowMs: number): void {
    if (this.#stopping === null) return;
    const idle =
      this.#held.length === 0 &&
      this.#parked.length === 0 &&
      this.#flushes.length === 0 &&
      this.#reads.liveCount === 0 &&
      this.#repairs.size === 0 &&
      !this.#unanswered();
    if (this.phase === CoordinatorPhase.Active && !idle) return;
    const done = this.#stopping;
    this.#stopping = null;
    if (this.phase === CoordinatorPhase.Active) {
      for (const peer of this.#peers) {
        if (peer?.connected) {
          this.#transport.send(peer.index, { type: MessageType.ReleaseLease, epoch: this.epoch });
        }
      }
    }
    this.#leaveEpoch(nowMs);
    this.#servedEpoch = 0;
    this.#setPhase(CoordinatorPhase.Idle);
    this.wakeAtMs = Number.POSITIVE_INFINITY;
    this.#endHeld();
    for (const control of this.#controls.splice(0)) control.done('the volume is stopped');
    this.#unask(null);
    done();
  }

  #unanswered(): boolean {
    for (let number = this.#ring.first; number < this.#ring.next; number += 1) {
      if (this.#ring.get(number)!.op !== null) return true;
    }
    return false;
  }

  // ------------------------------------------------------------------------------------------------- control changes

  changeMember(
    nowMs: number,
    leaver: string | null,
    newcomer: { readonly replicaId: string; readonly witness: boolean } | null,
    done: ControlDone,
  ): void {
    this.#control(nowMs, { kind: 'member', leaver, newcomer, done });
  }

  takeSnapshot(
    nowMs: number,
    snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>,
    done: ControlDone,
  ): void {
    this.#control(nowMs, { kind: 'snapshot', snapshot, done });
  }

  deleteSnapshot(nowMs: number, id: string, done: ControlDone): void {
    const edit = (record: VolumeRecord): Partial<VolumeRecord> | string => {
      const snapshots = record.snapshots.filter((snapshot) => snapshot.id !== id);
      return snapshots.length === record.snapshots.length
        ? `there is no snapshot ${id}`
        : { snapshots };
    };
    this.#control(nowMs, { kind: 'edit', edit, done });
  }

  resize(nowMs: number, sizeBlocks: number, done: ControlDone): void {
    const edit = (record: VolumeRecord): Partial<VolumeRecord> | string =>
      sizeBlocks < record.sizeBlocks ? 'a volume does not shrink' : { sizeBlocks };
    this.#control(nowMs, { kind: 'edit', edit, done });
  }

  putBlob(nowMs: number, key: string, value: Uint8Array | null, done: ControlDone): void {
    const edit = (record: VolumeRecord): Partial<VolumeRecord> => {
      const blobs = record.blobs.filter((blob) => blob.key !== key);
      if (value !== null) blobs.push({ key, value });
      return { blobs };
    };
    this.#control(nowMs, { kind: 'edit', edit, done });
  }

  getBlob(key: string): Uint8Array | null {
    return this.record?.blobs.find((blob) => blob.key === key)?.value ?? null;
  }

  force(nowMs: number, done: ControlDone): void {
    if (this.phase !== CoordinatorPhase.Collecting || !this.#chosen) {
      done('the volume is not waiting for its members');
      return;
    }
    this.#host.onAlarm(
      AlarmKind.Forced,
      '',
      0,
      'an operator forces the volume up with the members present',
    );
    this.#force = done;
    this.#tryAdopt(nowMs);
  }

  #control(nowMs: number, control: Control): void {
    this.#nowMs = nowMs;
    if (this.phase === CoordinatorPhase.Idle) {
      control.done('the volume is not served here');
      return;
    }
    this.#controls.push(control);
    this.#advance(nowMs);
  }

  #nextControl(nowMs: number): void {
    const control = this.#controls[0];
    if (control === undefined) return;
    switch (control.kind) {
      case 'edit': {
        const change = control.edit!(this.record!);
        if (typeof change === 'string') this.#endControl(nowMs, change);
        else {
          this.#propose(nowMs, nextRecord(this.record!, change), () =>
            this.#endControl(nowMs, null),
          );
        }
        return;
      }
      case 'snapshot':
        this.#startSnapshot(nowMs, control);
        return;
      case 'member':
        this.#changeMember(nowMs, control);
        return;
      default:
        assertNever(control.kind);
    }
  }

  #endControl(nowMs: number, error: string | null): void {
    const control = this.#controls.shift()!;
    control.done(error);
    if (error !== null) this.#advance(nowMs);
  }

  /** R5: the leaver is detached first; the newcomer is there and has promised no higher epoch (E8). */
  #changeMember(nowMs: number, control: Control): void {
    const record = this.record!;
    const leaver = control.leaver ?? null;
    const newcomer = control.newcomer ?? null;
    if (leaver !== null) {
      const entry = findMember(record, leaver);
      if (entry === undefined) {
        this.#endControl(nowMs, `${leaver} is not a member`);
        return;
      }
      const last = record.snapshots.find(
        ({ holders }) => holders.length === 1 && holders[0] === leaver,
      );
      if (last !== undefined && newcomer?.replicaId !== leaver && this.#rules.P3_lastHolderStays) {
        this.#endControl(nowMs, `${leaver} alone holds snapshot ${last.name}: delete that first`);
        return;
      }
      if (entry.state !== MemberState.Stale) {
        const peer = this.#byReplica.get(leaver)!;
        if ((this.#inSync & ~peer.bit) === 0)
          this.#endControl(nowMs, `${leaver} is the last member in sync`);
        else if (peer.connected) this.#drop(nowMs, peer, 'it leaves the volume');
        return;
      }
    }
    let identity: (HelloReply & { replicaId: string }) | null = null;
    if (newcomer !== null) {
      const hello = this.#byReplica.get(newcomer.replicaId)?.hello ?? null;
      if (hello === null) {
        this.#endControl(nowMs, `${newcomer.replicaId} is not connected`);
        return;
      }
      if (newcomer.replicaId !== leaver && findMember(record, newcomer.replicaId) !== undefined) {
        this.#endControl(nowMs, `${newcomer.replicaId} is a member already`);
        return;
      }
      if (hello.promised > this.epoch) {
        this.#endControl(nowMs, `${newcomer.replicaId} has promised a higher epoch`);
        return;
      }
      identity = { ...hello, replicaId: newcomer.replicaId, witness: newcomer.witness };
    }
    this.#propose(nowMs, memberChanged(record, leaver, identity, this.#rules), () => {
      const peer = newcomer === null ? undefined : this.#byReplica.get(newcomer.replicaId);
      if (peer !== undefined) peer.blank = false;
      this.#endControl(nowMs, null);
    });
  }

  /** A leaver that is to go does not come back in between. */
  #expelled(peer: Peer): boolean {
    const control = this.#controls[0];
    return control?.kind === 'member' && control.leaver === peer.replicaId;
  }

  /** P1, P3: an op of the stream, to every member in sync; at least q of them. */
  #startSnapshot(nowMs: number, control: Control): void {
    const least = this.#hasWitness ? 1 : majorityOf(this.record!.members.length);
    const snapshot = control.snapshot!;
    const inSync = bitCount(this.#inSync);
    if (inSync < least && this.#rules.P3_quorum) {
      // Not held until it can be: what would bring members back waits behind it.
      const why = `${inSync} of its replicas are in sync, and it takes ${least}`;
      this.#endControl(nowMs, `snapshot ${snapshot.name} cannot be taken now: ${why}`);
      return;
    }
    if (
      this.record!.snapshots.some(({ id, name }) => id === snapshot.id || name === snapshot.name)
    ) {
      this.#endControl(nowMs, `there is a snapshot ${snapshot.name} already`);
      return;
    }
    const entry = this.#ring.push();
    entry.sentTo = this.#inSync;
    entry.issuedMs = nowMs;
    this.#snapshot = {
      control,
      op: entry.opNumber,
      sentTo: this.#inSync,
      recordN: this.record!.n,
      acks: 0,
    };
    for (const peer of this.#peers) {
      if (peer === undefined || (this.#inSync & peer.bit) === 0) continue;
      peer.lagOps += 1;
      this.#transport.send(peer.index, {
        type: MessageType.TakeSnapshot,
        epoch: this.epoch,
        op: entry.opNumber,
        snapshotId: snapshot.id,
        name: snapshot.name,
      });
    }
  }

  #onSnapshotTaken(nowMs: number, peer: Peer, message: SnapshotTaken): void {
    const running = this.#snapshot;
    if (running !== null && running.op === message.op) {
      if (message.status !== IoStatus.Ok) {
        // Nothing but this snapshot failed there: it is given up, and the next record makes members drop it (P3).
        this.#snapshot = null;
        this.#onApplied(nowMs, peer, message.op, IoStatus.Ok);
        this.#endControl(
          nowMs,
          `replica ${peer.replicaId} could not take it (status ${message.status})`,
        );
        if (this.#proposal === null && this.phase === CoordinatorPhase.Active) {
          this.#propose(nowMs, nextRecord(this.record!, {}), null);
        }
        return;
      }
      running.acks |= peer.bit;
    }
    this.#onApplied(nowMs, peer, message.op, IoStatus.Ok);
    this.#advance(nowMs);
  }

  #advanceSnapshot(nowMs: number): void {
    const running = this.#snapshot!;
    const record = this.record!;
    if (record.n !== running.recordN) {
      this.#snapshot = null; // A record came in between, and members dropped what it does not name: once more.
      this.#advance(nowMs);
      return;
    }
    if ((running.sentTo & ~running.acks) !== 0 && this.#rules.P3_allHold) return;
    this.#snapshot = null;
    const holders = record.members
      .filter(({ replicaId }) => (running.sentTo & this.#byReplica.get(replicaId)!.bit) !== 0)
      .map(({ replicaId }) => replicaId);
    const version = { epoch: this.epoch, op: running.op };
    const { id, name, createdMs } = running.control.snapshot!;
    const { sizeBlocks } = record; // No record came since the cut, so none changed it.
    const taken: SnapshotEntry = { id, name, createdMs, version, sizeBlocks, holders };
    const snapshots = [...record.snapshots, taken];
    this.#propose(nowMs, nextRecord(record, { snapshots }), () => this.#endControl(nowMs, null));
  }

  // ------------------------------------------------------------------------------------------------ what is mapped

  listMapped(nowMs: number, fromLba: number, maxRuns: number, done: MapListed): void {
    this.#nowMs = nowMs;
    const serves = this.phase === CoordinatorPhase.Active && this.#leaseHolds(nowMs);
    const { sizeBlocks } = this.record ?? { sizeBlocks: 0 };
    // W8, for all of the rest: who lacks an acked write would call its block unmapped.
    const peer = serves ? this.#reader(fromLba, sizeBlocks - fromLba, 0) : null;
    if (peer === null || fromLba >= sizeBlocks) {
      done(null, fromLba);
      return;
    }
    const id = this.#nextId++;
    this.#mapQueries.set(id, { peer: peer.index, done });
    this.#transport.send(peer.index, {
      type: MessageType.ListChanged,
      epoch: this.epoch,
      id,
      since: ZERO_VERSION,
      fromLba,
      toLba: sizeBlocks,
      maxEntries: maxRuns,
    });
  }

  #onMapListed({ id, status, runs, nextLba }: Changed): boolean {
    const query = this.#mapQueries.get(id);
    if (query === undefined) return false;
    this.#mapQueries.delete(id);
    query.done(status === IoStatus.Ok ? runs : null, nextLba);
    return true;
  }

  /** Of a peer that answers no more, or of all. */
  #endMapQueries(peer: number): void {
    for (const [id, query] of [...this.#mapQueries]) {
      if (peer >= 0 && query.peer !== peer) continue;
      this.#mapQueries.delete(id);
      query.done(null, 0);
    }
  }

  ask(_nowMs: number, snapshotId: string, question: Question, done: AskDone): void {
    const held = this.record?.snapshots.find(({ id }) => id === snapshotId);
    const peers = this.#peers.filter(
      (peer): peer is Peer =>
        peer !== undefined &&
        (this.#inSync & ~this.#leaving & peer.bit) !== 0 &&
        held?.holders.includes(peer.replicaId) === true,
    );
    const peer = peers[this.#options.random.below(peers.length || 1)];
    if (held === undefined || peer === undefined || this.phase !== CoordinatorPhase.Active) {
      done(null);
      return;
    }
    const id = this.#nextId++;
    this.#asked.set(id, { peer, done });
    const { epoch } = this;
    if (question.kind === 'changed') {
      const { fromLba, toLba, maxEntries } = question;
      const since = held.version;
      const type = MessageType.ListChanged;
      this.#transport.send(peer.index, { type, epoch, id, since, fromLba, toLba, maxEntries });
    } else {
      const { lba, blocks } = question;
      const type = MessageType.CopyRead;
      this.#transport.send(peer.index, { type, epoch, id, lba, blocks, snapshotId });
    }
  }

  #onAnswer(message: Changed | CopyData): boolean {
    const asked = this.#asked.get(message.id);
    if (asked === undefined) return false;
    this.#asked.delete(message.id);
    asked.done(message);
    return true;
  }

  /** Who was asked is gone, or all are. */
  #unask(peer: Peer | null): void {
    for (const [id, asked] of [...this.#asked]) {
      if (peer !== null && asked.peer !== peer) continue;
      this.#asked.delete(id);
      asked.done(null);
    }
  }

  // ----------------------------------------------------------------------------------------------------- cross-scrub

  crossScrub(_nowMs: number, lba: number, blocks: number, done: ControlDone): void {
    assert(blocks > 0 && blocks <= MAX_DIGEST_BLOCKS);
    if (this.phase !== CoordinatorPhase.Active || this.#proposal !== null) {
      done('the volume is changing its members');
      return;
    }
    const id = this.#nextId++;
    const sentTo = this.#inSync & ~this.#leaving;
    this.#scrubs.set(id, { lba, blocks, sentTo, digests: new Map(), acks: 0, done });
    for (const peer of this.#peers) {
      if (peer === undefined || (sentTo & peer.bit) === 0) continue;
      this.#transport.send(peer.index, {
        type: MessageType.Digest,
        epoch: this.epoch,
        id,
        lba,
        blocks,
      });
    }
  }

  /** H5: all in sync are alike at one place of the stream, or software is at fault. */
  #onDigest(nowMs: number, peer: Peer, message: DigestDone): void {
    const scrub = this.#scrubs.get(message.id);
    if (scrub === undefined) return;
    scrub.acks |= peer.bit;
    const failed = message.status !== IoStatus.Ok;
    scrub.digests.set(peer.index, failed ? '' : `${message.digestHigh}.${message.digestLow}`);
    if ((scrub.sentTo & ~scrub.acks) !== 0) return;
    this.#scrubs.delete(message.id);
    const votes = new Map<string, number[]>();
    for (const [index, digest] of scrub.digests) {
      if (digest !== '') votes.set(digest, [...(votes.get(digest) ?? []), index]);
    }
    if (votes.size <= 1) {
      scrub.done(null);
      return;
    }
    const groups = [...votes.values()].sort((a, b) => b.length - a.length);
    const clear = groups[0]!.length > groups[1]!.length;
    const suspects = clear ? groups.slice(1).flat() : groups.flat();
    for (const index of suspects) {
      const suspect = this.#peers[index];
      if (suspect === undefined) continue;
      const text = `blocks ${scrub.lba}..${scrub.lba + scrub.blocks - 1} differ at one version`;
      this.#host.onAlarm(AlarmKind.CrossScrubMismatch, suspect.replicaId, scrub.lba, text);
      // The minority copy is trusted no more; without a majority nobody knows which one is wrong.
      if (clear) this.#drop(nowMs, suspect, text);
    }
    scrub.done('copies differ');
  }

  // ----------------------------------------------------------------------------------------------------------- parts

  status(nowMs: number): CoordinatorStatus {
    const members: MemberStatus[] = [];
    for (const peer of this.#peers) {
      if (peer === undefined) continue;
      const entry = this.record === null ? undefined : findMember(this.record, peer.replicaId);
      const rebuild = this.#rebuilds.get(peer.index);
      members.push({
        replicaId: peer.replicaId,
        connected: peer.connected,
        state: stateName(peer, entry?.state, entry?.witness ?? false),
        lagOps: peer.lagOps,
        lagBytes: peer.lagBytes,
        rebuildBlocks: rebuild === undefined ? 0 : this.record!.sizeBlocks,
        rebuiltBlocks: rebuild?.sync?.doneLba ?? 0,
        copiedBytes: rebuild?.sync?.copiedBytes ?? 0,
        lastFault: peer.lastFault,
      });
    }
    const held = this.#held.length + this.#parked.length;
    const stalled = this.#stalledSinceMs >= 0 && nowMs >= this.#stalledSinceMs;
    return {
      phase: this.phase,
      epoch: this.epoch,
      waitingFor: stalled ? this.#reasonToWait() : '',
      heldOps: held,
      members,
    };
  }

  #reasonToWait(): string {
    if (this.phase !== CoordinatorPhase.Active) return this.#waitingFor;
    if (this.#proposal !== null) return 'a record is being stored';
    if (this.#need === Number.POSITIVE_INFINITY) return 'too few members are in sync or joining';
    return 'a lease from a majority, or a member that may answer';
  }

  #setPhase(phase: CoordinatorPhase): void {
    if (phase === this.phase) return;
    this.phase = phase;
    this.#host.onPhase(phase, this.epoch);
  }

  #wake(nowMs: number, delayMs: number): void {
    this.wakeAtMs = Math.min(this.wakeAtMs, nowMs + delayMs);
  }

  /** Rivals wait for different times, longer each time, so that one of them gets through. */
  #backoff(): number {
    this.#backoffs = Math.min(this.#backoffs + 1, 3);
    return BACKOFF_MS + this.#options.random.below(BACKOFF_MS * 2 ** this.#backoffs);
  }

  #counts(peer: Peer): boolean {
    return ((this.#inSync | this.#joining) & peer.bit) !== 0;
  }

  #countedMask(record: VolumeRecord): number {
    let mask = 0;
    for (const member of record.members) {
      if (!member.witness && member.state !== MemberState.Stale) {
        mask |= this.#byReplica.get(member.replicaId)!.bit;
      }
    }
    return mask;
  }

  #isNamed(record: VolumeRecord, replicaId: string): boolean {
    return (
      record.members.some((member) => member.replicaId === replicaId) ||
      record.oldMembers.some((member) => member.replicaId === replicaId)
    );
  }

  #storeMatches(peer: Peer, record: VolumeRecord): boolean {
    const entry = findMember(record, peer.replicaId);
    if (entry !== undefined && this.#storeIs(peer, entry.storeId)) {
      return (
        !this.#rules.E7_openId || entry.openId === '' || peer.hello!.openIds.includes(entry.openId)
      );
    }
    return record.oldMembers.some(
      (old) => old.replicaId === peer.replicaId && this.#storeIs(peer, old.storeId),
    );
  }

  #storeIs(peer: Peer, storeId: string): boolean {
    return peer.hello?.storeId === storeId || !this.#rules.E6_storeId;
  }

  #needPeer(nowMs: number, replicaId: string): void {
    if (this.#byReplica.has(replicaId)) return;
    this.#host.onPeerNeeded(replicaId, this.addPeer(nowMs, replicaId));
  }
}

/** E3: the coordinator uses three quarters of the members' time. */
const LEASE_SHARE = 0.75;
/** The blob that says whether the volume has a volatile write cache (C9): one byte, 0 when not. */
export const WRITE_CACHE_BLOB = 'volume.writeCache';

const Credit = { Enough: 0, Wait: 1, None: 2 } as const;
type Credit = (typeof Credit)[keyof typeof Credit];

function stateName(
  peer: Peer,
  state: MemberState | undefined,
  witness: boolean,
): MemberStatus['state'] {
  if (peer.blank) return 'Blank';
  if (witness) return 'Witness';
  switch (state) {
    case MemberState.InSync:
      return 'InSync';
    case MemberState.Joining:
      return 'Joining';
    case MemberState.Stale:
      return 'Stale';
    default:
      return 'Unknown';
  }
}
