// Records (R1-R3, R5): one is proposed at a time, stored first by those it counts, committed, enforced.
import { assert } from '../../base/index.ts';
import { MessageType, type RecordStored } from '../../wire/messages.ts';
import { findMember, MemberState, majorityOf, type VolumeRecord } from '../../wire/record.ts';
import type { Core } from './core.ts';
import { AlarmKind, CoordinatorPhase } from './interfaces.ts';
import { POLL_MS } from './limits.ts';
import { bitCount, type Peer } from './peer.ts';

export interface Proposal {
  readonly record: VolumeRecord;
  readonly counted: number;
  readonly sentMs: number;
  acks: number;
  /** R2: those that it does not count have been sent it. */
  sentRest: boolean;
  readonly onCommit: (() => void) | null;
}

export class Records {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** R1-R3: in the stream, first to those it counts; acks stop until it is committed. */
  propose(nowMs: number, record: VolumeRecord, onCommit: (() => void) | null): void {
    const core = this.#core;
    assert(core.proposal === null);
    const counted = core.countedMask(record);
    core.proposal = { record, counted, sentMs: nowMs, acks: 0, sentRest: false, onCommit };
    for (const peer of core.peers) {
      if (peer === undefined || peer.hello === null) continue;
      const first = (counted & peer.bit) !== 0;
      if (first || (!core.rules.R2_countedFirst && core.isNamed(record, peer.replicaId))) {
        this.#sendRecord(peer, record);
      }
    }
    if (!core.rules.R2_countedFirst) core.proposal.sentRest = true;
    this.#sendRest();
    core.wake(nowMs, POLL_MS);
    if (!core.rules.B3_copyAfterCommit) core.rebuilds.start(nowMs);
  }

