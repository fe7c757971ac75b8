// The coordinator of a volume (consistency.md §2-§8, its half): gains an epoch, settles what its predecessors left, then
// issues ops to the members and answers hosts by the rules. A state machine without I/O (T1): see interfaces.ts.
//
//   Idle -> Collecting -> Reconciling -> Activating -> Active
//             ^  V1         V4             V5             |
//             +-------------------------------------------+   V8: the same coordinator again, its sessions kept
//
// Here events come in and go to the part whose they are: recovery.ts, records.ts, members.ts, rebuilds.ts, write-path.ts,
// flushes.ts, read-path.ts, repairs.ts, leases.ts, holding.ts, controls.ts, snapshots.ts, missed.ts, questions.ts, scrubs.ts.
//
// What must hold:
// - Nothing is acknowledged but under a committed record, with none proposed and none due (R3, W4): `WritePath.ackable`.
// - Everything about who is worth what is decided by records alone; `Core` only remembers what the record in force says
//   (`inSync`, `joining`) and whom the next one must drop (`leaving`).
// - An operation of a host is in exactly one place: held, parked (reads), in the ring, in a read slot, or a flush.
import { assert, assertNever } from '../../base/index.ts';
import { type BlockOp, IoStatus } from '../../block/index.ts';
import {
  type HelloReply,
  type MemberMessage,
  MessageType,
  RefusalReason,
  type Refused,
} from '../../wire/messages.ts';
import {
  findMember,
  MemberState,
  type SnapshotEntry,
  type VolumeRecord,
} from '../../wire/record.ts';
import { type CoordinatorOptions, Core } from './core.ts';
import {
  AlarmKind,
  type AskDone,
  type ControlDone,
  type CoordinatorEvents,
  CoordinatorPhase,
  type CoordinatorPolicy,
  type CoordinatorStatus,
  type MapListed,
  type MemberStatus,
  type Question,
} from './interfaces.ts';
import { POLL_MS } from './limits.ts';
import { bitCount, type Peer } from './peer.ts';

export class Coordinator implements CoordinatorEvents {
  readonly #core: Core;

  constructor(options: CoordinatorOptions) {
    this.#core = new Core(options);
  }

  get phase(): CoordinatorPhase {
    return this.#core.phase;
  }

  get epoch(): number {
    return this.#core.epoch;
  }

  get record(): VolumeRecord | null {
    return this.#core.record;
  }

  /** All is well and nobody uses the volume: which such time since the start it is. Null: it is not so now. */
  get quietSpell(): number | null {
    const { phase, leases } = this.#core;
    return phase === CoordinatorPhase.Active && leases.quiet ? leases.spells : null;
  }

  get wakeAtMs(): number {
    return this.#core.wakeAtMs;
  }

  /** From now on, for what is under way too: what now has acks enough is answered, who is now late is detached. */
  configure(nowMs: number, policy: CoordinatorPolicy): void {
    const core = this.#core;
    core.nowMs = nowMs;
    core.config = { ...core.config, ...policy };
    if (core.phase === CoordinatorPhase.Idle) return;
    if (core.phase === CoordinatorPhase.Active) {
      core.need = core.writes.needFor(core.record!, bitCount(core.inSync | core.joining));
      core.writes.recheckAll(nowMs);
    }
    core.wake(nowMs, 0);
  }

  removePeer(nowMs: number, replicaId: string): void {
    const core = this.#core;
    const peer = core.byReplica.get(replicaId);
    if (peer === undefined) return;
    if (peer.connected) {
      core.transport.disconnect(peer.index);
      core.members.onDisconnected(nowMs, peer.index);
    }
    if (core.record !== null && core.isNamed(core.record, replicaId)) return;
    core.byReplica.delete(replicaId);
    core.peers[peer.index] = undefined;
  }

  start(nowMs: number): void {
    const core = this.#core;
    core.nowMs = nowMs;
    assert(core.phase === CoordinatorPhase.Idle);
    core.holding.stopping = null;
    core.holding.stalledSinceMs = nowMs;
    core.recovery.collect(nowMs, 0);
  }

  stop(nowMs: number, done: () => void): void {
    const core = this.#core;
    core.nowMs = nowMs;
    core.holding.stopping = done;
    for (const { op } of core.holding.held.splice(0)) core.answer(op, IoStatus.Offline);
    core.holding.checkStopped(nowMs);
  }

