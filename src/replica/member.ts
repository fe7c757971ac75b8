// A member of a volume (consistency.md §2-§5, the member's half): promises epochs, keeps the record, applies its stream
// of ops in order, grants leases, serves reads and copies. A state machine without I/O (T1): see member-interfaces.ts.
//
// Here events come in, and reads and copies are served; what has an order goes to ordered-stream.ts, what is promised and kept
// to votes.ts. What they share is in member-core.ts.
//
// What must hold:
// - `promised` never falls and is durable before anybody hears of it (E2). Nothing of a lower epoch is executed.
// - Prepare, StoreRecord, TakeSnapshot and Digest are *barriers*: they begin when every change before them has ended, and
//   what follows in any stream waits until they have ended. One runs at a time.
// - BranchSnapshot and SealSnapshot (B6) hold up no op, and wait for none: what a snapshot holds was applied before the record
//   that names it, and live ops touch only the volume. A StoreRecord waits for them, as it takes snapshots and branches away.
// - An op is executed only on the session that stored a record of its epoch (R1): after a lost connection the member is
//   told its role again before it gets anything.
import { assert, assertNever } from '../base/index.ts';
import { IoStatus } from '../block/index.ts';
import {
  type Applied,
  type BlockCopies,
  type ChangedRuns,
  type CoordinatorMessage,
  type Hello,
  MessageType,
  type Payload,
  type Read,
  type ReadDone,
  RefusalReason,
} from '../wire/messages.ts';
import { MemberState, type VolumeRecord } from '../wire/record.ts';
import { ALL_RULES, type Rules } from '../wire/rules.ts';
import type { Version } from '../wire/version.ts';
import { MemberCore, type Session } from './member-core.ts';
import type { MemberEvents, MemberStore, MemberTransport } from './member-interfaces.ts';
import type { MemberOptions } from './member-options.ts';
import { PendingKind } from './pending-calls.ts';

export class Member implements MemberEvents {
  readonly #core: MemberCore;

