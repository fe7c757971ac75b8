// The activation of an epoch (consistency.md §4): collects promises, adopts a record, settles what was in flight, proposes
// the activation record. V8: start, restart and takeover are this one path.
import { IoStatus } from '../../block/index.ts';
import { BlockKind, InstallMode, MessageType } from '../../wire/messages.ts';
import { compare, majorityOf } from '../../wire/record.ts';
import { ZERO_VERSION } from '../../wire/version.ts';
import { type Adoption, adopt, type Promiser } from './adoption.ts';
import { BlockSync, type CopyDecision, isUnknown, type Segment } from './block-sync.ts';
import type { Core } from './core.ts';
import { AlarmKind, type ControlDone, CoordinatorPhase, MAP_LOST } from './interfaces.ts';
import { BACKOFF_MS, LOSS_WAIT_FACTOR, POLL_MS } from './limits.ts';
import type { Peer } from './peer.ts';
import { activationRecord } from './record-change.ts';
import { isWriteCacheOff } from './write-cache.ts';

export class Recovery {
  readonly #core: Core;
  chosen = false;
  #chooseAtMs = 0;
  highestSeen = 0;
  #satisfiedMs = -1;
  backoffs = 0;
  forced: ControlDone | null = null;
  waitingFor = 'not started';
  adoption: Adoption | null = null;
  reconcile: BlockSync | null = null;
  /** V8: the last epoch in which this coordinator was active, hosts may wait for answers of that time; 0: none. */
  servedEpoch = 0;

  constructor(core: Core) {
    this.#core = core;
  }

  /** V8: start, restart and takeover are one path. Hosts' operations wait; who was active issues them anew. */
  collect(nowMs: number, delayMs: number): void {
    this.leaveEpoch(nowMs);
    this.#core.setPhase(CoordinatorPhase.Collecting);
    this.#chooseAtMs = nowMs + delayMs;
    this.waitingFor = 'collecting promises';
    if (delayMs === 0) this.tick(nowMs);
    this.#core.wake(nowMs, Math.min(POLL_MS, delayMs));
  }

  /** Forgets all that belongs to the present epoch. */
  leaveEpoch(nowMs: number): void {
    const core = this.#core;
    core.holding.requeueEverything();
    this.chosen = false;
    this.#satisfiedMs = -1;
    this.adoption = null;
    this.reconcile?.abandon();
    this.reconcile = null;
    core.proposal = null;
    core.leaving = 0;
    for (const rebuild of core.rebuilds.running.values()) rebuild.sync?.abandon();
    core.rebuilds.running.clear();
    core.repairs.running.clear();
    core.snapshots.running = null;
    core.missed.end();
    for (const { done } of core.scrubs.running.values()) done('the volume went through recovery');
    core.scrubs.running.clear();
    core.questions.endMapQueries(-1);
    core.questions.unask(null);
    core.leases.untilMs = Number.NEGATIVE_INFINITY;
    core.ring.reset();
    if (core.holding.stalledSinceMs < 0) core.holding.stalledSinceMs = nowMs;
    for (const peer of core.peers) peer?.endEpoch();
  }

