// Who stays in sync (W4), and the changes of the record that are due: detach, join, promote, and what was asked for.
import { compare, MemberState } from '../../wire/record.ts';
import { minVersion, type Version, ZERO_VERSION } from '../../wire/version.ts';
import type { Core } from './core.ts';
import { AlarmKind, CoordinatorPhase } from './interfaces.ts';
import { LEAST_JOIN_PAUSE_MS, MOST_JOIN_PAUSE_MS } from './limits.ts';
import type { Peer } from './peer.ts';
import { detached, joined, nextRecord, promoted } from './record-change.ts';

export class Members {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  onDisconnected(nowMs: number, index: number, why = 'its connection ended'): void {
    const core = this.#core;
    core.nowMs = nowMs;
    const peer = core.peers[index];
    if (peer === undefined || !peer.connected) return;
    peer.endSession();
    switch (core.phase) {
      case CoordinatorPhase.Reconciling:
      case CoordinatorPhase.Activating: {
        // V4, V5: what the activation stands on is gone.
        const used = core.recovery.adoption!.trusted.some(
          ({ replicaId }) => replicaId === peer.replicaId,
        );
        if (used) core.recovery.collect(nowMs, 0);
        return;
      }
      case CoordinatorPhase.Active:
        this.#lost(nowMs, peer, why);
        return;
      default:
        return;
    }
  }

