// SYNC (W5): a marker to all counted, done when enough have flushed all before it.
import { type BlockOp, IoStatus } from '../../block/index.ts';
import { type Flushed, MessageType } from '../../wire/messages.ts';
import type { Core } from './core.ts';
import type { Peer } from './peer.ts';

export interface PendingFlush {
  readonly op: BlockOp;
  id: number;
  acks: number;
  sentMs: number;
}

export class Flushes {
  readonly #core: Core;
  pending: PendingFlush[] = [];

  constructor(core: Core) {
    this.#core = core;
  }

  start(nowMs: number, op: BlockOp): void {
    const flush: PendingFlush = { op, id: 0, acks: 0, sentMs: nowMs };
    this.pending.push(flush);
    this.#send(nowMs, flush);
  }

  /** W5: a marker to all counted. */
  #send(nowMs: number, flush: PendingFlush): void {
    const core = this.#core;
    flush.id = core.nextId++;
    flush.acks = 0;
    flush.sentMs = nowMs;
    for (const peer of core.peers) {
      if (peer === undefined || !core.counts(peer) || (core.leaving & peer.bit) !== 0) continue;
      core.transport.send(peer.index, {
        type: MessageType.Flush,
        epoch: core.epoch,
        id: flush.id,
      });
    }
  }

  /** Other members count now: their markers must be behind what they have got. */
  restart(nowMs: number): void {
    for (const flush of this.pending) this.#send(nowMs, flush);
  }

  onFlushed(nowMs: number, peer: Peer, message: Flushed): void {
    if (message.status !== IoStatus.Ok) {
      this.#core.members.drop(nowMs, peer, `a flush failed there (status ${message.status})`); // S9, W4.
      return;
    }
    const flush = this.pending.find(({ id }) => id === message.id);
    if (flush === undefined) return;
    flush.acks |= peer.bit;
    this.tryEnd(flush);
    this.#core.holding.checkStopped(nowMs);
  }

  tryEnd(flush: PendingFlush): void {
    const core = this.#core;
    if (!core.writes.ackable()) return;
    const enough = core.rules.W5_quorumFlushed ? core.writes.enough(flush.acks) : flush.acks !== 0;
    if (!enough) return;
    this.pending.splice(this.pending.indexOf(flush), 1);
    core.rebuilds.pace.note(core.nowMs - flush.sentMs);
    core.answer(flush.op, IoStatus.Ok);
  }
}