  #sendRecord(peer: Peer, record: VolumeRecord): void {
    const core = this.#core;
    peer.sentN = record.n;
    core.transport.send(peer.index, {
      type: MessageType.StoreRecord,
      epoch: core.epoch,
      op: core.ring.next - 1,
      record,
    });
  }

  #sendRest(): void {
    const proposal = this.#core.proposal!;
    if (proposal.sentRest || (proposal.counted & ~proposal.acks) !== 0) return;
    proposal.sentRest = true;
    for (const peer of this.#core.peers) {
      if (peer === undefined || (proposal.counted & peer.bit) !== 0) continue;
      if (this.#mayStore(peer, proposal.record)) this.#sendRecord(peer, proposal.record);
    }
  }

  /** A store that the record names, and that has not promised more. */
  #mayStore(peer: Peer, record: VolumeRecord): boolean {
    const core = this.#core;
    if (peer.hello === null || !core.isNamed(record, peer.replicaId)) return false;
    return core.storeMatches(peer, record) || !core.rules.E6_storeId;
  }

  onStored(nowMs: number, peer: Peer, { n, snapshots }: RecordStored): void {
    const core = this.#core;
    peer.storedEpoch = core.epoch;
    peer.storedN = n;
    peer.blank = false;
    const proposal = core.proposal;
    // E6: with its first record a store that came blank has a vote, in this very session.
    if (peer.hello?.record === null) {
      peer.hello = { ...peer.hello, record: proposal?.record ?? core.record };
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
    core.members.advance(nowMs);
  }

  /** R2, R5: all it counts, a majority of its members, and of the list before while a change is under way. */
  #isCommitted(proposal: Proposal): boolean {
    const core = this.#core;
    const { record, acks, counted } = proposal;
    if (core.rules.R2_allCounted && (counted & ~acks) !== 0) return false;
    let have = 0;
    for (const member of record.members) {
      const peer = core.byReplica.get(member.replicaId);
      if (peer !== undefined && (acks & peer.bit) !== 0 && core.storeIs(peer, member.storeId))
        have += 1;
    }
    if (have < majorityOf(record.members.length)) return false;
    if (record.oldMembers.length === 0) return true;
    let old = 0;
    for (const member of record.oldMembers) {
      const peer = core.byReplica.get(member.replicaId);
      if (peer !== undefined && (acks & peer.bit) !== 0 && core.storeIs(peer, member.storeId))
        old += 1;
    }
    return old >= majorityOf(record.oldMembers.length);
  }

  #commit(nowMs: number): void {
    const core = this.#core;
    const { record, onCommit } = core.proposal!;
    core.proposal = null;
    this.#enforce(record);
    core.missed.recordCommitted();
    if (core.phase === CoordinatorPhase.Activating) {
      this.#goActive(nowMs);
      return;
    }
    onCommit?.();
    core.rebuilds.start(nowMs);
    for (const rebuild of [...core.rebuilds.running.values()]) {
      if ((core.inSync & rebuild.peer.bit) === 0) continue;
      rebuild.peer.failedJoins = 0;
      rebuild.peer.mapLostIn = '';
      core.rebuilds.running.delete(rebuild.peer.index);
    }
    core.leaving &= core.inSync | core.joining;
    for (const peer of core.peers) {
      if (peer === undefined) continue;
      if (core.counts(peer) && !peer.connected) core.leaving |= peer.bit;
      // Who came while this record was under way may not have been sent it.
      if (peer.hello !== null && !core.counts(peer) && peer.sentN < record.n) {
        this.bringUpToDate(nowMs, peer);
      }
    }
    core.writes.issueAnew(nowMs);
    core.flushes.restart(nowMs);
    core.members.advance(nowMs);
    core.writes.recheckAll(nowMs);
  }

  #enforce(record: VolumeRecord): void {
    const core = this.#core;
    core.record = record;
    core.inSync = 0;
    core.joining = 0;
    core.voters = 0;
    core.hasWitness = false;
    for (const member of record.members) {
      const peer = core.byReplica.get(member.replicaId)!;
      core.voters |= peer.bit;
      if (member.witness) core.hasWitness = true;
      else if (member.state === MemberState.InSync) core.inSync |= peer.bit;
      else if (member.state === MemberState.Joining) core.joining |= peer.bit;
    }
    core.need = core.writes.needFor(record, bitCount(core.inSync | core.joining));
    core.leases.update();
    core.host.onRecord(record);
  }

  #goActive(nowMs: number): void {
    const core = this.#core;
    core.setPhase(CoordinatorPhase.Active);
    core.recovery.adoption = null;
    core.recovery.servedEpoch = core.epoch;
    core.recovery.backoffs = 0;
    core.leaving = 0;
    core.leases.nextMs = nowMs;
    for (const peer of core.peers) {
      if (peer === undefined) continue;
      if (core.counts(peer) && !peer.connected) core.leaving |= peer.bit;
      if (peer.hello !== null && !core.counts(peer)) this.bringUpToDate(nowMs, peer);
    }
    core.recovery.forced?.(null);
    core.recovery.forced = null;
    if (core.record!.lossPending) {
      core.host.onLossDeclared(); // C8; V7: the next record says that it was.
      if (core.rules.C8_underWayFails) core.holding.failSyncs();
    }
    core.leases.send(nowMs);
    core.members.advance(nowMs);
    core.writes.pump(nowMs);
  }

  /** V3: a returning member first stores the record that says what it is worth; then it may join (B3). */
  bringUpToDate(nowMs: number, peer: Peer): void {
    const core = this.#core;
    const proposal = core.proposal;
    const record = proposal?.sentRest ? proposal.record : core.record!;
    if (core.phase === CoordinatorPhase.Activating) {
      if (proposal === null || !proposal.sentRest || !this.#mayStore(peer, record)) return;
      this.#sendRecord(peer, record);
      return;
    }
    if (!core.isNamed(record, peer.replicaId)) return;
    const entry = findMember(record, peer.replicaId);
    if (entry !== undefined && !core.storeMatches(peer, record)) {
      peer.blank = true; // E6, B8: another store under the same name.
      peer.lastFault = 'its store is not the one that the record names';
      core.host.onAlarm(AlarmKind.ForeignStore, peer.replicaId, 0, peer.lastFault);
      return;
    }
    // It counts, and has begun a new session: it was lost in between, and must be detached first. By a record that waits for
    // nobody else's word, it may: of two members it takes both to store the one that leaves one of them out.
    const isLeftOut = proposal?.sentRest === true && (proposal.counted & peer.bit) === 0;
    const isCounted =
      core.counts(peer) || (proposal !== null && (proposal.counted & peer.bit) !== 0);
    if (isCounted && !isLeftOut) {
      core.leaving |= core.counts(peer) ? peer.bit : 0;
      core.members.advance(nowMs);
      return;
    }
    this.#sendRecord(peer, record);
  }
}
