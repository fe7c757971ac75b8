// Heartbeats, and the lease that their answers give (E3).
//
// A volume that nobody uses needs no lease: a thousand of them would say three thousand times a second that they are
// there. When all members are well and nothing has been asked for a while it is *quiet*: heartbeats become rare, and the
// lease lapses. What comes then sends heartbeats at once and waits for their answers, as after any other lapse: one round
// trip. Nothing is served in between, and a rival finds no lease in its way: so this takes nothing from E3 and E5.
import { MessageType } from '../../wire/messages.ts';
import { MemberState, majorityOf } from '../../wire/record.ts';
import type { Core } from './core.ts';
import { CoordinatorPhase } from './interfaces.ts';
import type { Peer } from './peer.ts';

export class Leases {
  readonly #core: Core;
  nextMs = 0;
  /** When somebody last asked something of the volume. */
  usedMs = Number.NEGATIVE_INFINITY;
  quiet = false;
  /** Quiet times that have begun so far. */
  spells = 0;
  #sentMs = Number.NEGATIVE_INFINITY;
  /** Since when there has been no pause between heartbeats: silence before it is nobody's fault (W4). */
  steadySinceMs = Number.NEGATIVE_INFINITY;
  untilMs = Number.NEGATIVE_INFINITY;
  /** Answers that no member takes part in, and that wait for a lease. */
  #confirming: ((serves: boolean) => void)[] = [];

  constructor(core: Core) {
    this.#core = core;
  }

  send(nowMs: number): void {
    const core = this.#core;
    const { heartbeatMs, quietHeartbeatMs } = core.config;
    const wasQuiet = this.quiet;
    this.quiet = this.#mayBeQuiet(nowMs);
    if (this.quiet && !wasQuiet) this.spells += 1;
    const quietUntilMs = this.#sentMs + quietHeartbeatMs;
    if (wasQuiet && this.quiet && nowMs < quietUntilMs) {
      this.nextMs = quietUntilMs; // All have answered the last one.
      return;
    }
    if (nowMs - this.#sentMs > 2 * heartbeatMs) this.steadySinceMs = nowMs;
    this.#sentMs = nowMs;
    // Also of a quiet volume: who has not answered by then is asked every time again, until it is late (W4).
    this.nextMs = nowMs + heartbeatMs;
    for (const peer of core.peers) {
      if (peer === undefined || (core.voters & peer.bit) === 0 || peer.hello === null) continue;
      if (peer.storedEpoch !== core.epoch && peer.promise === null) continue;
      core.transport.send(peer.index, {
        type: MessageType.Heartbeat,
        epoch: core.epoch,
        sentMs: nowMs,
        allAppliedEpoch: core.epoch,
        allAppliedOp: core.ring.first - 1,
      });
    }
  }

  /** Somebody wants something of the volume. Hot: nothing to do unless it was quiet. */
  use(nowMs: number): void {
    this.usedMs = nowMs;
    if (this.quiet) this.#rouse(nowMs);
  }

  #rouse(nowMs: number): void {
    const core = this.#core;
    this.quiet = false;
    if (core.phase !== CoordinatorPhase.Active) return;
    this.send(nowMs);
    core.wake(nowMs, core.config.heartbeatMs);
  }

  /** Everybody is there and has answered, nothing is under way, and nobody has asked for anything. */
  #mayBeQuiet(nowMs: number): boolean {
    const core = this.#core;
    const { record } = core;
    if (record === null || nowMs - this.usedMs < core.config.quietAfterMs) return false;
    if (core.leaving !== 0 || core.joining !== 0 || record.oldMembers.length > 0) return false;
    if (record.lossPending || core.isBusy || core.ring.first !== core.ring.next) return false;
    if (core.holding.held.length > 0 || core.flushes.pending.length > 0) return false;
    if (core.reads.table.liveCount > 0 || core.snapshots.running !== null) return false;
    if (core.repairs.running.size > 0 || core.holding.stopping !== null) return false;
    return record.members.every(({ replicaId, state, witness }) => {
      const peer = core.byReplica.get(replicaId);
      if (peer === undefined || !peer.connected || peer.hello === null) return false;
      if (!witness && state !== MemberState.InSync) return false;
      const isTold = peer.storedEpoch === core.epoch && peer.storedN === record.n;
      return isTold && peer.leaseSentMs >= Math.floor(this.#sentMs); // On the wire it has no fraction.
    });
  }

  onReply(nowMs: number, peer: Peer, sentMs: number): void {
    const core = this.#core;
    // E3: from *send* time.
    const fromMs = core.rules.E3_countFromSend ? sentMs : nowMs;
    if (fromMs <= peer.leaseSentMs) return;
    peer.leaseSentMs = fromMs;
    const lapsed = nowMs >= this.untilMs;
    this.update();
    if (lapsed) core.writes.recheckAll(nowMs);
    else core.reads.retryParked(nowMs);
    core.questions.onLease(nowMs);
    if (this.#confirming.length > 0 && this.#mayConfirm(nowMs)) this.endConfirms(true);
  }

  /**
   * E5, for an answer that no member takes part in: true under a lease, when nobody else can be active, and as soon as there is
   * one; false once this coordinator stops, is deposed, or closes its sessions.
   */
  confirm(nowMs: number, done: (serves: boolean) => void): void {
    const core = this.#core;
    core.nowMs = nowMs;
    const { expired, stopping } = core.holding;
    if (core.phase === CoordinatorPhase.Idle || expired || stopping !== null) {
      done(false);
      return;
    }
    this.use(nowMs);
    if (this.#mayConfirm(nowMs)) {
      done(true);
      return;
    }
    this.#confirming.push(done);
    core.holding.stall(nowMs);
  }

  #mayConfirm(nowMs: number): boolean {
    return this.#core.phase === CoordinatorPhase.Active && this.holds(nowMs);
  }

  endConfirms(serves: boolean): void {
    for (const done of this.#confirming.splice(0)) done(serves);
  }

  /** Until when a majority (of both lists, R5) has promised nobody else. */
  update(): void {
    const core = this.#core;
    const record = core.record!;
    const of = (replicas: readonly { readonly replicaId: string }[]): number => {
      const sent = replicas.map(
        ({ replicaId }) => core.byReplica.get(replicaId)?.leaseSentMs ?? -1e300,
      );
      sent.sort((a, b) => b - a);
      return sent[majorityOf(sent.length) - 1]!;
    };
    let fromMs = of(record.members);
    if (record.oldMembers.length > 0) fromMs = Math.min(fromMs, of(record.oldMembers));
    this.untilMs = fromMs + core.config.leaseMs * LEASE_SHARE;
  }

  holds(nowMs: number): boolean {
    return nowMs < this.untilMs || !this.#core.rules.E3_majorityAtArrival;
  }
}

/** E3: the coordinator uses three quarters of the members' time. */
const LEASE_SHARE = 0.75;
