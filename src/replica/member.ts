// A member of a volume (consistency.md §2-§5, the member's half): promises epochs, keeps the record, applies its stream
// of ops in order, grants leases, serves reads and copies. A state machine without I/O (T1): see member-interfaces.ts.
//
// What must hold:
// - `#promised` never falls and is durable before anybody hears of it (E2). Nothing of a lower epoch is executed.
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
  type Apply,
  type BlockCopies,
  type BranchSnapshot,
  type ChangedRuns,
  type CoordinatorMessage,
  type Digest,
  type Flush,
  type Hello,
  type Install,
  MessageType,
  type Payload,
  type Prepare,
  type Read,
  type ReadDone,
  RefusalReason,
  type SealSnapshot,
  type StoreRecord,
  type TakeSnapshot,
} from '../wire/messages.ts';
import {
  compare,
  compareRecords,
  findMember,
  type MemberEntry,
  MemberState,
  recordNames,
  type VolumeRecord,
} from '../wire/record.ts';
import { ALL_RULES, type Rules } from '../wire/rules.ts';
import { maxVersion, type Version } from '../wire/version.ts';
import type { MemberEvents, MemberStore, MemberTransport } from './member-interfaces.ts';
import type { MemberOptions } from './member-options.ts';
import { OpWindow } from './op-window.ts';

interface Session {
  readonly id: number;
  coordinatorId: string;
  /** The epoch whose record was stored on this session; -1 before. */
  attachedEpoch: number;
  /** N1: blocks taken since the session began. */
  takenBlocks: number;
}

const PendingKind = {
  SavePromise: 1,
  FlushForRecord: 2,
  SaveRecord: 3,
  Snapshot: 4,
  Marker: 5,
  Read: 6,
  List: 7,
  CopyRead: 8,
  Install: 9,
  Digest: 10,
  Branch: 11,
  Seal: 12,
} as const;

/** A call to the store that has not been answered. Pooled: its place in the table is the token. */
interface Pending {
  kind: number;
  session: number;
  epoch: number;
  id: number;
  live: boolean;
}

type BarrierMessage = Prepare | StoreRecord | TakeSnapshot | Digest;
type OrderedMessage = BarrierMessage | BranchSnapshot | SealSnapshot | Apply | Flush | Install;

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

export class Member implements MemberEvents {
  readonly #options: MemberOptions;
  readonly #store: MemberStore;
  readonly #transport: MemberTransport;
  readonly #rules: Rules;

  #promised: number;
  #record: VolumeRecord | null;
  #contig: Version;
  #hint: Version;
  /** This member's own entry in `#record`, where it names this store. */
  #entry: MemberEntry | undefined;
  /** E7: the openings that this store knows it had. */
  readonly #openIds: readonly string[];

  #leaseUntilMs = Number.NEGATIVE_INFINITY;
  #leaseTo = '';
  #leaseEpoch = 0;
  /** E4. */
  readonly #silentUntilMs: number;

  readonly #sessions = new Map<number, Session>();
  readonly #window = new OpWindow();
  #installs = 0;
  /** Branches that are being made or sealed (B6). */
  #branching = 0;
  #barrier: Queued | null = null;
  #barrierStarted = false;
  #queue: Queued[] = [];
  #markers: Marker[] = [];

