// Heartbeats, and the lease that their answers give (E3).
import { MessageType } from '../../wire/messages.ts';
import { majorityOf } from '../../wire/record.ts';
import type { Core } from './core.ts';
import type { Peer } from './peer.ts';

export class Leases {
  readonly #core: Core;
  nextMs = 0;
  untilMs = Number.NEGATIVE_INFINITY;

  constructor(core: Core) {
    this.#core = core;
  }

  send(nowMs: number): void {
    const core = this.#core;
    this.nextMs = nowMs + core.config.heartbeatMs;
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