  tick(nowMs: number): void {
    const core = this.#core;
    if (!this.chosen) {
      if (nowMs < this.#chooseAtMs) return;
      let heard = 0;
      let connected = 0;
      let known = 0;
      for (const peer of core.peers) {
        if (peer === undefined) continue;
        known += 1;
        if (peer.connected) connected += 1;
        if (peer.hello !== null) heard += 1;
      }
      // Who says hello first tells how high epochs are: a few more answers save a wasted attempt.
      if (heard === 0) {
        this.waitingFor = 'no replica answers';
        return;
      }
      if (heard < majorityOf(known) && heard < connected && nowMs < this.#chooseAtMs + POLL_MS)
        return;
      core.epoch = Math.max(core.epoch, this.highestSeen) + 1;
      this.highestSeen = core.epoch;
      this.chosen = true;
      this.#satisfiedMs = -1;
      for (const peer of core.peers) if (peer?.hello) this.prepare(peer);
      return;
    }
    for (const peer of core.peers) {
      if (peer !== undefined && peer.prepareAtMs <= nowMs) this.prepare(peer);
    }
    this.tryAdopt(nowMs);
  }

  prepare(peer: Peer): void {
    const core = this.#core;
    peer.prepareAtMs = Number.POSITIVE_INFINITY;
    if (peer.hello === null || (peer.hello.record === null && core.rules.E6_storeId)) return; // E6: no vote.
    core.transport.send(peer.index, {
      type: MessageType.Prepare,
      epoch: core.epoch,
      coordinatorId: core.options.coordinatorId,
    });
  }

  tryAdopt(nowMs: number): void {
    const core = this.#core;
    const promisers: Promiser[] = [];
    for (const peer of core.peers) {
      if (peer?.promise) promisers.push({ replicaId: peer.replicaId, promise: peer.promise });
    }
    if (promisers.length === 0) return;
    // Whom any record names is asked too: after members were replaced, those that this coordinator was told of may be a
    // minority of the record's, and it would wait for ever.
    for (const { promise } of promisers) {
      for (const member of promise.record?.members ?? []) core.needPeer(nowMs, member.replicaId);
      for (const old of promise.record?.oldMembers ?? []) core.needPeer(nowMs, old.replicaId);
    }
    const adoption = this.#adopt(promisers);
    if (typeof adoption === 'string') {
      this.waitingFor = adoption;
      return;
    }
    if (this.#satisfiedMs < 0) this.#satisfiedMs = nowMs;
    // V1, V6: a little patience saves a rebuild, or a loss.
    const patience = core.config.promiseWaitMs * (adoption.lossAvoidable ? LOSS_WAIT_FACTOR : 1);
    if (!adoption.complete && this.forced === null && nowMs < this.#satisfiedMs + patience) {
      this.waitingFor = adoption.lossAvoidable
        ? 'members that lost their caches: waiting for those that did not'
        : 'waiting for the rest of the members';
      return;
    }
    // V8, C6: another coordinator may have been active since; what hosts of this one wait for is settled or superseded.
    if (
      this.servedEpoch > 0 &&
      core.rules.V8_deposedByRecord &&
      adoption.record.coordinatorId !== core.options.coordinatorId
    ) {
      this.deposed(nowMs, adoption.record.epoch);
      return;
    }
    this.#startReconcile(nowMs, adoption);
  }

  /**
   * H6: where who has lost a part of its map stands in the way, it may do as if that one were away: those with whole maps must
   * have their majority, and all else that V1-V6 ask, without its vote and without its record, which no other may have stored.
   */
  #adopt(promisers: readonly Promiser[]): Adoption | string {
    const { rules } = this.#core;
    const force = this.forced !== null;
    const lost = this.#lost();
    const volatileCache = this.#volatileCache(promisers);
    const adoption = adopt(promisers, rules, { force, lost, volatileCache });
    if (typeof adoption !== 'string' || lost.size === 0) return adoption;
    const whole = promisers.filter(({ replicaId }) => !lost.has(replicaId));
    const without = adopt(whole, rules, { force, volatileCache });
    // A loss that who is here might disprove is not declared (V6): that is its operator's to do.
    return typeof without === 'string' || without.loss ? adoption : without;
  }

  /** H6: who has lost a part of its map that it must be believed in. */
  #lost(): ReadonlySet<string> {
    const lost = new Set<string>();
    for (const peer of this.#core.peers) {
      if (peer === undefined || peer.mapLostIn === '') continue;
      if (peer.promise?.openIds.at(-1) === peer.mapLostIn) lost.add(peer.replicaId);
    }
    return lost;
  }

  /** V6 does not apply where every ack was durable (C9). */
  #volatileCache(promisers: readonly Promiser[]): boolean {
    return promisers.some(({ promise: { record } }) => record === null || !isWriteCacheOff(record));
  }

