// Changes of hosts (W2-W4, N1): given a number, sent to all that count, acked when enough have applied them.
import { type BlockOp, BlockOpKind, IoStatus } from '../../block/index.ts';
import { type Apply, ChangeKind, MessageType } from '../../wire/messages.ts';
import { majorityOf, type VolumeRecord } from '../../wire/record.ts';
import { MAX_OP_NUMBER } from '../../wire/version.ts';
import type { Core } from './core.ts';
import { AlarmKind, CoordinatorPhase, MAP_LOST, SyncPolicy } from './interfaces.ts';
import type { RingEntry } from './op-ring.ts';
import { bitCount, type Peer } from './peer.ts';
import { isWriteCacheOff } from './write-cache.ts';

export class WritePath {
  readonly #core: Core;
  #pumping = false;
  /** Sent for every change, filled anew each time. */
  readonly #message: Apply = {
    type: MessageType.Apply,
    epoch: 0,
    op: 0,
    kind: ChangeKind.Write,
    lba: 0,
    blocks: 0,
    fua: false,
    allAppliedOp: 0,
    crcs: null,
    data: null,
    dataByteOffset: 0,
  };

  constructor(core: Core) {
    this.#core = core;
  }

  submit(nowMs: number, op: BlockOp): void {
    const core = this.#core;
    core.nowMs = nowMs;
    if (
      core.phase === CoordinatorPhase.Idle ||
      core.holding.expired ||
      core.holding.stopping !== null
    ) {
      op.lower.onBlockDone(op, IoStatus.Offline);
      return;
    }
    core.leases.use(nowMs);
    const reads = op.kind === BlockOpKind.Read || op.kind === BlockOpKind.Verify;
    if (reads && core.phase === CoordinatorPhase.Active) {
      core.reads.start(nowMs, op, 0);
      return;
    }
    if (core.holding.held.length > 0 || !this.#issue(nowMs, op)) {
      core.holding.held.push({ op, issued: false });
      core.holding.stall(nowMs);
    }
  }

  /** False: it must be held. */
  #issue(nowMs: number, op: BlockOp): boolean {
    const core = this.#core;
    if (core.phase !== CoordinatorPhase.Active) return false;
    switch (op.kind) {
      case BlockOpKind.Read:
      case BlockOpKind.Verify:
        core.reads.start(nowMs, op, 0);
        return true;
      case BlockOpKind.Flush:
        if (core.need === Number.POSITIVE_INFINITY) return false;
        core.flushes.start(nowMs, op);
        return true;
      default:
        return this.#issueChange(nowMs, op);
    }
  }

  /** W2: the version is given here; every counted member gets the op, and whoever a proposal counts. */
  #issueChange(nowMs: number, op: BlockOp): boolean {
    const core = this.#core;
    const { record } = core;
    // R5: acks wait for the second record of a member change; W3: fewer than q count, the op waits for a joiner.
    if (core.need === Number.POSITIVE_INFINITY) return false;
    if (record!.oldMembers.length > 0 && core.rules.R5_acksWait) return false;
    let to = (core.inSync | core.joining) & ~core.leaving;
    if (core.proposal !== null && core.rules.B3_opsFromProposal) {
      to |= core.proposal.counted & ~core.leaving;
    }
    if ((to & core.inSync) === 0) return false;
    if (core.ring.next > (core.options.lastOpNumber ?? MAX_OP_NUMBER)) {
      core.recovery.collect(nowMs, 0); // E1: the epoch has no numbers left.
      return false;
    }
    const write = op.kind === BlockOpKind.Write;
    if (write) {
      const credit = this.#checkCredit(nowMs, op, to);
      if (credit === Credit.None) {
        op.lower.onBlockDone(op, IoStatus.NoSpace); // N1: nobody saw it, the blocks are unchanged.
        return true;
      }
      if (credit === Credit.Wait) return false;
    }
    const entry = core.ring.push();
    entry.op = op;
    entry.lba = op.lba;
    entry.blocks = op.blocks;
    entry.bytes = write ? op.blocks * 4096 : 0;
    entry.sentTo = to;
    entry.issuedMs = nowMs;
    const apply = this.#message;
    apply.epoch = core.epoch;
    apply.op = entry.opNumber;
    apply.kind = write ? ChangeKind.Write : ChangeKind.Unmap;
    apply.lba = op.lba;
    apply.blocks = op.blocks;
    apply.fua = op.fua || (core.rules.C9_fuaByRecord && this.#isThrough());
    apply.allAppliedOp = core.ring.first - 1; // W10.
    apply.crcs = null;
    apply.data = null;
    apply.dataByteOffset = op.dataByteOffset;
    if (write) {
      if (entry.crcs.length < op.blocks) entry.crcs = new Uint32Array(op.blocks * 2);
      core.host.checksum(op, entry.crcs); // H1.
      apply.crcs = entry.crcs;
      apply.data = op.data;
    }
    for (let index = 0; index < core.peers.length; index += 1) {
      const peer = core.peers[index];
      if (peer === undefined || (to & peer.bit) === 0) continue;
      peer.lagOps += 1;
      peer.lagBytes += entry.bytes;
      if (write) peer.issuedBlocks += op.blocks;
      core.transport.send(index, apply);
    }
    apply.data = null;
    return true;
  }

  /**
   * C9: V6 goes by the records that members have, so an op is durable when it is acked from the proposal on that turns the
   * cache off (R1 covers what went before it), and until one is committed that turns it on. Who asked for it hears later.
   */
  #isThrough(): boolean {
    const { record, proposal } = this.#core;
    return isWriteCacheOff(record!) || (proposal !== null && isWriteCacheOff(proposal.record));
  }

  /** N1, N2: short of credit, the fullest member goes if enough remain. */
  #checkCredit(nowMs: number, op: BlockOp, to: number): Credit {
    const core = this.#core;
    let short = 0;
    for (const peer of core.peers) {
      if (peer === undefined || (to & peer.bit) === 0) continue;
      if (peer.issuedBlocks + op.blocks > peer.credit) short |= peer.bit;
    }
    if (short === 0) return Credit.Enough;
    const rest = to & ~short;
    const enough = core.hasWitness || bitCount(rest) >= majorityOf(core.record!.members.length);
    if (!enough || (rest & core.inSync) === 0) return Credit.None;
    for (const peer of core.peers) {
      if (peer === undefined || (short & peer.bit) === 0) continue;
      core.host.onAlarm(AlarmKind.MemberFull, peer.replicaId, 0, 'it has no room left');
      core.members.drop(nowMs, peer, 'it has no room left');
    }
    return Credit.Wait;
  }

  onApplied(nowMs: number, peer: Peer, opNumber: number, status: IoStatus): void {
    const core = this.#core;
    const entry = core.ring.get(opNumber);
    if (entry === null || (entry.sentTo & peer.bit) === 0 || (entry.acks & peer.bit) !== 0) return;
    if (status !== IoStatus.Ok) {
      const text = `op ${core.epoch}.${opNumber} failed there (status ${status})`;
      core.members.drop(nowMs, peer, status === IoStatus.Damaged ? MAP_LOST : text); // W4, N2, H6.
      return;
    }
    entry.acks |= peer.bit;
    peer.lagOps -= 1;
    peer.lagBytes -= entry.bytes;
    if (entry.op !== null && this.ackable()) this.#tryAck(entry);
    if (opNumber === core.ring.first) this.#retire();
    if (core.reads.parked.length > 0) core.reads.retryParked(nowMs);
    if (core.holding.stopping !== null) core.holding.checkStopped(nowMs);
  }

  /** R3, R5, W4: acks only under a committed record, with none proposed and none due. */
  ackable(): boolean {
    const core = this.#core;
    if (core.phase !== CoordinatorPhase.Active) return false;
    // E5: whoever may have been deposed without knowing completes nothing.
    if (core.rules.E5_acksUnderLease && core.nowMs >= core.leases.untilMs) return false;
    if (core.proposal !== null && core.rules.R3_acksStop) {
      // W3 switched off: a joiner is counted as soon as it is proposed.
      const early = !core.rules.W3_joinersAfterCommit;
      if (
        !early ||
        (core.proposal.counted & (core.inSync | core.joining)) !== (core.inSync | core.joining)
      )
        return false;
    }
    if (core.leaving !== 0 && core.rules.W4_recordBeforeAck) return false;
    return core.record!.oldMembers.length === 0 || !core.rules.R5_acksWait;
  }

  /** W3: applied at enough of the counted, one of them in sync. */
  #tryAck(entry: RingEntry): void {
    if (!this.enough(entry.acks)) return;
    const core = this.#core;
    const op = entry.op!;
    entry.op = null;
    entry.acked = true;
    core.rebuilds.pace.note(core.nowMs - entry.issuedMs);
    core.answer(op, IoStatus.Ok);
  }

  enough(acks: number): boolean {
    const core = this.#core;
    let counted = core.inSync | core.joining;
    let need = core.need;
    if (core.proposal !== null) {
      // R3 switched off: acks go on by the record that is only proposed. W3: joiners count as soon as they are proposed.
      if (!core.rules.R3_acksStop) {
        counted = core.proposal.counted;
        need = this.needFor(core.proposal.record, bitCount(counted));
      } else if (!core.rules.W3_joinersAfterCommit) counted |= core.proposal.counted;
    }
    const have = acks & counted & ~core.leaving;
    // W4 switched off: who is gone is left out at once.
    if (!core.rules.W4_recordBeforeAck && core.leaving !== 0) {
      need = this.needFor(core.record!, bitCount(counted & ~core.leaving));
    }
    if (bitCount(have) < need) return false;
    return (have & core.inSync) !== 0 || !core.rules.W3_oneInSync;
  }

  /** W3: how many acks an op needs under the record, when so many members count; Infinity: they are too few. */
  needFor(record: VolumeRecord, counted: number): number {
    const core = this.#core;
    if (!core.rules.W3_quorum) return 1;
    const q = core.hasWitness ? 1 : majorityOf(record.members.length);
    if (counted < q) return Number.POSITIVE_INFINITY;
    return core.hasWitness || core.config.syncPolicy === SyncPolicy.All ? counted : q;
  }

  /** Forgets ops that every counted member has applied. */
  #retire(): void {
    const core = this.#core;
    let counted = core.inSync | core.joining;
    if (core.proposal !== null) counted |= core.proposal.counted;
    for (;;) {
      const entry = core.ring.get(core.ring.first);
      if (entry === null || entry.op !== null) return;
      if ((entry.sentTo & counted & ~entry.acks) !== 0) return;
      core.ring.shift();
    }
  }

  recheckAll(nowMs: number): void {
    const core = this.#core;
    if (!this.ackable()) return;
    for (let number = core.ring.first; number < core.ring.next; number += 1) {
      const entry = core.ring.get(number);
      if (entry !== null && entry.op !== null) this.#tryAck(entry);
    }
    this.#retire();
    for (const flush of [...core.flushes.pending]) core.flushes.tryEnd(flush);
    core.reads.retryParked(nowMs);
    this.pump(nowMs);
    core.holding.checkStopped(nowMs);
  }

  /** After a record that takes members away, some ops can never be applied at enough of them: they become new ops. */
  issueAnew(nowMs: number): void {
    const core = this.#core;
    const counted = (core.inSync | core.joining) & ~core.leaving;
    const again: BlockOp[] = [];
    for (let number = core.ring.first; number < core.ring.next; number += 1) {
      const entry = core.ring.get(number)!;
      if (entry.op === null) continue;
      const possible = entry.sentTo & counted;
      if (bitCount(possible) >= core.need && (possible & core.inSync) !== 0) continue;
      again.push(entry.op);
      entry.op = null;
    }
    if (again.length === 0) return;
    core.holding.held = [...again.map((op) => ({ op, issued: true })), ...core.holding.held];
    core.holding.stall(nowMs);
  }

  pump(nowMs: number): void {
    const core = this.#core;
    if (this.#pumping || core.phase !== CoordinatorPhase.Active) return;
    this.#pumping = true;
    while (core.holding.held.length > 0 && core.phase === CoordinatorPhase.Active) {
      const first = core.holding.held.shift()!;
      if (this.#issue(nowMs, first.op)) continue;
      core.holding.held.unshift(first);
      break;
    }
    this.#pumping = false;
    if (this.ackable() && core.need !== Number.POSITIVE_INFINITY) core.holding.unstall();
    else core.holding.stall(nowMs);
  }
}

const Credit = { Enough: 0, Wait: 1, None: 2 } as const;
type Credit = (typeof Credit)[keyof typeof Credit];
