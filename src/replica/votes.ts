// A member's word: the epochs that it promises (E2-E4) and the record that it keeps (R1), each durable before anybody hears of it.
import { assert } from '../base/index.ts';
import { IoStatus } from '../block/index.ts';
import { MessageType, type Prepare, RefusalReason, type StoreRecord } from '../wire/messages.ts';
import { compareRecords, MemberState, recordNames, type VolumeRecord } from '../wire/record.ts';
import type { Rules } from '../wire/rules.ts';
import { maxVersion, type Version } from '../wire/version.ts';
import type { MemberCore, Session } from './member-core.ts';
import { PendingKind } from './pending-calls.ts';

export class Votes {
  readonly #core: MemberCore;

  constructor(core: MemberCore) {
    this.#core = core;
  }

  prepare(nowMs: number, from: Session, message: Prepare): void {
    const core = this.#core;
    // E6: a blank store has no vote.
    if (
      core.rules.E6_storeId &&
      (core.record === null || !recordNames(core.record, ...core.self()))
    ) {
      core.refuse(from, message, 0, RefusalReason.Blank);
      return;
    }
    // E2: once, to one, and only higher.
    if (message.epoch <= core.promised) {
      core.refuse(from, message, 0, RefusalReason.Fenced);
      return;
    }
    if (
      core.rules.E3_leaseRefusesPromises &&
      nowMs < core.leaseUntilMs &&
      core.leaseTo !== message.coordinatorId
    ) {
      core.refuse(from, message, 0, RefusalReason.Leased, core.leaseUntilMs - nowMs);
      return;
    }
    if (nowMs < core.silentUntilMs) {
      core.refuse(from, message, 0, RefusalReason.JustStarted, core.silentUntilMs - nowMs);
      return;
    }
    core.promised = message.epoch; // From here on everything lower is refused; answered when durable.
    core.stream.startBarrier(from.id, message);
  }

  promiseSaved(session: number, status: IoStatus): void {
    const core = this.#core;
    const from = core.sessions.get(session);
    const message = core.stream.barrier!.message;
    assert(message.type === MessageType.Prepare);
    if (status !== IoStatus.Ok) {
      if (from !== undefined) core.refuse(from, message, 0, RefusalReason.Faulted);
      return;
    }
    if (from === undefined) return;
    const { opened } = core.store;
    core.transport.send(session, {
      type: MessageType.PromiseMade,
      epoch: message.epoch,
      storeId: opened.storeId,
      openId: opened.openId,
      openIds: core.openIds,
      bootId: opened.bootId,
      record: core.record,
      contig: core.contig,
      hint: core.hint,
      snapshots: core.store.snapshots(),
      credit: core.credit(from),
    });
  }

  storeRecord(from: Session, message: StoreRecord): void {
    const core = this.#core;
    if (core.fenced(from, message, 0)) return;
    const { record } = message;
    const known = core.ownEntry(record);
    // E6: for another store than this one; E7: attached to an opening that this store does not remember.
    if (core.rules.E6_storeId && !recordNames(record, ...core.self())) {
      core.refuse(from, message, 0, RefusalReason.Blank);
      return;
    }
    if (
      core.rules.E7_openId &&
      known !== undefined &&
      known.openId !== '' &&
      !core.openIds.includes(known.openId)
    ) {
      core.refuse(from, message, 0, RefusalReason.Blank);
      return;
    }
    const older = core.record !== null && compareRecords(record, core.record) < 0;
    const counted = known !== undefined && known.state !== MemberState.Stale;
    if ((older && core.rules.E2_fence) || (counted && core.window.failed > 0)) {
      // Something failed here since: a record that counts on this member would be a lie.
      core.refuse(from, message, 0, older ? RefusalReason.Protocol : RefusalReason.Faulted);
      return;
    }
    if (message.epoch > core.promised) {
      core.promised = message.epoch; // Durable with the record.
      // E3: whoever held a lease of a lower epoch has lost its majority before this epoch could become active.
      if (core.leaseTo !== from.coordinatorId) core.leaseUntilMs = Number.NEGATIVE_INFINITY;
    }
    core.stream.startBarrier(from.id, message);
  }

  /** R1: everything before is applied and flushed. */
  saveRecord(): void {
    const core = this.#core;
    const { session, message } = core.stream.barrier!;
    assert(message.type === MessageType.StoreRecord);
    const { record } = message;
    const entry = core.ownEntry(record);
    if (entry?.state === MemberState.InSync) {
      // In sync in it: everything up to the record's place in the stream is here.
      core.raiseContig({ epoch: message.epoch, op: message.op });
    }
    // P3: a snapshot that the record does not name does not exist.
    const named = new Set(record.snapshots.map((snapshot) => snapshot.id));
    const drop = core.rules.P3_unnamedDeleted
      ? [...core.store.snapshots(), ...core.store.branches()].filter((id) => !named.has(id))
      : [];
    core.store.saveRecord(
      record,
      core.hint,
      holeFloorOf(record, core.rules),
      drop,
      core.calls.begin(PendingKind.SaveRecord, session, message.epoch, 0),
    );
  }

  recordSaved(): void {
    const core = this.#core;
    const { session, message } = core.stream.barrier!;
    assert(message.type === MessageType.StoreRecord);
    core.record = message.record;
    core.entry = core.ownEntry(message.record);
    if (core.window.running === 0) core.window.reset();
    const from = core.sessions.get(session);
    if (from === undefined) return;
    from.attachedEpoch = message.epoch;
    core.transport.send(session, {
      type: MessageType.RecordStored,
      epoch: message.epoch,
      n: message.record.n,
      snapshots: core.store.snapshots(),
    });
  }

  recordFailed(nowMs: number): void {
    const core = this.#core;
    const { session, message } = core.stream.barrier!;
    const from = core.sessions.get(session);
    if (from !== undefined) core.refuse(from, message, 0, RefusalReason.Faulted);
    core.stream.endBarrier(nowMs);
  }
}

/** B7. Switched off: a hole loses its version as soon as it is applied everywhere that counts. */
function holeFloorOf(record: VolumeRecord, rules: Rules): Version {
  return rules.B7_holeFloor ? record.holeFloor : maxVersion(record.holeFloor, record.allApplied);
}