  readonly #pending: Pending[] = [];
  readonly #freePending: number[] = [];

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
    this.#options = options;
    this.#store = store;
    this.#transport = transport;
    this.#rules = rules;
    const { opened } = store;
    this.#promised = opened.promised;
    this.#record = opened.record;
    this.#contig = opened.contig;
    this.#hint = opened.hint;
    if (!rules.E2_promiseDurable) this.#promised = opened.record?.epoch ?? 0;
    this.#entry = this.#ownEntry(this.#record);
    // The attached one is never forgotten, however often the store was opened while no coordinator came: `#storeRecord` let
    // it in because the store remembered it then, so that the record is as good a proof as the list.
    const attached = this.#entry?.openId ?? '';
    this.#openIds =
      attached === '' || opened.openIds.includes(attached)
        ? opened.openIds
        : [attached, ...opened.openIds];
    // E4: a lease granted before the restart may still run. A store that never promised has granted none.
    const silent = rules.E4_silenceAfterRestart && opened.promised > 0;
    this.#silentUntilMs = silent ? nowMs + options.leaseMs : nowMs;
  }

  get promised(): number {
    return this.#promised;
  }

  get record(): VolumeRecord | null {
    return this.#record;
  }

  get contig(): Version {
    return this.#contig;
  }

  onSessionStart(_nowMs: number, session: number): void {
    this.#sessions.set(session, {
      id: session,
      coordinatorId: '',
      attachedEpoch: -1,
      takenBlocks: 0,
    });
  }

  onSessionEnd(_nowMs: number, session: number): void {
    this.#sessions.delete(session);
    // What came over it and waits is not executed any more: nobody would hear of it. What runs, ends.
    for (const { session: of, message } of this.#queue) {
      if (of === session) payloadOf(message)?.release();
    }
    this.#queue = this.#queue.filter((queued) => queued.session !== session);
    this.#markers = this.#markers.filter((marker) => marker.session !== session);
    if (this.#barrier !== null && this.#barrier.session === session && !this.#barrierStarted) {
      this.#barrier = null;
      this.#drainQueue(_nowMs);
    }
  }

  onMessage(nowMs: number, session: number, message: CoordinatorMessage): void {
    const from = this.#sessions.get(session);
    if (from === undefined) return;
    switch (message.type) {
      case MessageType.Hello:
        this.#onHello(from, message);
        return;
      case MessageType.Heartbeat: {
        if (this.#fenced(from, message, 0)) return;
        if (message.epoch > this.#promised) {
          this.#refuse(from, message, 0, RefusalReason.Protocol);
          return;
        }
        // E3: a lease for T by this member's own clock.
        this.#leaseUntilMs = Math.max(this.#leaseUntilMs, nowMs + this.#options.leaseMs);
        this.#leaseTo = from.coordinatorId;
        this.#leaseEpoch = message.epoch;
        this.#hear(message.allAppliedEpoch, message.allAppliedOp);
        this.#transport.send(session, {
          type: MessageType.HeartbeatReply,
          epoch: message.epoch,
          sentMs: message.sentMs,
          credit: this.#credit(from),
        });
        return;
      }
      case MessageType.ReleaseLease:
        if (this.#leaseTo === from.coordinatorId) this.#leaseUntilMs = Number.NEGATIVE_INFINITY;
        return;
      case MessageType.Read:
        this.#onReadRequest(nowMs, from, message);
        return;
      case MessageType.ListChanged:
        if (this.#fenced(from, message, message.id)) return;
        this.#store.listChanged(
          message.since,
          message.fromLba,
          message.toLba,
          message.maxEntries,
          message.branchOf,
          this.#begin(PendingKind.List, from.id, message.epoch, message.id),
        );
        return;
      case MessageType.CopyRead:
        if (this.#fenced(from, message, message.id)) return;
        this.#store.copyRead(
          message.lba,
          message.blocks,
          message.snapshotId,
          this.#begin(PendingKind.CopyRead, from.id, message.epoch, message.id),
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
        if (this.#barrier !== null || this.#queue.length > 0) this.#enqueue(session, message);
        else this.#execute(nowMs, from, message);
        return;
      default:
        assertNever(message);
    }
  }

  // -------------------------------------------------------------------------------------------- answers of the store

  onApplied(nowMs: number, slot: number, status: IoStatus): void {
    const session = this.#window.sessionOf(slot);
    const op = this.#window.opOf(slot);
    const reached = this.#window.end(slot, status === IoStatus.Ok);
    const from = this.#sessions.get(session);
    if (reached >= 0) this.#advanceContig(reached);
    if (from !== undefined) {
      const answer = this.#applied;
      answer.epoch = from.attachedEpoch;
      answer.op = op;
      answer.status = status;
      answer.credit = this.#credit(from);
      this.#transport.send(session, answer);
    }
    if (this.#markers.length > 0) this.#startMarkers();
    if (this.#barrier !== null) this.#tryBarrier(nowMs);
  }

  onRead(
    nowMs: number,
    token: number,
    status: IoStatus,
    failedLba: number,
    data: Payload | null,
  ): void {
    const pending = this.#end(token);
    const from = this.#sessions.get(pending.session);
    if (from === undefined) return;
    // E3: by this member's clock too, when the answer leaves.
    if (!this.#mayServe(nowMs, from, pending.epoch)) {
      this.#refuseId(from, MessageType.Read, pending.epoch, pending.id, RefusalReason.NoLease);
      return;
    }
    const answer = this.#readDone;
    answer.epoch = pending.epoch;
    answer.id = pending.id;
    answer.status = status;
    answer.failedLba = failedLba;
    answer.data = data;
    this.#transport.send(pending.session, answer);
    answer.data = null;
  }

  onListed(
    _nowMs: number,
    token: number,
    status: IoStatus,
    runs: ChangedRuns,
    nextLba: number,
  ): void {
    const { session, epoch, id } = this.#end(token);
    if (epoch < this.#promised && this.#rules.E2_fence) return;
    this.#transport.send(session, { type: MessageType.Changed, epoch, id, status, runs, nextLba });
  }

  onCopyRead(_nowMs: number, token: number, status: IoStatus, copy: BlockCopies | null): void {
    const { session, epoch, id } = this.#end(token);
    if (epoch < this.#promised && this.#rules.E2_fence) return;
    this.#transport.send(session, { type: MessageType.CopyData, epoch, id, status, copy });
  }

  onDigest(
    nowMs: number,
    token: number,
    status: IoStatus,
    digestHigh: number,
    digestLow: number,
  ): void {
    const { session, epoch, id } = this.#end(token);
    this.#transport.send(session, {
      type: MessageType.DigestDone,
      epoch,
      id,
      status,
      digestHigh,
      digestLow,
    });
    this.#endBarrier(nowMs);
  }

  onBranched(nowMs: number, token: number, status: IoStatus, complete: boolean): void {
    const { session, epoch, id } = this.#end(token);
    this.#answerBranched(nowMs, session, epoch, id, status, complete);
  }

  #answerBranched(
    nowMs: number,
    session: number,
    epoch: number,
    id: number,
    status: IoStatus,
    complete: boolean,
  ): void {
    this.#branching -= 1;
    this.#transport.send(session, { type: MessageType.Branched, epoch, id, status, complete });
    if (this.#barrier !== null) this.#tryBarrier(nowMs);
  }

  onStoreDone(nowMs: number, token: number, status: IoStatus): void {
    const { kind, session, epoch, id } = this.#end(token);
    switch (kind) {
      case PendingKind.SavePromise:
        this.#promiseSaved(session, status);
        this.#endBarrier(nowMs);
        return;
      case PendingKind.FlushForRecord:
        if (status === IoStatus.Ok) this.#saveRecord();
        else this.#recordFailed(nowMs);
        return;
      case PendingKind.SaveRecord:
        if (status === IoStatus.Ok) this.#recordSaved();
        else {
          this.#recordFailed(nowMs);
          return;
        }
        this.#endBarrier(nowMs);
        return;
      case PendingKind.Snapshot:
        // P1: the snapshot is an op of the stream: with it everything up to its version is here.
        if (status === IoStatus.Ok) this.#advanceContig(id);
        this.#transport.send(session, {
          type: MessageType.SnapshotTaken,
          epoch,
          op: id,
          status,
        });
        this.#endBarrier(nowMs);
        return;
      case PendingKind.Seal:
        this.#answerBranched(nowMs, session, epoch, id, status, true);
        return;
      case PendingKind.Marker:
        this.#transport.send(session, { type: MessageType.Flushed, epoch, id, status });
        return;
      case PendingKind.Install:
        this.#installs -= 1;
        this.#transport.send(session, { type: MessageType.Installed, epoch, id, status });
        if (this.#barrier !== null) this.#tryBarrier(nowMs);
        return;
      default:
        assert(false, 'an answer of the store that nobody asked for');
    }
  }

  // --------------------------------------------------------------------------------------------------- hello, reads

  #onHello(from: Session, message: Hello): void {
    if (
      message.volumeId !== this.#options.volumeId ||
      message.replicaId !== this.#options.replicaId
    ) {
      this.#refuse(from, { type: message.type, epoch: 0 }, 0, RefusalReason.NotFound);
      return;
    }
    from.coordinatorId = message.coordinatorId;
    // One connection a coordinator: what is left of an earlier one must not come in between (W2).
    for (const other of this.#sessions.values()) {
      if (other !== from && other.coordinatorId === message.coordinatorId) {
        this.#transport.close(other.id);
        other.attachedEpoch = -1;
        other.coordinatorId = '';
      }
    }
    const { opened } = this.#store;
    this.#transport.send(from.id, {
      type: MessageType.HelloReply,
      storeId: opened.storeId,
      openId: opened.openId,
      openIds: this.#openIds,
      bootId: opened.bootId,
      promised: this.#promised,
      record: this.#record,
      contig: this.#contig,
      hint: this.#hint,
      snapshots: this.#store.snapshots(),
      witness: opened.witness,
      branches: true,
      credit: this.#credit(from),
    });
  }

  #onReadRequest(nowMs: number, from: Session, message: Read): void {
    if (this.#fenced(from, message, message.id)) return;
    if (!this.#mayServe(nowMs, from, message.epoch)) {
      this.#refuse(from, message, message.id, RefusalReason.NoLease);
      return;
    }
    this.#store.read(
      message.lba,
      message.blocks,
      message.verifyOnly,
      this.#begin(PendingKind.Read, from.id, message.epoch, message.id),
    );
  }

  /** E3, W8: only for the coordinator of the promised epoch, on its stream, under its lease, from a copy in sync. */
  #mayServe(nowMs: number, from: Session, epoch: number): boolean {
    if (this.#rules.E2_fence && epoch !== this.#promised) return false;
    if (
      this.#rules.W8_onlyInSync &&
      (from.attachedEpoch !== epoch || this.#entry?.state !== MemberState.InSync)
    ) {
      return false;
    }
    if (!this.#rules.E3_memberChecks) return true;
    return nowMs < this.#leaseUntilMs && this.#leaseTo === from.coordinatorId;
  }

  // ----------------------------------------------------------------------------------------------- the ordered stream

  #enqueue(session: number, message: OrderedMessage): void {
    payloadOf(message)?.retain();
    this.#queue.push({ session, message: { ...message } });
  }

  #drainQueue(nowMs: number): void {
    while (this.#barrier === null && this.#queue.length > 0) {
      const { session, message } = this.#queue.shift()!;
      const from = this.#sessions.get(session);
      if (from !== undefined) this.#execute(nowMs, from, message);
      payloadOf(message)?.release();
    }
  }

  #execute(nowMs: number, from: Session, message: OrderedMessage): void {
    switch (message.type) {
      case MessageType.Prepare:
        this.#prepare(nowMs, from, message);
        return;
      case MessageType.StoreRecord:
        this.#storeRecord(nowMs, from, message);
        return;
      case MessageType.Apply:
        this.#apply(from, message);
        return;
      case MessageType.TakeSnapshot:
      case MessageType.Digest:
        if (this.#notAttached(from, message, 0)) return;
        this.#startBarrier(nowMs, from.id, message);
        return;
      case MessageType.BranchSnapshot:
      case MessageType.SealSnapshot:
        if (this.#notAttached(from, message, message.id)) return;
        // B6: what is here without being in sync is no ground for a snapshot.
        if (this.#rules.B6_onlyInSync && this.#entry?.state !== MemberState.InSync) {
          this.#refuse(from, message, message.id, RefusalReason.Protocol);
          return;
        }
        this.#branch(from.id, message);
        return;
      case MessageType.Flush:
        if (this.#notAttached(from, message, message.id)) return;
        this.#markers.push({
          session: from.id,
          epoch: message.epoch,
          id: message.id,
          slot: this.#rules.W5_everythingBefore ? this.#window.tail : this.#window.head,
        });
        this.#startMarkers();
        return;
      case MessageType.Install:
        if (this.#fenced(from, message, message.id)) return;
        if (message.epoch > this.#promised && this.#rules.E2_fence) {
          this.#refuse(from, message, message.id, RefusalReason.Protocol);
          return;
        }
        this.#installs += 1;
        this.#store.install(
          message,
          this.#begin(PendingKind.Install, from.id, message.epoch, message.id),
        );
        return;
      default:
        assertNever(message);
    }
  }

  #branch(session: number, message: BranchSnapshot | SealSnapshot): void {
    const { epoch, id, snapshotId, version } = message;
    this.#branching += 1;
    if (message.type === MessageType.BranchSnapshot) {
      const token = this.#begin(PendingKind.Branch, session, epoch, id);
      this.#store.branchSnapshot(snapshotId, version, token);
    } else {
      const token = this.#begin(PendingKind.Seal, session, epoch, id);
      this.#store.sealSnapshot(snapshotId, version, token);
    }
  }

  #apply(from: Session, message: Apply): void {
    if (this.#notAttached(from, message, 0)) return;
    this.#hear(message.epoch, message.allAppliedOp);
    from.takenBlocks += message.blocks;
    // W2: in the order of the stream; the store lets a block change only to a higher version.
    this.#store.apply(message, this.#window.push(message.op, from.id));
  }

  /** E2, R1: of the promised epoch, on the session that stored its record. */
  #notAttached(from: Session, message: { type: MessageType; epoch: number }, id: number): boolean {
    if (this.#fenced(from, message, id)) return true;
    if (from.attachedEpoch === message.epoch) return false;
    this.#refuse(from, message, id, RefusalReason.Protocol);
    return true;
  }

  /** W5: a marker whose predecessors are all applied becomes a flush. */
  #startMarkers(): void {
    while (this.#markers.length > 0) {
      const { session, epoch, id, slot } = this.#markers[0]!;
      if (this.#window.head < slot) {
        if (this.#window.failed === 0 || this.#window.running > 0) return;
        // An op before it failed here: it can never be true.
        this.#markers.shift();
        this.#transport.send(session, {
          type: MessageType.Flushed,
          epoch,
          id,
          status: IoStatus.IoError,
        });
        continue;
      }
      this.#markers.shift();
      this.#store.flush(this.#begin(PendingKind.Marker, session, epoch, id));
    }
  }

  // -------------------------------------------------------------------------------------------------------- barriers

  #startBarrier(nowMs: number, session: number, message: BarrierMessage): void {
    assert(this.#barrier === null);
    this.#barrier = { session, message };
    this.#barrierStarted = false;
    this.#tryBarrier(nowMs);
  }

  #endBarrier(nowMs: number): void {
    assert(this.#barrierStarted);
    this.#barrier = null;
    this.#barrierStarted = false;
    this.#drainQueue(nowMs);
  }

  #tryBarrier(_nowMs: number): void {
    if (this.#barrierStarted) return;
    const { session, message } = this.#barrier!;
    const waits =
      message.type === MessageType.Prepare
        ? this.#rules.E2_promiseDrains
        : message.type === MessageType.StoreRecord
          ? this.#rules.R1_applyBefore
          : message.type === MessageType.TakeSnapshot
            ? this.#rules.P1_exactCut
            : true;
    if (waits && this.#window.running + this.#installs > 0) return;
    if (message.type === MessageType.StoreRecord && this.#branching > 0) return;
    this.#barrierStarted = true;
    switch (message.type) {
      case MessageType.Prepare:
        this.#store.savePromise(
          message.epoch,
          this.#begin(PendingKind.SavePromise, session, message.epoch, 0),
        );
        return;
      case MessageType.StoreRecord:
        if (this.#rules.R1_flushBefore) {
          this.#store.flush(this.#begin(PendingKind.FlushForRecord, session, message.epoch, 0));
        } else {
          this.#saveRecord();
        }
        return;
      case MessageType.TakeSnapshot:
        this.#store.takeSnapshot(
          message.snapshotId,
          message.name,
          { epoch: message.epoch, op: message.op },
          this.#begin(PendingKind.Snapshot, session, message.epoch, message.op),
        );
        return;
      case MessageType.Digest:
        this.#store.digest(
          message.lba,
          message.blocks,
          this.#begin(PendingKind.Digest, session, message.epoch, message.id),
        );
        return;
      default:
        assert(false, 'a message that is no barrier');
    }
  }

  #prepare(nowMs: number, from: Session, message: Prepare): void {
    // E6: a blank store has no vote.
    if (
      this.#rules.E6_storeId &&
      (this.#record === null || !recordNames(this.#record, ...this.#self()))
    ) {
      this.#refuse(from, message, 0, RefusalReason.Blank);
      return;
    }
    // E2: once, to one, and only higher.
    if (message.epoch <= this.#promised) {
      this.#refuse(from, message, 0, RefusalReason.Fenced);
      return;
    }
    if (
      this.#rules.E3_leaseRefusesPromises &&
      nowMs < this.#leaseUntilMs &&
      this.#leaseTo !== message.coordinatorId
    ) {
      this.#refuse(from, message, 0, RefusalReason.Leased, this.#leaseUntilMs - nowMs);
      return;
    }
    if (nowMs < this.#silentUntilMs) {
      this.#refuse(from, message, 0, RefusalReason.JustStarted, this.#silentUntilMs - nowMs);
      return;
    }
    this.#promised = message.epoch; // From here on everything lower is refused; answered when durable.
    this.#startBarrier(nowMs, from.id, message);
  }

  #promiseSaved(session: number, status: IoStatus): void {
    const from = this.#sessions.get(session);
    const message = this.#barrier!.message;
    assert(message.type === MessageType.Prepare);
    if (status !== IoStatus.Ok) {
      if (from !== undefined) this.#refuse(from, message, 0, RefusalReason.Faulted);
      return;
    }
    if (from === undefined) return;
    const { opened } = this.#store;
    this.#transport.send(session, {
      type: MessageType.PromiseMade,
      epoch: message.epoch,
      storeId: opened.storeId,
      openId: opened.openId,
      openIds: this.#openIds,
      bootId: opened.bootId,
      record: this.#record,
      contig: this.#contig,
      hint: this.#hint,
      snapshots: this.#store.snapshots(),
      credit: this.#credit(from),
    });
  }

  #storeRecord(nowMs: number, from: Session, message: StoreRecord): void {
    if (this.#fenced(from, message, 0)) return;
    const { record } = message;
    const known = this.#ownEntry(record);
    // E6: for another store than this one; E7: attached to an opening that this store does not remember.
    if (this.#rules.E6_storeId && !recordNames(record, ...this.#self())) {
      this.#refuse(from, message, 0, RefusalReason.Blank);
      return;
    }
    if (
      this.#rules.E7_openId &&
      known !== undefined &&
      known.openId !== '' &&
      !this.#openIds.includes(known.openId)
    ) {
      this.#refuse(from, message, 0, RefusalReason.Blank);
      return;
    }
    const older = this.#record !== null && compareRecords(record, this.#record) < 0;
    const counted = known !== undefined && known.state !== MemberState.Stale;
    if ((older && this.#rules.E2_fence) || (counted && this.#window.failed > 0)) {
      // Something failed here since: a record that counts on this member would be a lie.
      this.#refuse(from, message, 0, older ? RefusalReason.Protocol : RefusalReason.Faulted);
      return;
    }
    if (message.epoch > this.#promised) {
      this.#promised = message.epoch; // Durable with the record.
      // E3: whoever held a lease of a lower epoch has lost its majority before this epoch could become active.
      if (this.#leaseTo !== from.coordinatorId) this.#leaseUntilMs = Number.NEGATIVE_INFINITY;
    }
    this.#startBarrier(nowMs, from.id, message);
  }

  /** R1: everything before is applied and flushed. */
  #saveRecord(): void {
    const { session, message } = this.#barrier!;
    assert(message.type === MessageType.StoreRecord);
    const { record } = message;
    const entry = this.#ownEntry(record);
    if (entry?.state === MemberState.InSync) {
      // In sync in it: everything up to the record's place in the stream is here.
      this.#raiseContig({ epoch: message.epoch, op: message.op });
    }
    // P3: a snapshot that the record does not name does not exist.
    const named = new Set(record.snapshots.map((snapshot) => snapshot.id));
    const drop = this.#rules.P3_unnamedDeleted
      ? [...this.#store.snapshots(), ...this.#store.branches()].filter((id) => !named.has(id))
      : [];
    this.#store.saveRecord(
      record,
      this.#hint,
      holeFloorOf(record, this.#rules),
      drop,
      this.#begin(PendingKind.SaveRecord, session, message.epoch, 0),
    );
  }

  #recordSaved(): void {
    const { session, message } = this.#barrier!;
    assert(message.type === MessageType.StoreRecord);
    this.#record = message.record;
    this.#entry = this.#ownEntry(message.record);
    if (this.#window.running === 0) this.#window.reset();
    const from = this.#sessions.get(session);
    if (from === undefined) return;
    from.attachedEpoch = message.epoch;
    this.#transport.send(session, {
      type: MessageType.RecordStored,
      epoch: message.epoch,
      n: message.record.n,
      snapshots: this.#store.snapshots(),
    });
  }

  #recordFailed(nowMs: number): void {
    const { session, message } = this.#barrier!;
    const from = this.#sessions.get(session);
    if (from !== undefined) this.#refuse(from, message, 0, RefusalReason.Faulted);
    this.#barrierStarted = true;
    this.#endBarrier(nowMs);
  }

  // ----------------------------------------------------------------------------------------------------------- parts

  #self(): [string, string] {
    return [this.#options.replicaId, this.#store.opened.storeId];
  }

  #ownEntry(record: VolumeRecord | null): MemberEntry | undefined {
    if (record === null) return undefined;
    const entry = findMember(record, this.#options.replicaId);
    if (entry === undefined) return undefined;
    return entry.storeId === this.#store.opened.storeId || !this.#rules.E6_storeId
      ? entry
      : undefined;
  }

  /** W10: only a member in sync has everything below what it applies. */
  #advanceContig(op: number): void {
    const record = this.#record;
    if (record === null || this.#entry?.state !== MemberState.InSync) return;
    this.#raiseContig({ epoch: record.epoch, op });
  }

  #raiseContig(version: Version): void {
    if (compare(version, this.#contig) <= 0) return;
    this.#contig = version;
    this.#store.setContig(version.epoch, version.op);
  }

  /** W10: the highest `allApplied` that it was told. */
  #hear(epoch: number, op: number): void {
    if (!this.#rules.W10_hint) return;
    if (epoch > this.#hint.epoch || (epoch === this.#hint.epoch && op > this.#hint.op)) {
      this.#hint = { epoch, op };
    }
  }

  #credit(from: Session): number {
    return from.takenBlocks + this.#store.freeBlocks;
  }

  /** E2: refuses what is below the promise. */
  #fenced(from: Session, message: { type: MessageType; epoch: number }, id: number): boolean {
    if (message.epoch >= this.#promised || !this.#rules.E2_fence) return false;
    this.#refuse(from, message, id, RefusalReason.Fenced);
    return true;
  }

  #refuse(
    from: Session,
    message: { type: MessageType; epoch?: number },
    id: number,
    reason: RefusalReason,
    retryAfterMs = 0,
  ): void {
    this.#refuseId(from, message.type, message.epoch ?? 0, id, reason, retryAfterMs);
  }

  #refuseId(
    from: Session,
    refusedType: MessageType,
    epoch: number,
    id: number,
    reason: RefusalReason,
    retryAfterMs = 0,
  ): void {
    this.#transport.send(from.id, {
      type: MessageType.Refused,
      epoch,
      reason,
      refusedType,
      id,
      promised: reason === RefusalReason.Leased ? this.#leaseEpoch : this.#promised,
      retryAfterMs,
    });
  }

  #begin(kind: number, session: number, epoch: number, id: number): number {
    const free = this.#freePending.pop();
    if (free === undefined) {
      this.#pending.push({ kind, session, epoch, id, live: true });
      return this.#pending.length - 1;
    }
    const pending = this.#pending[free]!;
    pending.kind = kind;
    pending.session = session;
    pending.epoch = epoch;
    pending.id = id;
    pending.live = true;
    return free;
  }

  /** The entry stays readable until the next `#begin`. */
  #end(token: number): Pending {
    const pending = this.#pending[token];
    assert(pending?.live === true);
    pending.live = false;
    this.#freePending.push(token);
    return pending;
  }
}

/** B7. Switched off: a hole loses its version as soon as it is applied everywhere that counts. */
function holeFloorOf(record: VolumeRecord, rules: Rules): Version {
  return rules.B7_holeFloor ? record.holeFloor : maxVersion(record.holeFloor, record.allApplied);
}

/** The bytes that a message waits with: lent by who brought it, so kept while it is queued. */
function payloadOf(message: OrderedMessage): Payload | null {
  if (message.type === MessageType.Apply) return message.data;
  return message.type === MessageType.Install ? message.copy.data : null;
}
