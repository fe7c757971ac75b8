// What the parts of one coordinator share: the record in force and what it says as masks of peers, the ops under way, the
// surroundings. Each part is a file of its own and owns the state that it alone changes; they call one another through
// here. `Coordinator` is the face of it all.
import { assert } from '../../base/index.ts';
import type { BlockOp, IoStatus } from '../../block/index.ts';
import { findMember, MemberState, type VolumeRecord } from '../../wire/record.ts';
import { ALL_RULES, type Rules } from '../../wire/rules.ts';
import { Controls } from './controls.ts';
import { Flushes } from './flushes.ts';
import { Holding } from './holding.ts';
import {
  type CoordinatorConfig,
  type CoordinatorHost,
  CoordinatorPhase,
  type CoordinatorRandom,
  type CoordinatorTransport,
} from './interfaces.ts';
import { Leases } from './leases.ts';
import { MAX_PEERS } from './limits.ts';
import { Members } from './members.ts';
import { MissedSnapshots } from './missed.ts';
import { OpRing } from './op-ring.ts';
import { Peer } from './peer.ts';
import { Questions } from './questions.ts';
import { ReadPath } from './read-path.ts';
import { Rebuilds } from './rebuilds.ts';
import { type Proposal, Records } from './records.ts';
import { Recovery } from './recovery.ts';
import { Repairs } from './repairs.ts';
import { Scrubs } from './scrubs.ts';
import { Snapshots } from './snapshots.ts';
import { WritePath } from './write-path.ts';

export interface CoordinatorOptions {
  readonly volumeId: string;
  readonly coordinatorId: string;
  readonly config: CoordinatorConfig;
  readonly transport: CoordinatorTransport;
  readonly host: CoordinatorHost;
  readonly random: CoordinatorRandom;
  readonly rules?: Rules;
  /** E1: an epoch's last op. Standard, and most: 2^40 - 1; tests do not wait so long. */
  readonly lastOpNumber?: number;
}

export class Core {
  readonly options: CoordinatorOptions;
  config: CoordinatorConfig;
  readonly transport: CoordinatorTransport;
  readonly host: CoordinatorHost;
  readonly rules: Rules;
  phase: CoordinatorPhase = CoordinatorPhase.Idle;
  epoch = 0;
  record: VolumeRecord | null = null;
  wakeAtMs = Number.POSITIVE_INFINITY;
  /** The time of the event under way. */
  nowMs = 0;
  readonly peers: (Peer | undefined)[] = [];
  readonly byReplica = new Map<string, Peer>();
  // The record in force, as masks of peers.
  inSync = 0;
  joining = 0;
  voters = 0;
  hasWitness = false;
  /** How many acks an op needs; Infinity while too few members count. */
  need = Number.POSITIVE_INFINITY;
  /** Counted members that the next record must drop (W4). */
  leaving = 0;
  proposal: Proposal | null = null;
  readonly ring = new OpRing();
  nextId = 1;
  progressMs = 0;

  readonly recovery: Recovery;
  readonly records: Records;
  readonly members: Members;
  readonly rebuilds: Rebuilds;
  readonly writes: WritePath;
  readonly flushes: Flushes;
  readonly reads: ReadPath;
  readonly repairs: Repairs;
  readonly leases: Leases;
  readonly holding: Holding;
  readonly controls: Controls;
  readonly snapshots: Snapshots;
  readonly missed: MissedSnapshots;
  readonly questions: Questions;
  readonly scrubs: Scrubs;

  constructor(options: CoordinatorOptions) {
    this.options = options;
    this.config = options.config;
    this.transport = options.transport;
    this.host = options.host;
    this.rules = options.rules ?? ALL_RULES;
    this.recovery = new Recovery(this);
    this.records = new Records(this);
    this.members = new Members(this);
    this.rebuilds = new Rebuilds(this);
    this.writes = new WritePath(this);
    this.flushes = new Flushes(this);
    this.reads = new ReadPath(this);
    this.repairs = new Repairs(this);
    this.leases = new Leases(this);
    this.holding = new Holding(this);
    this.controls = new Controls(this);
    this.snapshots = new Snapshots(this);
    this.missed = new MissedSnapshots(this);
    this.questions = new Questions(this);
    this.scrubs = new Scrubs(this);
  }

  addPeer(_nowMs: number, replicaId: string): number {
    const known = this.byReplica.get(replicaId);
    if (known !== undefined) return known.index;
    let index = 0;
    while (this.peers[index] !== undefined) index += 1;
    assert(index < MAX_PEERS, 'more replicas than a mask has bits');
    const peer = new Peer(index, replicaId);
    this.peers[index] = peer;
    this.byReplica.set(replicaId, peer);
    return index;
  }

  needPeer(nowMs: number, replicaId: string): void {
    if (this.byReplica.has(replicaId)) return;
    this.host.onPeerNeeded(replicaId, this.addPeer(nowMs, replicaId));
  }

  answer(op: BlockOp, status: IoStatus): void {
    if (this.repairs.anew.size > 0) this.repairs.anew.delete(op);
    op.lower.onBlockDone(op, status);
  }

  setPhase(phase: CoordinatorPhase): void {
    if (phase === this.phase) return;
    this.phase = phase;
    this.host.onPhase(phase, this.epoch);
  }

  wake(nowMs: number, delayMs: number): void {
    this.wakeAtMs = Math.min(this.wakeAtMs, nowMs + delayMs);
  }

  /** Something waits that a look now and then brings on. */
  get isBusy(): boolean {
    return (
      this.proposal !== null ||
      this.holding.stalledSinceMs >= 0 ||
      this.rebuilds.running.size > 0 ||
      this.missed.running !== null ||
      this.reads.parked.length > 0 ||
      this.controls.queue.length > 0
    );
  }

  counts(peer: Peer): boolean {
    return ((this.inSync | this.joining) & peer.bit) !== 0;
  }

  countedMask(record: VolumeRecord): number {
    let mask = 0;
    for (const member of record.members) {
      if (!member.witness && member.state !== MemberState.Stale) {
        mask |= this.byReplica.get(member.replicaId)!.bit;
      }
    }
    return mask;
  }

  isNamed(record: VolumeRecord, replicaId: string): boolean {
    return (
      record.members.some((member) => member.replicaId === replicaId) ||
      record.oldMembers.some((member) => member.replicaId === replicaId)
    );
  }

  storeMatches(peer: Peer, record: VolumeRecord): boolean {
    const entry = findMember(record, peer.replicaId);
    if (entry !== undefined && this.storeIs(peer, entry.storeId)) {
      return (
        !this.rules.E7_openId || entry.openId === '' || peer.hello!.openIds.includes(entry.openId)
      );
    }
    return record.oldMembers.some(
      (old) => old.replicaId === peer.replicaId && this.storeIs(peer, old.storeId),
    );
  }

  storeIs(peer: Peer, storeId: string): boolean {
    return peer.hello?.storeId === storeId || !this.rules.E6_storeId;
  }
}
