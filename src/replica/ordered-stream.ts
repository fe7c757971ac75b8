// What comes to a member in the order of its stream (W2, R1): changes go on to the store at once; flushes wait for the changes before
// them; a barrier waits for every change before it, and all that follows waits for the barrier. One runs at a time.
import { assert, assertNever } from '../base/index.ts';
import { IoStatus } from '../block/index.ts';
import {
  type Apply,
  type BranchSnapshot,
  type Digest,
  type Flush,
  type Install,
  MessageType,
  type Payload,
  type Prepare,
  RefusalReason,
  type SealSnapshot,
  type StoreRecord,
  type TakeSnapshot,
} from '../wire/messages.ts';
import { MemberState } from '../wire/record.ts';
import type { MemberCore, Session } from './member-core.ts';
import { PendingKind } from './pending-calls.ts';

export type BarrierMessage = Prepare | StoreRecord | TakeSnapshot | Digest;
export type OrderedMessage =
  | BarrierMessage
  | BranchSnapshot
  | SealSnapshot
  | Apply
  | Flush
  | Install;

interface Queued {
  readonly session: number;
  readonly message: OrderedMessage;
}

interface Marker {
  readonly session: number;
  readonly epoch: number;
  readonly id: number;
  /** The window's head must have come here. */
  readonly slot: number;
}

export class OrderedStream {
  readonly #core: MemberCore;
  #barrier: Queued | null = null;
  #barrierStarted = false;
  #queue: Queued[] = [];
  #markers: Marker[] = [];

  constructor(core: MemberCore) {
    this.#core = core;
  }

  /** The barrier under way. */
  get barrier(): Readonly<Queued> | null {
    return this.#barrier;
  }