  // One of each message that is sent for every I/O, filled anew each time.
  readonly #applied: Applied = {
    type: MessageType.Applied,
    epoch: 0,
    op: 0,
    status: IoStatus.Ok,
    credit: 0,
  };
  readonly #readDone: ReadDone = {
    type: MessageType.ReadDone,
    epoch: 0,
    id: 0,
    status: IoStatus.Ok,
    failedLba: 0,
    data: null,
  };

  /** `nowMs`: when the store was opened. */
  constructor(
    nowMs: number,
    options: MemberOptions,
    store: MemberStore,
    transport: MemberTransport,
    rules: Rules = ALL_RULES,
  ) {
    this.#core = new MemberCore(nowMs, { options, store, transport, rules });
  }

  get promised(): number {
    return this.#core.promised;
  }

  get record(): VolumeRecord | null {
    return this.#core.record;
  }

  get contig(): Version {
    return this.#core.contig;
  }

  onSessionStart(_nowMs: number, session: number): void {
    this.#core.sessions.set(session, {
      id: session,
      coordinatorId: '',
      attachedEpoch: -1,
      takenBlocks: 0,
    });
  }

  onSessionEnd(nowMs: number, session: number): void {
    const core = this.#core;
    core.sessions.delete(session);
    core.stream.endSession(nowMs, session);
  }

  onMessage(nowMs: number, session: number, message: CoordinatorMessage): void {
    const core = this.#core;
    const from = core.sessions.get(session);
    if (from === undefined) return;
    switch (message.type) {
      case MessageType.Hello:
        this.#onHello(from, message);
        return;
      case MessageType.Heartbeat: {
        if (core.fenced(from, message, 0)) return;
        if (message.epoch > core.promised) {
          core.refuse(from, message, 0, RefusalReason.Protocol);
          return;
        }
        // E3: a lease for T by this member's own clock.
        core.leaseUntilMs = Math.max(core.leaseUntilMs, nowMs + core.options.leaseMs);
        core.leaseTo = from.coordinatorId;
        core.leaseEpoch = message.epoch;
        core.hear(message.allAppliedEpoch, message.allAppliedOp);
        core.transport.send(session, {
          type: MessageType.HeartbeatReply,
          epoch: message.epoch,
          sentMs: message.sentMs,
          credit: core.credit(from),
        });
        this.#tellDamage(from, message.epoch);
        return;
      }
      case MessageType.ReleaseLease:
        if (core.leaseTo === from.coordinatorId) core.leaseUntilMs = Number.NEGATIVE_INFINITY;
        return;
      case MessageType.Read:
        this.#onReadRequest(nowMs, from, message);
        return;
      case MessageType.ListChanged:
        if (core.fenced(from, message, message.id)) return;
        core.store.listChanged(
          message.since,
          message.fromLba,
          message.toLba,
          message.maxEntries,
          message.branchOf,
          core.calls.begin(PendingKind.List, from.id, message.epoch, message.id),
        );
        return;
      case MessageType.CopyRead:
        if (core.fenced(from, message, message.id)) return;
        core.store.copyRead(
          message.lba,
          message.blocks,
          message.snapshotId,
          core.calls.begin(PendingKind.CopyRead, from.id, message.epoch, message.id),
        );
        return;
      case MessageType.Prepare:
      case MessageType.StoreRecord:
      case MessageType.Apply:
      case MessageType.TakeSnapshot:
      case MessageType.BranchSnapshot:
      case MessageType.SealSnapshot:
      case MessageType.Flush:
      case MessageType.Install:
      case MessageType.Digest:
        core.stream.take(nowMs, from, message);
        return;
      default:
        assertNever(message);
    }
  }

  // -------------------------------------------------------------------------------------------- answers of the store

  onApplied(_nowMs: number, slot: number, status: IoStatus): void {
    const core = this.#core;
    const session = core.window.sessionOf(slot);
    const op = core.window.opOf(slot);
    const reached = core.window.end(slot, status === IoStatus.Ok);
    const from = core.sessions.get(session);
    if (reached >= 0) core.advanceContig(reached);
    if (from !== undefined) {
      const answer = this.#applied;
      answer.epoch = from.attachedEpoch;
      answer.op = op;
      answer.status = status;
      answer.credit = core.credit(from);
      core.transport.send(session, answer);
    }
    core.stream.advance();
  }

  onRead(
    nowMs: number,
    token: number,
    status: IoStatus,
    failedLba: number,
    data: Payload | null,
  ): void {
    const core = this.#core;
    const pending = core.calls.end(token);
    const from = core.sessions.get(pending.session);
    if (from === undefined) return;
    // E3: by this member's clock too, when the answer leaves.
    if (!this.#mayServe(nowMs, from, pending.epoch)) {
      core.refuseId(from, MessageType.Read, pending.epoch, pending.id, RefusalReason.NoLease);
      return;
    }
    const answer = this.#readDone;
    answer.epoch = pending.epoch;
    answer.id = pending.id;
    answer.status = status;
    answer.failedLba = failedLba;
    answer.data = data;
    core.transport.send(pending.session, answer);
    answer.data = null;
  }

  onListed(
    _nowMs: number,
    token: number,
    status: IoStatus,
    runs: ChangedRuns,
    nextLba: number,
  ): void {
    const core = this.#core;
    const { session, epoch, id } = core.calls.end(token);
    if (epoch < core.promised && core.rules.E2_fence) return;
    core.transport.send(session, { type: MessageType.Changed, epoch, id, status, runs, nextLba });
  }

  onCopyRead(_nowMs: number, token: number, status: IoStatus, copy: BlockCopies | null): void {
    const core = this.#core;
    const { session, epoch, id } = core.calls.end(token);
    if (epoch < core.promised && core.rules.E2_fence) return;
    core.transport.send(session, { type: MessageType.CopyData, epoch, id, status, copy });
  }

  onDigest(
    nowMs: number,
    token: number,
    status: IoStatus,
    digestHigh: number,
    digestLow: number,
  ): void {
    const core = this.#core;
    const { session, epoch, id } = core.calls.end(token);
    core.transport.send(session, {
      type: MessageType.DigestDone,
      epoch,
      id,
      status,
      digestHigh,
      digestLow,
    });
    core.stream.endBarrier(nowMs);
  }

  onBranched(_nowMs: number, token: number, status: IoStatus, complete: boolean): void {
    const { session, epoch, id } = this.#core.calls.end(token);
    this.#answerBranched(session, epoch, id, status, complete);
  }

  #answerBranched(
    session: number,
    epoch: number,
    id: number,
    status: IoStatus,
    complete: boolean,
  ): void {
    const core = this.#core;
    core.transport.send(session, { type: MessageType.Branched, epoch, id, status, complete });
    core.stream.advance();
  }

  onStoreDone(nowMs: number, token: number, status: IoStatus): void {
    const core = this.#core;
    const { kind, session, epoch, id } = core.calls.end(token);
    switch (kind) {
      case PendingKind.SavePromise:
        core.votes.promiseSaved(session, status);
        core.stream.endBarrier(nowMs);
        return;
      case PendingKind.FlushForRecord:
        if (status === IoStatus.Ok) core.votes.saveRecord();
        else core.votes.recordFailed(nowMs);
        return;
      case PendingKind.SaveRecord:
        if (status === IoStatus.Ok) core.votes.recordSaved();
        else {
          core.votes.recordFailed(nowMs);
          return;
        }
        core.stream.endBarrier(nowMs);
        return;
      case PendingKind.Snapshot:
        // P1: the snapshot is an op of the stream: with it everything up to its version is here.
        if (status === IoStatus.Ok) core.advanceContig(id);
        core.transport.send(session, {
          type: MessageType.SnapshotTaken,
          epoch,
          op: id,
          status,
        });
        core.stream.endBarrier(nowMs);
        return;
      case PendingKind.Seal:
        this.#answerBranched(session, epoch, id, status, true);
        return;
      case PendingKind.Marker:
        core.transport.send(session, { type: MessageType.Flushed, epoch, id, status });
        return;
      case PendingKind.Install:
        core.installs -= 1;
        core.transport.send(session, { type: MessageType.Installed, epoch, id, status });
        core.stream.advance();
        return;
      default:
        assert(false, 'an answer of the store that nobody asked for');
    }
  }

  // --------------------------------------------------------------------------------------------------- hello, reads

  #onHello(from: Session, message: Hello): void {
    const core = this.#core;
    if (
      message.volumeId !== core.options.volumeId ||
      message.replicaId !== core.options.replicaId
    ) {
      core.refuse(from, { type: message.type, epoch: 0 }, 0, RefusalReason.NotFound);
      return;
    }
    from.coordinatorId = message.coordinatorId;
    // One connection a coordinator: what is left of an earlier one must not come in between (W2).
    for (const other of core.sessions.values()) {
      if (other !== from && other.coordinatorId === message.coordinatorId) {
        core.transport.close(other.id);
        other.attachedEpoch = -1;
        other.coordinatorId = '';
      }
    }
    const { opened } = core.store;
    core.transport.send(from.id, {
      type: MessageType.HelloReply,
      storeId: opened.storeId,
      openId: opened.openId,
      openIds: core.openIds,
      bootId: opened.bootId,
      promised: core.promised,
      record: core.record,
      contig: core.contig,
      hint: core.hint,
      snapshots: core.store.snapshots(),
      witness: opened.witness,
      branches: true,
      credit: core.credit(from),
    });
  }

  #onReadRequest(nowMs: number, from: Session, message: Read): void {
    const core = this.#core;
    if (core.fenced(from, message, message.id)) return;
    if (!this.#mayServe(nowMs, from, message.epoch)) {
      core.refuse(from, message, message.id, RefusalReason.NoLease);
      return;
    }
    core.store.read(
      message.lba,
      message.blocks,
      message.verifyOnly,
      core.calls.begin(PendingKind.Read, from.id, message.epoch, message.id),
    );
  }

  /** H4: there may be something to tell, and a heartbeat that it could go with is far away: nobody uses the volume. */
  tellDamage(): void {
    const core = this.#core;
    for (const session of core.sessions.values()) this.#tellDamage(session, core.promised);
  }

  /** H4: who is attached mends from others what a scrub found here. */
  #tellDamage(from: Session, epoch: number): void {
    const core = this.#core;
    if (from.attachedEpoch !== epoch || core.entry?.state !== MemberState.InSync) return;
    const places = core.store.takeDamage();
    if (places.length === 0) return;
    core.transport.send(from.id, { type: MessageType.DamageFound, epoch, places });
  }

  /** E3, W8: only for the coordinator of the promised epoch, on its stream, under its lease, from a copy in sync. */
  #mayServe(nowMs: number, from: Session, epoch: number): boolean {
    const core = this.#core;
    if (core.rules.E2_fence && epoch !== core.promised) return false;
    if (
      core.rules.W8_onlyInSync &&
      (from.attachedEpoch !== epoch || core.entry?.state !== MemberState.InSync)
    ) {
      return false;
    }
    if (!core.rules.E3_memberChecks) return true;
    return nowMs < core.leaseUntilMs && core.leaseTo === from.coordinatorId;
  }
}