  onConnected(nowMs: number, index: number): void {
    const core = this.#core;
    core.nowMs = nowMs;
    const peer = core.peers[index];
    if (peer === undefined) return;
    peer.beginSession(nowMs);
    core.transport.send(index, {
      type: MessageType.Hello,
      volumeId: core.options.volumeId,
      replicaId: peer.replicaId,
      coordinatorId: core.options.coordinatorId,
    });
  }

  onMessage(nowMs: number, index: number, message: MemberMessage): void {
    const core = this.#core;
    core.nowMs = nowMs;
    const peer = core.peers[index];
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
    if (message.epoch !== core.epoch || core.phase === CoordinatorPhase.Idle) return;
    switch (message.type) {
      case MessageType.PromiseMade:
        if (core.phase !== CoordinatorPhase.Collecting || !core.recovery.chosen) return;
        peer.promise = message;
        peer.prepareAtMs = Number.POSITIVE_INFINITY;
        peer.credit = message.credit;
        core.recovery.tryAdopt(nowMs);
        return;
      case MessageType.RecordStored:
        core.records.onStored(nowMs, peer, message);
        return;
      case MessageType.HeartbeatReply:
        peer.credit = message.credit;
        core.leases.onReply(nowMs, peer, message.sentMs);
        return;
      case MessageType.DamageFound:
        core.repairs.onFound(nowMs, peer, message.places);
        return;
      case MessageType.Applied:
        if (core.phase !== CoordinatorPhase.Active) return;
        peer.credit = message.credit;
        core.writes.onApplied(nowMs, peer, message.op, message.status);
        return;
      case MessageType.SnapshotTaken:
        core.snapshots.onTaken(nowMs, peer, message);
        return;
      case MessageType.Flushed:
        core.flushes.onFlushed(nowMs, peer, message);
        return;
      case MessageType.ReadDone:
        core.reads.onDone(nowMs, peer, message);
        return;
      case MessageType.Changed:
        if (core.questions.onMapped(message)) return;
        core.progressMs = nowMs;
        if (core.questions.onAnswer(nowMs, message)) return;
        if (core.recovery.reconcile?.onChanged(index, message)) return;
        if (core.missed.onChanged(nowMs, index, message)) return;
        for (const rebuild of core.rebuilds.running.values()) {
          if (!rebuild.sync?.onChanged(index, message)) continue;
          if (rebuild.copied) core.members.advance(nowMs);
          return;
        }
        return;
      case MessageType.CopyData:
        core.progressMs = nowMs;
        if (core.questions.onAnswer(nowMs, message)) return;
        if (core.repairs.onData(nowMs, peer, message)) return;
        if (core.recovery.reconcile?.onCopyData(index, message)) return;
        if (core.missed.onCopyData(nowMs, index, message)) return;
        for (const rebuild of core.rebuilds.running.values()) {
          if (!rebuild.sync?.onCopyData(index, message)) continue;
          if (rebuild.copied) core.members.advance(nowMs);
          return;
        }
        return;
      case MessageType.Installed:
        core.progressMs = nowMs;
        if (core.repairs.onRepaired(nowMs, message)) return;
        if (core.recovery.reconcile?.onInstalled(index, message)) return;
        if (core.missed.onInstalled(nowMs, index, message)) return;
        for (const rebuild of core.rebuilds.running.values()) {
          if (!rebuild.sync?.onInstalled(index, message)) continue;
          if (rebuild.copied) core.members.advance(nowMs);
          return;
        }
        return;
      case MessageType.DigestDone:
        core.scrubs.onDigest(nowMs, peer, message);
        return;
      case MessageType.Branched:
        core.missed.onBranched(nowMs, peer, message);
        return;
      default:
        assertNever(message);
    }
  }