  /** W4: a counted member is gone, or no longer to be relied on. */
  #lost(nowMs: number, peer: Peer, why: string): void {
    const core = this.#core;
    const rebuild = core.rebuilds.running.get(peer.index);
    if (rebuild !== undefined) {
      rebuild.sync?.abandon();
      core.rebuilds.running.delete(peer.index);
      const pauseMs = LEAST_JOIN_PAUSE_MS * 2 ** peer.failedJoins;
      peer.joinAtMs = nowMs + Math.min(MOST_JOIN_PAUSE_MS, pauseMs);
      peer.failedJoins = Math.min(peer.failedJoins + 1, 10);
    }
    for (const slot of core.reads.table.slots) {
      if (slot.live && slot.peer === peer.index) core.reads.retry(nowMs, slot, 0, false);
    }
    for (const other of core.rebuilds.running.values()) {
      if (other.sync === null) continue;
      // B4: what comes back under this index is not in sync, so it is asked for nothing; and an answer that is still due
      // would be waited for in vain.
      const [lister] = other.sources;
      const { B4_sourcesInSync: all } = core.rules;
      if (all ? other.sources.includes(peer.index) : lister === peer.index) {
        other.sync.abandon();
        other.sync = null;
      }
    }
    // A repair that asked it hears no answer: another source is asked, and a read that waits goes on without it.
    for (const [id, repair] of [...core.repairs.running]) {
      if (repair.asked !== peer.index && repair.bad !== peer.index) continue;
      core.repairs.running.delete(id);
      if (repair.bad !== peer.index) core.repairs.next(nowMs, repair);
      else if (repair.read !== null) core.reads.start(nowMs, repair.read, 0);
    }
    core.missed.end(peer);
    core.questions.endMapQueries(peer.index);
    core.questions.unask(peer);
    for (const [id, scrub] of [...core.scrubs.running]) {
      if ((scrub.sentTo & peer.bit) === 0) continue;
      core.scrubs.running.delete(id);
      scrub.done('a member was lost meanwhile');
    }
    // What it applied on the session that ended counts no more (W3): should it come back, it comes as a joiner, which is
    // trusted with nothing below its `j`. What it had applied without a gap is where it will be stale from (B1).
    peer.contigAtLoss = this.#contigOf(peer);
    for (let number = core.ring.first; number < core.ring.next; number += 1) {
      const entry = core.ring.get(number)!;
      entry.sentTo &= ~peer.bit;
      if (core.rules.W3_sessionEnds) entry.acks &= ~peer.bit;
    }
    if (core.rules.W3_sessionEnds) {
      for (const flush of core.flushes.pending) flush.acks &= ~peer.bit;
    }
    const proposed = core.proposal !== null && (core.proposal.counted & peer.bit) !== 0;
    if (core.counts(peer)) {
      peer.lastFault = why;
      core.leaving |= peer.bit;
      core.host.onAlarm(AlarmKind.MemberDetached, peer.replicaId, 0, why);
    }
    if (proposed) {
      core.recovery.collect(nowMs, 0); // R3: it will never store what is proposed.
      return;
    }
    core.leases.use(nowMs);
    core.holding.stall(nowMs);
    this.advance(nowMs);
    core.rebuilds.start(nowMs);
  }

  drop(nowMs: number, peer: Peer, why: string): void {
    if (!peer.connected) return;
    peer.lastFault = why;
    this.#core.transport.disconnect(peer.index);
    this.onDisconnected(nowMs, peer.index, why);
  }

  /** Proposes the next change that is due. One record at a time (R3). */
  advance(nowMs: number): void {
    const core = this.#core;
    if (core.phase !== CoordinatorPhase.Active || core.proposal !== null) return;
    const record = core.record!;
    if (core.leaving !== 0) {
      this.#detach(nowMs);
      return;
    }
    if (record.oldMembers.length > 0) {
      core.records.propose(nowMs, nextRecord(record, { oldMembers: [] }), null); // R5: the second record.
      return;
    }
    if (record.lossPending && core.rules.V7_lossStays) {
      core.records.propose(nowMs, nextRecord(record, {}), null);
      return;
    }
    if (core.snapshots.running !== null) {
      core.snapshots.advance(nowMs);
      return;
    }
    for (const rebuild of core.rebuilds.running.values()) {
      if (rebuild.copied && (core.joining & rebuild.peer.bit) !== 0) {
        core.records.propose(
          nowMs,
          promoted(record, rebuild.peer.replicaId, record.snapshots),
          null,
        ); // B5.
        return;
      }
    }
    for (const member of record.members) {
      if (member.witness || member.state !== MemberState.Stale) continue;
      const peer = core.byReplica.get(member.replicaId)!;
      if (peer.hello === null || peer.blank || core.controls.expelled(peer)) continue;
      if (nowMs < peer.joinAtMs) continue;
      if (peer.storedEpoch !== core.epoch || peer.storedN !== record.n) continue;
      this.#join(nowMs, peer, member.since);
      return;
    }
    if (core.missed.advance(nowMs)) return;
    core.controls.next(nowMs);
  }

  #detach(nowMs: number): void {
    const core = this.#core;
    const record = core.record!;
    if ((core.inSync & ~core.leaving) === 0) {
      core.recovery.collect(nowMs, 0); // Nobody left to be in sync: recovery decides who is.
      return;
    }
    let all = core.ring.next - 1;
    const leavers = new Map<string, Version>();
    for (const peer of core.peers) {
      if (peer === undefined) continue;
      if ((core.leaving & peer.bit) !== 0) {
        leavers.set(peer.replicaId, { epoch: core.epoch, op: peer.contigAtLoss });
      } else if ((core.inSync & peer.bit) !== 0) {
        all = Math.min(all, this.#contigOf(peer));
      }
    }
    core.records.propose(
      nowMs,
      detached(record, leavers, { epoch: core.epoch, op: all }, core.rules),
      null,
    );
  }

  /** Every op up to it has been applied there. */
  #contigOf(peer: Peer): number {
    const core = this.#core;
    for (let number = core.ring.first; number < core.ring.next; number += 1) {
      const entry = core.ring.get(number)!;
      if ((entry.sentTo & peer.bit) !== 0 && (entry.acks & peer.bit) === 0) return number - 1;
    }
    return core.ring.next - 1;
  }

  #join(nowMs: number, peer: Peer, recorded: Version): void {
    const core = this.#core;
    // B1: less, if it says itself that it lost something; B7: from zero, if holes it may lack have no version any more.
    let since = core.rules.B1_returningContig ? minVersion(recorded, peer.hello!.contig) : recorded;
    const { B7_holeFloor: kept, B7_fromZero: all } = core.rules;
    if (kept && all && compare(since, core.record!.holeFloor) < 0) since = ZERO_VERSION;
    const join = { epoch: core.epoch, op: core.ring.next };
    const copied = !core.rules.B5_allCopied;
    core.rebuilds.running.set(peer.index, { peer, join, since, sync: null, sources: [], copied });
    core.records.propose(
      nowMs,
      joined(core.record!, peer.replicaId, peer.hello!, join, since, core.rules),
      null,
    );
  }

  /** W4: who is late is detached: with an op, a flush, a read or a heartbeat. */
  checkLag(nowMs: number): void {
    const core = this.#core;
    const { lagMs, lagBytes } = core.config;
    for (const peer of core.peers) {
      if (peer === undefined || !peer.connected || !core.counts(peer)) continue;
      // Its answers may have come while nobody read them.
      const { steadySinceMs } = core.leases;
      const silentSinceMs = Math.max(peer.lastHeardMs, steadySinceMs);
      const oldestMs = Math.max(this.#oldestMs(peer, nowMs), steadySinceMs);
      if (peer.lagBytes > lagBytes) {
        this.drop(nowMs, peer, `it lags by ${peer.lagBytes} bytes`);
      } else if (nowMs - silentSinceMs > lagMs || nowMs - oldestMs > lagMs) {
        this.drop(nowMs, peer, `it lags by more than ${lagMs} ms`);
      }
      if (core.phase !== CoordinatorPhase.Active) return;
    }
  }

  /** When the oldest thing was sent that it has not answered. */
  #oldestMs(peer: Peer, nowMs: number): number {
    const core = this.#core;
    let oldest = nowMs;
    if (peer.lagOps > 0) {
      for (let number = core.ring.first; number < core.ring.next; number += 1) {
        const entry = core.ring.get(number)!;
        if ((entry.sentTo & peer.bit) === 0 || (entry.acks & peer.bit) !== 0) continue;
        oldest = entry.issuedMs;
        break;
      }
    }
    for (const flush of core.flushes.pending) {
      if ((flush.acks & peer.bit) === 0) oldest = Math.min(oldest, flush.sentMs);
    }
    if (peer.outstandingReads > 0) {
      for (const slot of core.reads.table.slots) {
        if (slot.live && slot.peer === peer.index) oldest = Math.min(oldest, slot.sentMs);
      }
    }
    return oldest;
  }
}