  /** Executes it now, or when its turn comes. */
  take(nowMs: number, from: Session, message: OrderedMessage): void {
    if (this.#barrier !== null || this.#queue.length > 0) this.#enqueue(from.id, message);
    else this.#execute(nowMs, from, message);
  }

  /** Something has ended that a flush or a barrier may have waited for. */
  advance(): void {
    if (this.#markers.length > 0) this.#startMarkers();
    if (this.#barrier !== null) this.#tryBarrier();
  }

  /** What came over it and waits is not executed any more: nobody would hear of it. What runs, ends. */
  endSession(nowMs: number, session: number): void {
    for (const { session: of, message } of this.#queue) {
      if (of === session) payloadOf(message)?.release();
    }
    this.#queue = this.#queue.filter((queued) => queued.session !== session);
    this.#markers = this.#markers.filter((marker) => marker.session !== session);
    if (this.#barrier?.session === session && !this.#barrierStarted) {
      this.#barrier = null;
      this.#drainQueue(nowMs);
    }
  }

  #enqueue(session: number, message: OrderedMessage): void {
    payloadOf(message)?.retain();
    this.#queue.push({ session, message: { ...message } });
  }

  #drainQueue(nowMs: number): void {
    while (this.#barrier === null && this.#queue.length > 0) {
      const { session, message } = this.#queue.shift()!;
      const from = this.#core.sessions.get(session);
      if (from !== undefined) this.#execute(nowMs, from, message);
      payloadOf(message)?.release();
    }
  }

  #execute(nowMs: number, from: Session, message: OrderedMessage): void {
    const core = this.#core;
    switch (message.type) {
      case MessageType.Prepare:
        core.votes.prepare(nowMs, from, message);
        return;
      case MessageType.StoreRecord:
        core.votes.storeRecord(from, message);
        return;
      case MessageType.Apply:
        this.#apply(from, message);
        return;
      case MessageType.TakeSnapshot:
      case MessageType.Digest:
        if (core.notAttached(from, message, 0)) return;
        this.startBarrier(from.id, message);
        return;
      case MessageType.BranchSnapshot:
      case MessageType.SealSnapshot:
        if (core.notAttached(from, message, message.id)) return;
        // B6: what is here without being in sync is no ground for a snapshot.
        if (core.rules.B6_onlyInSync && core.entry?.state !== MemberState.InSync) {
          core.refuse(from, message, message.id, RefusalReason.Protocol);
          return;
        }
        this.#branch(from.id, message);
        return;
      case MessageType.Flush:
        if (core.notAttached(from, message, message.id)) return;
        this.#markers.push({
          session: from.id,
          epoch: message.epoch,
          id: message.id,
          slot: core.rules.W5_everythingBefore ? core.window.tail : core.window.head,
        });
        this.#startMarkers();
        return;
      case MessageType.Install:
        if (core.fenced(from, message, message.id)) return;
        if (message.epoch > core.promised && core.rules.E2_fence) {
          core.refuse(from, message, message.id, RefusalReason.Protocol);
          return;
        }
        core.installs += 1;
        core.store.install(
          message,
          core.calls.begin(PendingKind.Install, from.id, message.epoch, message.id),
        );
        return;
      default:
        assertNever(message);
    }
  }

  #branch(session: number, message: BranchSnapshot | SealSnapshot): void {
    const core = this.#core;
    const { epoch, id, snapshotId, version } = message;
    if (message.type === MessageType.BranchSnapshot) {
      const token = core.calls.begin(PendingKind.Branch, session, epoch, id);
      core.store.branchSnapshot(snapshotId, version, token);
    } else {
      const token = core.calls.begin(PendingKind.Seal, session, epoch, id);
      core.store.sealSnapshot(snapshotId, version, token);
    }
  }

  #apply(from: Session, message: Apply): void {
    const core = this.#core;
    if (core.notAttached(from, message, 0)) return;
    core.hear(message.epoch, message.allAppliedOp);
    from.takenBlocks += message.blocks;
    // W2: in the order of the stream; the store lets a block change only to a higher version.
    core.store.apply(message, core.window.push(message.op, from.id));
  }

  /** W5: a marker whose predecessors are all applied becomes a flush. */
  #startMarkers(): void {
    const core = this.#core;
    while (this.#markers.length > 0) {
      const { session, epoch, id, slot } = this.#markers[0]!;
      if (core.window.head < slot) {
        if (core.window.failed === 0 || core.window.running > 0) return;
        // An op before it failed here: it can never be true.
        this.#markers.shift();
        core.transport.send(session, {
          type: MessageType.Flushed,
          epoch,
          id,
          status: IoStatus.IoError,
        });
        continue;
      }
      this.#markers.shift();
      core.store.flush(core.calls.begin(PendingKind.Marker, session, epoch, id));
    }
  }

  startBarrier(session: number, message: BarrierMessage): void {
    assert(this.#barrier === null);
    this.#barrier = { session, message };
    this.#barrierStarted = false;
    this.#tryBarrier();
  }

  endBarrier(nowMs: number): void {
    assert(this.#barrierStarted);
    this.#barrier = null;
    this.#barrierStarted = false;
    this.#drainQueue(nowMs);
  }

  #tryBarrier(): void {
    const core = this.#core;
    if (this.#barrierStarted) return;
    const { session, message } = this.#barrier!;
    const waits =
      message.type === MessageType.Prepare
        ? core.rules.E2_promiseDrains
        : message.type === MessageType.StoreRecord
          ? core.rules.R1_applyBefore
          : message.type === MessageType.TakeSnapshot
            ? core.rules.P1_exactCut
            : true;
    if (waits && core.window.running + core.installs > 0) return;
    this.#barrierStarted = true;
    switch (message.type) {
      case MessageType.Prepare:
        core.store.savePromise(
          message.epoch,
          core.calls.begin(PendingKind.SavePromise, session, message.epoch, 0),
        );
        return;
      case MessageType.StoreRecord:
        if (core.rules.R1_flushBefore) {
          core.store.flush(core.calls.begin(PendingKind.FlushForRecord, session, message.epoch, 0));
        } else {
          core.votes.saveRecord();
        }
        return;
      case MessageType.TakeSnapshot:
        core.store.takeSnapshot(
          message.snapshotId,
          message.name,
          { epoch: message.epoch, op: message.op },
          core.calls.begin(PendingKind.Snapshot, session, message.epoch, message.op),
        );
        return;
      case MessageType.Digest:
        core.store.digest(
          message.lba,
          message.blocks,
          core.calls.begin(PendingKind.Digest, session, message.epoch, message.id),
        );
        return;
      default:
        assert(false, 'a message that is no barrier');
    }
  }
}

/** The bytes that a message waits with: lent by who brought it, so kept while it is queued. */
function payloadOf(message: OrderedMessage): Payload | null {
  if (message.type === MessageType.Apply) return message.data;
  return message.type === MessageType.Install ? message.copy.data : null;
}