  #onHelloReply(nowMs: number, peer: Peer, message: HelloReply): void {
    const core = this.#core;
    peer.hello = message;
    peer.issuedBlocks = 0;
    peer.credit = message.credit;
    core.recovery.highestSeen = Math.max(
      core.recovery.highestSeen,
      message.promised,
      message.record?.epoch ?? 0,
    );
    peer.blank = message.record === null;
    if (core.phase === CoordinatorPhase.Collecting) {
      if (core.recovery.chosen) core.recovery.prepare(peer);
      else core.wake(nowMs, 0);
      return;
    }
    if (core.phase === CoordinatorPhase.Active) {
      // E2, V8: a member that has promised a higher epoch answers this one no more.
      if (message.promised > core.epoch) {
        core.recovery.collect(nowMs, 0);
        return;
      }
      core.records.bringUpToDate(nowMs, peer);
    } else if (core.phase === CoordinatorPhase.Activating) {
      core.records.bringUpToDate(nowMs, peer);
    }
  }

  #onRefused(nowMs: number, peer: Peer, message: Refused): void {
    const core = this.#core;
    core.recovery.highestSeen = Math.max(core.recovery.highestSeen, message.promised);
    if (message.epoch !== core.epoch || core.phase === CoordinatorPhase.Idle) return;
    switch (message.reason) {
      case RefusalReason.Fenced:
        // E5, V8: somebody has asked for a higher epoch. Whether he got it shows when this one asks again.
        core.recovery.collect(
          nowMs,
          core.phase === CoordinatorPhase.Active ? 0 : core.recovery.backoff(),
        );
        return;
      case RefusalReason.Leased:
        if (core.recovery.servedEpoch > 0 && message.promised > core.recovery.servedEpoch) {
          // E5: leases are granted to the active alone, so another one has been active since.
          core.recovery.deposed(nowMs, message.promised);
          return;
        }
        peer.prepareAtMs = nowMs + Math.max(1, message.retryAfterMs);
        core.recovery.waitingFor = 'another coordinator holds a lease';
        return;
      case RefusalReason.JustStarted:
        peer.prepareAtMs = nowMs + Math.max(1, message.retryAfterMs);
        core.recovery.waitingFor =
          'a replica that has just started waits until its leases have ended';
        return;
      case RefusalReason.NoLease: {
        const slot = core.reads.table.find(message.id);
        if (slot === null || slot.peer !== peer.index) return;
        core.reads.retry(nowMs, slot, 0, true);
        return;
      }
      case RefusalReason.Blank:
      case RefusalReason.NotFound:
        peer.blank = true;
        peer.lastFault = 'its store is not the one that the record names';
        core.host.onAlarm(AlarmKind.ForeignStore, peer.replicaId, 0, peer.lastFault);
        if (message.refusedType === MessageType.Prepare) return;
        break;
      default:
        peer.lastFault = `it refused a message (${message.refusedType}, reason ${message.reason})`;
    }
    core.members.drop(nowMs, peer, peer.lastFault);
  }

  tick(nowMs: number): void {
    const core = this.#core;
    core.nowMs = nowMs;
    core.wakeAtMs = nowMs + POLL_MS;
    switch (core.phase) {
      case CoordinatorPhase.Idle:
        core.wakeAtMs = Number.POSITIVE_INFINITY;
        return;
      case CoordinatorPhase.Collecting:
        core.recovery.tick(nowMs);
        break;
      case CoordinatorPhase.Reconciling:
        if (nowMs - core.progressMs > core.config.lagMs) core.recovery.collect(nowMs, 0);
        break;
      case CoordinatorPhase.Activating:
        if (nowMs - core.proposal!.sentMs > core.config.recordTimeoutMs)
          core.recovery.collect(nowMs, core.recovery.backoff());
        break;
      case CoordinatorPhase.Active:
        this.#tickActive(nowMs);
        break;
      default:
        assertNever(core.phase);
    }
    if (core.holding.stopping !== null) core.holding.checkStopped(nowMs);
    // C10.
    if (
      core.holding.stalledSinceMs >= 0 &&
      !core.holding.expired &&
      nowMs - core.holding.stalledSinceMs >= core.config.holdMs
    ) {
      core.holding.expire(nowMs);
    }
  }

  #tickActive(nowMs: number): void {
    const core = this.#core;
    if (nowMs >= core.leases.nextMs) {
      core.leases.send(nowMs);
      core.members.checkLag(nowMs);
      if (core.phase !== CoordinatorPhase.Active) return;
    }
    const proposal = core.proposal;
    if (proposal !== null && nowMs - proposal.sentMs > core.config.recordTimeoutMs) {
      if ((proposal.counted & ~proposal.acks) !== 0) {
        core.recovery.collect(nowMs, 0); // R3, V8: without the one that is late.
        return;
      }
    }
    core.members.advance(nowMs);
    core.writes.recheckAll(nowMs);
    if (core.phase !== CoordinatorPhase.Active) return;
    core.rebuilds.start(nowMs);
    core.missed.start(nowMs);
    core.reads.hedge(nowMs);
    core.wakeAtMs = core.isBusy
      ? nowMs + POLL_MS
      : Math.min(core.leases.nextMs, core.missed.againMs(nowMs));
    core.rebuilds.tick(nowMs);
    const { hedgeMs } = core.reads;
    if (hedgeMs > 0 && core.reads.table.liveCount > 0) core.wake(nowMs, hedgeMs);
  }

  status(nowMs: number): CoordinatorStatus {
    const core = this.#core;
    const members: MemberStatus[] = [];
    for (const peer of core.peers) {
      if (peer === undefined) continue;
      const entry = core.record === null ? undefined : findMember(core.record, peer.replicaId);
      const rebuild = core.rebuilds.running.get(peer.index);
      members.push({
        replicaId: peer.replicaId,
        connected: peer.connected,
        state: stateName(peer, entry?.state, entry?.witness ?? false),
        lagOps: peer.lagOps,
        lagBytes: peer.lagBytes,
        rebuildBlocks: rebuild === undefined ? 0 : core.record!.sizeBlocks,
        rebuiltBlocks: rebuild?.sync?.doneLba ?? 0,
        copiedBytes: rebuild?.sync?.copiedBytes ?? 0,
        lastFault: peer.lastFault,
      });
    }
    const held = core.holding.held.length + core.reads.parked.length;
    const stalled = core.holding.stalledSinceMs >= 0 && nowMs >= core.holding.stalledSinceMs;
    return {
      phase: core.phase,
      epoch: core.epoch,
      waitingFor: stalled ? this.#reasonToWait() : '',
      heldOps: held,
      members,
    };
  }

  #reasonToWait(): string {
    const core = this.#core;
    if (core.phase !== CoordinatorPhase.Active) return core.recovery.waitingFor;
    if (core.proposal !== null) return 'a record is being stored';
    if (core.need === Number.POSITIVE_INFINITY) return 'too few members are in sync or joining';
    return 'a lease from a majority, or a member that may answer';
  }

  addPeer(nowMs: number, replicaId: string): number {
    return this.#core.addPeer(nowMs, replicaId);
  }

  onDisconnected(nowMs: number, index: number): void {
    this.#core.members.onDisconnected(nowMs, index);
  }

  submit(nowMs: number, op: BlockOp): void {
    this.#core.writes.submit(nowMs, op);
  }

  /** A session with it has begun, and it has told what it holds: before, it cannot become a member. */
  hasGreeted(peer: number): boolean {
    return (this.#core.peers[peer]?.hello ?? null) !== null;
  }

  readTarget(peer: number, id: number): BlockOp | null {
    return this.#core.reads.readTarget(peer, id);
  }

  changeMember(
    nowMs: number,
    leaver: string | null,
    newcomer: { readonly replicaId: string; readonly witness: boolean } | null,
    done: ControlDone,
  ): void {
    this.#core.controls.changeMember(nowMs, leaver, newcomer, done);
  }

  takeSnapshot(
    nowMs: number,
    snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>,
    done: ControlDone,
  ): void {
    this.#core.controls.takeSnapshot(nowMs, snapshot, done);
  }

  takeSnapshotNow(
    nowMs: number,
    snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>,
    done: ControlDone,
  ): boolean {
    return this.#core.controls.takeSnapshotNow(nowMs, snapshot, done);
  }

  deleteSnapshot(nowMs: number, id: string, done: ControlDone): void {
    this.#core.controls.deleteSnapshot(nowMs, id, done);
  }

  resize(nowMs: number, sizeBlocks: number, done: ControlDone): void {
    this.#core.controls.resize(nowMs, sizeBlocks, done);
  }

  putBlob(nowMs: number, key: string, value: Uint8Array | null, done: ControlDone): void {
    this.#core.controls.putBlob(nowMs, key, value, done);
  }

  getBlob(key: string): Uint8Array | null {
    return this.#core.controls.getBlob(key);
  }

  force(nowMs: number, done: ControlDone): void {
    this.#core.recovery.force(nowMs, done);
  }

  ask(nowMs: number, snapshotId: string, question: Question, done: AskDone): void {
    this.#core.questions.ask(nowMs, snapshotId, question, done);
  }

  listMapped(nowMs: number, fromLba: number, maxRuns: number, done: MapListed): void {
    this.#core.questions.listMapped(nowMs, fromLba, maxRuns, done);
  }

  confirm(nowMs: number, done: (serves: boolean) => void): void {
    this.#core.leases.confirm(nowMs, done);
  }

  withdraw(op: BlockOp): boolean {
    return this.#core.holding.withdraw(op);
  }

  crossScrub(nowMs: number, lba: number, blocks: number, done: ControlDone): void {
    this.#core.scrubs.crossScrub(nowMs, lba, blocks, done);
  }
}

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
