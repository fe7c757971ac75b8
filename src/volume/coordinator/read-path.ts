// Reads (E3, W8, W9): under a lease, from a member in sync that has applied every acked op on the range; parked while
// there is none. Hedged and damaged ones go to another member.
import { type BlockOp, BlockOpKind, IoStatus } from '../../block/index.ts';
import { MessageType, type Read, type ReadDone } from '../../wire/messages.ts';
import type { Core } from './core.ts';
import { ReadPolicy } from './interfaces.ts';
import {
  QUICK_HEDGE_MS,
  QUICK_READ_MS,
  QUICK_RUN_DEPTH,
  QUICK_RUN_LEAD,
  QUICK_RUN_READS,
} from './limits.ts';
import type { Peer } from './peer.ts';
import { type ReadSlot, ReadTable } from './reads.ts';

export class ReadPath {
  readonly #core: Core;
  readonly table = new ReadTable();
  parked: BlockOp[] = [];
  #turn = 0;
  /** Whom the run under way goes to, or null: the next read begins one. */
  #last: Peer | null = null;
  /** Reads of that run. */
  #runReads = 0;
  /** Reads under way as each one begins, averaged over the last few. */
  #averageDepth = 0;
  /** How long a read takes at a member, averaged over the last few: not quick until known. */
  #averageMs = Number.POSITIVE_INFINITY;
  /** Sent for every read, filled anew each time. */
  readonly #message: Read = {
    type: MessageType.Read,
    epoch: 0,
    id: 0,
    lba: 0,
    blocks: 0,
    verifyOnly: false,
  };

  constructor(core: Core) {
    this.#core = core;
  }

  start(nowMs: number, op: BlockOp, tried: number): void {
    const peer = this.#core.leases.holds(nowMs) ? this.reader(op.lba, op.blocks, tried) : null;
    if (peer === null) {
      this.parked.push(op);
      this.#core.holding.stall(nowMs);
      return;
    }
    this.#send(nowMs, peer, op, tried);
  }

  #send(nowMs: number, peer: Peer, op: BlockOp, tried: number): ReadSlot {
    const core = this.#core;
    const slot = this.table.take(op, peer.index, nowMs, tried);
    peer.outstandingReads += 1;
    this.#averageDepth += (this.table.liveCount - this.#averageDepth) / 32;
    const message = this.#message;
    message.epoch = core.epoch;
    message.id = slot.id;
    message.lba = op.lba;
    message.blocks = op.blocks;
    message.verifyOnly = op.kind === BlockOpKind.Verify;
    core.transport.send(peer.index, message);
    const { hedgeMs } = this;
    if (hedgeMs > 0) core.wake(nowMs, hedgeMs);
    return slot;
  }

  /** W8: in sync, on its stream, with every acked op on the range applied. By policy among those. */
  reader(lba: number, blocks: number, tried: number): Peer | null {
    const core = this.#core;
    let best: Peer | null = null;
    let stays = false;
    const { length } = core.peers;
    this.#turn = (this.#turn + 1) % length;
    for (let step = 0; step < length; step += 1) {
      const peer = core.peers[(this.#turn + step) % length];
      if (peer === undefined || (tried & peer.bit) !== 0) continue;
      const eligible = core.rules.W8_onlyInSync ? core.inSync : core.inSync | core.joining;
      if ((eligible & ~core.leaving & peer.bit) === 0 || !peer.connected) continue;
      if (peer.lagOps > 0 && core.rules.W8_readsBehindAcks && this.#lacks(peer, lba, blocks))
        continue;
      if (peer === this.#last) stays = true;
      if (best === null) best = peer;
      else if (core.config.readPolicy === ReadPolicy.LeastOutstanding) {
        if (peer.outstandingReads < best.outstandingReads) best = peer;
      }
      if (core.config.readPolicy === ReadPolicy.RoundRobin) return best;
      if (
        core.config.readPolicy === ReadPolicy.LocalFirst &&
        peer.replicaId === core.config.localReplicaId
      ) {
        return peer;
      }
    }
    if (best === null || core.config.readPolicy !== ReadPolicy.LeastOutstanding) return best;
    // In runs: frames to one member leave in one system call and come back in one. What a host asks for in one go is a run, up to
    // half of what is under way: so all members have enough to do. Few reads go to the least busy, in turn.
    // Where reads are quick, as from memory or flash, what a member costs is its waking up and not the medium: a run goes on
    // across answers, for a while, as long as this member has not much more to do than another.
    const half = this.table.liveCount >> 1;
    const slack = this.#runsLong ? Math.max(QUICK_RUN_LEAD, half) : half;
    const last = this.#last;
    if (stays && last!.outstandingReads < best.outstandingReads + slack) {
      this.#runReads += 1;
      return last;
    }
    this.#last = best;
    this.#runReads = 1;
    return best;
  }

  /** After so long a read is asked of another member, too. 0: never. */
  get hedgeMs(): number {
    const { hedgeMs } = this.#core.config;
    return hedgeMs === 0 && this.#runsLong ? QUICK_HEDGE_MS : hedgeMs;
  }

  get #runsLong(): boolean {
    const { readPolicy } = this.#core.config;
    if (readPolicy !== ReadPolicy.LeastOutstanding) return false;
    return this.#averageMs < QUICK_READ_MS && this.#averageDepth >= QUICK_RUN_DEPTH;
  }

  #lacks(peer: Peer, lba: number, blocks: number): boolean {
    const core = this.#core;
    for (let number = core.ring.first; number < core.ring.next; number += 1) {
      const entry = core.ring.get(number)!;
      if ((entry.sentTo & peer.bit) === 0 || (entry.acks & peer.bit) !== 0) continue;
      if (entry.lba < lba + blocks && lba < entry.lba + entry.blocks) return true;
    }
    return false;
  }

  readTarget(peer: number, id: number): BlockOp | null {
    const slot = this.table.find(id);
    return slot !== null && slot.peer === peer ? slot.op : null;
  }

  onDone(nowMs: number, peer: Peer, message: ReadDone): void {
    const core = this.#core;
    if (!this.#runsLong || this.#runReads >= QUICK_RUN_READS) this.#last = null;
    const slot = this.table.find(message.id);
    if (slot === null || slot.peer !== peer.index) return;
    this.#note(nowMs - slot.sentMs);
    const { op } = slot;
    if (op === null) {
      this.give(slot); // Another member was faster.
      return;
    }
    if (message.status === IoStatus.Damaged) {
      this.#onDamaged(nowMs, peer, slot, message.failedLba);
      return;
    }
    if (message.status !== IoStatus.Ok) {
      core.members.drop(nowMs, peer, `a read failed there (status ${message.status})`);
      return;
    }
    // E3: the lease must hold when the data has arrived.
    if (!core.leases.holds(nowMs)) {
      this.retry(nowMs, slot, 0, true);
      return;
    }
    core.rebuilds.pace.note(nowMs - slot.sentMs);
    if (message.data !== null) core.host.fill(op, message.data);
    this.#finish(slot, op, IoStatus.Ok);
    core.holding.checkStopped(nowMs);
  }

  /** A read took so long. The average follows within some ten of them. */
  #note(ms: number): void {
    if (this.#averageMs === Number.POSITIVE_INFINITY) this.#averageMs = ms;
    else this.#averageMs += (ms - this.#averageMs) / 8;
  }

  #finish(slot: ReadSlot, op: BlockOp, status: IoStatus): void {
    const { hedged } = slot;
    this.give(slot);
    if (hedged) this.table.forget(op);
    this.#core.answer(op, status);
  }

  give(slot: ReadSlot): void {
    const peer = this.#core.peers[slot.peer];
    if (peer !== undefined && peer.outstandingReads > 0) peer.outstandingReads -= 1;
    this.table.give(slot);
  }

  /** The read goes elsewhere, or waits. `park`: nobody can serve it just now. */
  retry(nowMs: number, slot: ReadSlot, tried: number, park: boolean): void {
    const { op } = slot;
    const other = op !== null && this.table.hasOther(slot);
    this.give(slot);
    if (op === null || other) return;
    if (park) {
      this.parked.push(op);
      this.#core.holding.stall(nowMs);
    } else {
      this.start(nowMs, op, tried);
    }
  }

  retryParked(nowMs: number): void {
    const core = this.#core;
    const parked = this.parked;
    if (parked.length === 0 || !core.leases.holds(nowMs)) return;
    this.parked = [];
    for (const op of parked) this.start(nowMs, op, 0);
    if (this.parked.length === 0 && core.writes.ackable()) core.holding.unstall();
  }

  /** W9: another member delivers, and the damaged copy is mended from it (H3). */
  #onDamaged(nowMs: number, peer: Peer, slot: ReadSlot, failedLba: number): void {
    const core = this.#core;
    const op = slot.op!;
    const tried = slot.tried | peer.bit;
    // A hedge: the other member answers, and once; this copy is mended all the same.
    const isAnswered = this.table.hasOther(slot);
    this.give(slot);
    if (isAnswered) {
      core.repairs.mend(nowMs, peer, [{ lba: failedLba, snapshotId: null }]);
      return;
    }
    const next = core.leases.holds(nowMs) ? this.reader(op.lba, op.blocks, tried) : null;
    const read = next === null ? op : null;
    if (next !== null) this.#send(nowMs, next, op, tried);
    core.repairs.next(nowMs, {
      bad: peer.index,
      lba: failedLba,
      snapshotId: null,
      sources: core.repairs.sourcesOf(peer, null),
      read,
      asked: peer.index,
    });
  }

  hedge(nowMs: number): void {
    const core = this.#core;
    const { hedgeMs } = this;
    if (hedgeMs === 0) return;
    for (const slot of [...this.table.slots]) {
      if (!slot.live || slot.op === null || slot.hedged) continue;
      if (nowMs - slot.sentMs < hedgeMs || !core.leases.holds(nowMs)) continue;
      const { op } = slot;
      if (core.peers[slot.peer] === this.#last) this.#last = null;
      const other = this.reader(op.lba, op.blocks, slot.tried | core.peers[slot.peer]!.bit);
      if (other === null) continue;
      slot.hedged = true;
      this.#send(nowMs, other, op, slot.tried).hedged = true;
    }
  }
}
