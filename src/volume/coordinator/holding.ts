// Operations without a quorum are held (C10), sessions are closed when it has taken too long, and a stop waits until all
// are answered.
import { type BlockOp, BlockOpKind, IoStatus } from '../../block/index.ts';
import { MessageType } from '../../wire/messages.ts';
import type { Core } from './core.ts';
import { CoordinatorPhase } from './interfaces.ts';
import { POLL_MS } from './limits.ts';

export interface Held {
  readonly op: BlockOp;
  /** Members may have seen it, in an epoch before. */
  readonly issued: boolean;
}

export class Holding {
  readonly #core: Core;
  held: Held[] = [];
  stalledSinceMs = -1;
  expired = false;
  stopping: (() => void) | null = null;

  constructor(core: Core) {
    this.#core = core;
  }

  /** C6: what no member has seen takes no effect. What one may have seen ends when it is settled. */
  withdraw(op: BlockOp): boolean {
    const index = this.held.findIndex((held) => held.op === op && !held.issued);
    if (index < 0) return false;
    this.held.splice(index, 1);
    return true;
  }

  stall(nowMs: number): void {
    if (this.stalledSinceMs < 0) this.stalledSinceMs = nowMs;
    this.#core.wake(nowMs, POLL_MS);
  }

  unstall(): void {
    const core = this.#core;
    if (core.reads.parked.length > 0 || this.held.length > 0) return;
    this.stalledSinceMs = -1;
    core.recovery.waitingFor = '';
    if (!this.expired) return;
    this.expired = false;
    core.host.onServing();
  }

  /** C10: the sessions are closed unanswered, and what they had under way is settled by a recovery (C4, C6). */
  expire(nowMs: number): void {
    const core = this.#core;
    this.expired = true;
    core.host.onHoldExpired();
    if (core.phase === CoordinatorPhase.Active) core.recovery.collect(nowMs, 0);
    this.endHeld();
    this.stalledSinceMs = nowMs;
  }

  endHeld(): void {
    for (const { op } of this.held.splice(0)) this.#core.answer(op, IoStatus.Offline);
    this.#core.leases.endConfirms(false);
  }

  /** Every operation without an answer is held again, in the order of its version: to be issued as a new op (V8). */
  requeueEverything(): void {
    const core = this.#core;
    const ops: Held[] = [];
    for (let number = core.ring.first; number < core.ring.next; number += 1) {
      const entry = core.ring.get(number)!;
      if (entry.op !== null) ops.push({ op: entry.op, issued: true });
      entry.op = null;
    }
    for (const { op } of core.flushes.pending.splice(0)) ops.push({ op, issued: true });
    for (const slot of core.reads.table.slots) {
      if (!slot.live) continue;
      const { op } = slot;
      if (op !== null && !ops.some((held) => held.op === op)) ops.push({ op, issued: true });
      core.reads.give(slot);
    }
    for (const op of core.reads.parked.splice(0)) ops.push({ op, issued: true });
    for (const { read } of core.repairs.running.values())
      if (read !== null) ops.push({ op: read, issued: true });
    core.repairs.running.clear();
    this.held = [...ops, ...this.held];
  }

  /**
   * C8: a SYNC or FUA that waits while a loss is declared came from a session that outlives it: it would speak for writes that
   * are gone. None of them is issued in this epoch, and what they did before is settled (C6).
   */
  failSyncs(): void {
    const { held } = this;
    const isSync = ({ op }: Held): boolean => op.kind === BlockOpKind.Flush || op.fua;
    this.held = held.filter((one) => !isSync(one));
    for (const one of held) if (isSync(one)) this.#core.answer(one.op, IoStatus.IoError);
  }

  checkStopped(nowMs: number): void {
    const core = this.#core;
    if (this.stopping === null) return;
    const idle =
      this.held.length === 0 &&
      core.reads.parked.length === 0 &&
      core.flushes.pending.length === 0 &&
      core.reads.table.liveCount === 0 &&
      core.repairs.running.size === 0 &&
      !this.#unanswered();
    if (core.phase === CoordinatorPhase.Active && !idle) return;
    const done = this.stopping;
    this.stopping = null;
    if (core.phase === CoordinatorPhase.Active) {
      for (const peer of core.peers) {
        if (peer?.connected) {
          core.transport.send(peer.index, { type: MessageType.ReleaseLease, epoch: core.epoch });
        }
      }
    }
    core.recovery.leaveEpoch(nowMs);
    core.recovery.servedEpoch = 0;
    core.setPhase(CoordinatorPhase.Idle);
    core.wakeAtMs = Number.POSITIVE_INFINITY;
    this.endHeld();
    for (const control of core.controls.queue.splice(0)) control.done('the volume is stopped');
    core.questions.unask(null);
    done();
  }

  #unanswered(): boolean {
    const core = this.#core;
    for (let number = core.ring.first; number < core.ring.next; number += 1) {
      if (core.ring.get(number)!.op !== null) return true;
    }
    return false;
  }
}
