// What the parts of one member share: what it has promised, the record that it keeps and what that says of it, its sessions, the ops
// under way, its surroundings. `Member` is the face of it all.

import { MessageType, RefusalReason } from '../wire/messages.ts';
import type { MemberEntry, VolumeRecord } from '../wire/record.ts';
import { compare, findMember, MemberState } from '../wire/record.ts';
import type { Rules } from '../wire/rules.ts';
import type { Version } from '../wire/version.ts';
import type { MemberStore, MemberTransport } from './member-interfaces.ts';
import type { MemberOptions } from './member-options.ts';
import { OpWindow } from './op-window.ts';
import { OrderedStream } from './ordered-stream.ts';
import { PendingCalls } from './pending-calls.ts';
import { Votes } from './votes.ts';

export interface MemberSurroundings {
  readonly options: MemberOptions;
  readonly store: MemberStore;
  readonly transport: MemberTransport;
  readonly rules: Rules;
}

export interface Session {
  readonly id: number;
  coordinatorId: string;
  /** The epoch whose record was stored on this session; -1 before. */
  attachedEpoch: number;
  /** N1: blocks taken since the session began. */
  takenBlocks: number;
}

export class MemberCore {
  readonly options: MemberOptions;
  readonly store: MemberStore;
  readonly transport: MemberTransport;
  readonly rules: Rules;

  promised: number;
  record: VolumeRecord | null;
  contig: Version;
  hint: Version;
  /** This member's own entry in `record`, where it names this store. */
  entry: MemberEntry | undefined;
  /** E7: the openings that this store knows it had. */
  readonly openIds: readonly string[];

  leaseUntilMs = Number.NEGATIVE_INFINITY;
  leaseTo = '';
  leaseEpoch = 0;
  /** E4. */
  readonly silentUntilMs: number;

  readonly sessions = new Map<number, Session>();
  readonly window = new OpWindow();
  installs = 0;
  readonly calls = new PendingCalls();

  readonly stream: OrderedStream;
  readonly votes: Votes;

  /** `nowMs`: when the store was opened. */
  constructor(nowMs: number, surroundings: MemberSurroundings) {
    const { options, store, transport, rules } = surroundings;
    this.options = options;
    this.store = store;
    this.transport = transport;
    this.rules = rules;
    const { opened } = store;
    this.promised = opened.promised;
    this.record = opened.record;
    this.contig = opened.contig;
    this.hint = opened.hint;
    if (!rules.E2_promiseDurable) this.promised = opened.record?.epoch ?? 0;
    this.entry = this.ownEntry(this.record);
    // The attached one is never forgotten, however often the store was opened while no coordinator came: `Votes.storeRecord` let
    // it in because the store remembered it then, so that the record is as good a proof as the list.
    const attached = this.entry?.openId ?? '';
    this.openIds =
      attached === '' || opened.openIds.includes(attached) || !rules.E7_attachedStays
        ? opened.openIds
        : [attached, ...opened.openIds];
    // E4: a lease granted before the restart may still run. A store that never promised has granted none.
    const silent = rules.E4_silenceAfterRestart && opened.promised > 0;
    this.silentUntilMs = silent ? nowMs + options.leaseMs : nowMs;
    this.stream = new OrderedStream(this);
    this.votes = new Votes(this);
  }

  self(): [string, string] {
    return [this.options.replicaId, this.store.opened.storeId];
  }

  ownEntry(record: VolumeRecord | null): MemberEntry | undefined {
    if (record === null) return undefined;
    const entry = findMember(record, this.options.replicaId);
    if (entry === undefined) return undefined;
    return entry.storeId === this.store.opened.storeId || !this.rules.E6_storeId
      ? entry
      : undefined;
  }

  /** W10: only a member in sync has everything below what it applies. */
  advanceContig(op: number): void {
    const record = this.record;
    if (record === null || this.entry?.state !== MemberState.InSync) return;
    this.raiseContig({ epoch: record.epoch, op });
  }

  raiseContig(version: Version): void {
    if (compare(version, this.contig) <= 0) return;
    this.contig = version;
    this.store.setContig(version.epoch, version.op);
  }

  /** W10: the highest `allApplied` that it was told. */
  hear(epoch: number, op: number): void {
    if (!this.rules.W10_hint) return;
    if (epoch > this.hint.epoch || (epoch === this.hint.epoch && op > this.hint.op)) {
      this.hint = { epoch, op };
    }
  }

  credit(from: Session): number {
    return from.takenBlocks + this.store.freeBlocks;
  }

  /** E2: refuses what is below the promise. */
  fenced(from: Session, message: { type: MessageType; epoch: number }, id: number): boolean {
    if (message.epoch >= this.promised || !this.rules.E2_fence) return false;
    this.refuse(from, message, id, RefusalReason.Fenced);
    return true;
  }

  refuse(
    from: Session,
    message: { type: MessageType; epoch?: number },
    id: number,
    reason: RefusalReason,
    retryAfterMs = 0,
  ): void {
    this.refuseId(from, message.type, message.epoch ?? 0, id, reason, retryAfterMs);
  }

  refuseId(
    from: Session,
    refusedType: MessageType,
    epoch: number,
    id: number,
    reason: RefusalReason,
    retryAfterMs = 0,
  ): void {
    this.transport.send(from.id, {
      type: MessageType.Refused,
      epoch,
      reason,
      refusedType,
      id,
      promised: reason === RefusalReason.Leased ? this.leaseEpoch : this.promised,
      retryAfterMs,
    });
  }

  /** E2, R1: of the promised epoch, on the session that stored its record. */
  notAttached(from: Session, message: { type: MessageType; epoch: number }, id: number): boolean {
    if (this.fenced(from, message, id)) return true;
    if (from.attachedEpoch === message.epoch) return false;
    this.refuse(from, message, id, RefusalReason.Protocol);
    return true;
  }
}