  #startReconcile(nowMs: number, adoption: Adoption): void {
    const core = this.#core;
    core.setPhase(CoordinatorPhase.Reconciling);
    this.waitingFor = 'settling what was in flight';
    this.adoption = adoption;
    core.progressMs = nowMs;
    core.record = adoption.record;
    const listers = adoption.trusted.map(({ replicaId }) => core.byReplica.get(replicaId)!.index);
    this.reconcile = new BlockSync({
      fromLba: 0,
      sizeBlocks: adoption.record.sizeBlocks,
      epoch: core.epoch,
      rules: core.rules,
      since: adoption.lowest,
      listers,
      mode: InstallMode.Reconcile,
      join: ZERO_VERSION,
      windowBytes: core.config.rebuildWindowBytes,
      decide: (segment) => this.#settle(adoption, listers, segment),
      send: (peer, message) => core.transport.send(peer, message),
      nextId: () => core.nextId++,
      mayCopy: () => true,
      onDone: () => this.#activate(core.progressMs),
      onFailed: (peer, why) => {
        const failed = core.peers[peer];
        if (failed !== undefined) core.members.drop(core.progressMs, failed, why);
      },
      onLost: (lba) =>
        core.host.onAlarm(AlarmKind.BlockLost, '', lba, `block ${lba} is damaged on every member`),
    });
    this.reconcile.start();
  }

  /** V4: the highest trusted version wins, and goes to all of P ∩ S that do not have it. */
  #settle(adoption: Adoption, listers: readonly number[], segment: Segment): CopyDecision | null {
    const { kinds, epochs, ops } = segment;
    for (let index = 0; index < listers.length; index += 1) {
      // H6: what it alone may have had would be overruled by an older version of another.
      if (this.forced === null && this.#core.rules.H6_leftOut && isUnknown(segment, index)) {
        this.#leaveOut(listers[index]!);
        return null;
      }
    }
    let winner = -1;
    for (let index = 0; index < listers.length; index += 1) {
      const epoch = epochs[index]!;
      const op = ops[index]!;
      if (epoch === 0 && op === 0) continue;
      const { from } = adoption.trusted[index]!;
      if (compare({ epoch, op }, from) < 0) continue; // V3: a joiner, below its `j`.
      if (winner < 0 || compare({ epoch, op }, { epoch: epochs[winner]!, op: ops[winner]! }) > 0) {
        winner = index;
      }
    }
    if (winner < 0) return null;
    const sources: number[] = [];
    const targets: number[] = [];
    listers.forEach((peer, index) => {
      const same = epochs[index] === epochs[winner] && ops[index] === ops[winner];
      if (same) sources.push(peer);
      else if (adoption.trusted[index]!.inSync && this.#core.rules.V4_writeBack) targets.push(peer);
    });
    return {
      hole: kinds[winner] === BlockKind.Hole,
      epoch: epochs[winner]!,
      op: ops[winner]!,
      sources,
      targets,
    };
  }

  /** The next recovery does without its data, or waits for who has it. */
  #leaveOut(index: number): void {
    const core = this.#core;
    const peer = core.peers[index]!;
    peer.mapLostIn = peer.promise?.openIds.at(-1) ?? '';
    this.reconcile?.abandon();
    core.members.drop(core.progressMs, peer, MAP_LOST);
  }

  #activate(nowMs: number): void {
    const core = this.#core;
    const adoption = this.adoption!;
    this.reconcile = null;
    core.setPhase(CoordinatorPhase.Activating);
    this.waitingFor = 'storing the activation record';
    const record = activationRecord(
      adoption,
      core.epoch,
      core.options.coordinatorId,
      core.rules,
      this.forced !== null,
    );
    core.records.propose(nowMs, record, null);
  }

  /** E5: closes its sessions and answers nothing more. */
  deposed(nowMs: number, byEpoch: number): void {
    const core = this.#core;
    if (!core.rules.E5_deposedIsSilent) {
      // Switched off: it tells hosts that their operations failed, though they may yet take effect (C6).
      core.holding.requeueEverything();
      for (const { op } of core.holding.held.splice(0)) core.answer(op, IoStatus.IoError);
    }
    core.host.onDeposed(byEpoch);
    this.leaveEpoch(nowMs);
    this.servedEpoch = 0;
    core.setPhase(CoordinatorPhase.Idle);
    this.waitingFor = 'another coordinator has the volume';
    core.wakeAtMs = Number.POSITIVE_INFINITY;
    core.holding.endHeld();
    for (const control of core.controls.queue.splice(0))
      control.done('another coordinator has the volume');
    core.questions.unask(null);
    core.holding.stopping?.();
    core.holding.stopping = null;
  }

  force(nowMs: number, done: ControlDone): void {
    if (this.#core.phase !== CoordinatorPhase.Collecting || !this.chosen) {
      done('the volume is not waiting for its members');
      return;
    }
    this.#core.host.onAlarm(
      AlarmKind.Forced,
      '',
      0,
      'an operator forces the volume up with the members present',
    );
    this.forced = done;
    this.tryAdopt(nowMs);
  }

  /** Rivals wait for different times, longer each time, so that one of them gets through. */
  backoff(): number {
    this.backoffs = Math.min(this.backoffs + 1, 3);
    return BACKOFF_MS + this.#core.options.random.below(BACKOFF_MS * 2 ** this.backoffs);
  }
}
