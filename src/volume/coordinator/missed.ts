// Snapshots that a member in sync lacks (B6): taken while it was away, or before its store was new. The newest first, each
// from the next newer thing that the member holds: a *branch* of that is made beside its volume, what changed since the
// snapshot's cut is set back in it to what a holder has, and the branch is sealed. Then a record names it a holder.
//
//   BranchSnapshot -> copies -> SealSnapshot -> record
//
// What must hold:
// - Only a member in sync is asked: its volume has every op below the cut, so a block there that nothing changed since is
//   the snapshot's block.
// - It is named by a record only after its branch was sealed: all copied, and durable.
// - A block that those who can be asked have damaged is not given up while there is another holder.
// - Whatever is interrupted, at either side, is begun again: the branch says itself what it lacks.
import { IoStatus } from '../../block/index.ts';
import {
  type Branched,
  type Changed,
  type CopyData,
  type Installed,
  InstallMode,
  MessageType,
} from '../../wire/messages.ts';
import { compare, MemberState, type SnapshotEntry } from '../../wire/record.ts';
import { MAX_EPOCH, MAX_OP_NUMBER } from '../../wire/version.ts';
import { BlockSync } from './block-sync.ts';
import type { Core } from './core.ts';
import { AlarmKind } from './interfaces.ts';
import { MISSED_PAUSE_MS, MISSED_SILENCE_MS } from './limits.ts';
import type { Peer } from './peer.ts';
import { nextRecord } from './record-change.ts';

/** Above every version that there is. */
const END_OF_TIME = { epoch: MAX_EPOCH, op: MAX_OP_NUMBER };

interface Filling {
  readonly peer: Peer;
  readonly snapshot: SnapshotEntry;
  /** Of the request that waits for its answer. */
  id: number;
  stage: 'branching' | 'copying' | 'sealing' | 'sealed';
  sync: BlockSync | null;
  /** Peers that hold it, as they are asked. */
  readonly sources: readonly number[];
  /** When one of them last answered, or nothing was to be answered. */
  heardMs: number;
}

export class MissedSnapshots {
  readonly #core: Core;
  running: Filling | null = null;
  /** When a member that could not make up for a snapshot may be asked for it again, by both their ids. */
  readonly #pauses = new Map<string, number>();

  constructor(core: Core) {
    this.#core = core;
  }

  /** One at a time, and after all rebuilds: the newest data first. */
  start(nowMs: number): void {
    const core = this.#core;
    this.#checkSilence(nowMs);
    if (this.running !== null || core.proposal !== null || core.leaving !== 0) return;
    if (core.snapshots.running !== null) return;
    if (core.rebuilds.running.size > 0 && core.rules.B6_onlyInSync) return;
    const record = core.record!;
    const newestFirst = [...record.snapshots].sort((a, b) => compare(b.version, a.version));
    for (const snapshot of newestFirst) {
      const sources = this.#holders(snapshot);
      if (sources.length === 0) continue;
      for (const peer of core.peers) {
        if (peer === undefined || !this.#mayGet(peer)) continue;
        if (snapshot.holders.includes(peer.replicaId)) continue;
        // One that fails holds up no other: an older one begins from something else then.
        if (nowMs < (this.#pauses.get(pauseKey(peer, snapshot)) ?? 0)) continue;
        this.#begin(nowMs, peer, snapshot, sources);
        return;
      }
    }
  }

  /** When one may be tried again: also a quiet volume looks then. Infinity: none waits for that. */
  againMs(nowMs: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const atMs of this.#pauses.values()) if (atMs > nowMs) next = Math.min(next, atMs);
    return next;
  }

  /** Who does not answer holds up the snapshots of all others, as one is made up for at a time. */
  #checkSilence(nowMs: number): void {
    const { running } = this;
    if (running === null) return;
    const { stage, sync, peer } = running;
    if (stage === 'sealed' || (stage === 'copying' && sync?.waits !== true)) {
      running.heardMs = nowMs;
    } else if (nowMs - running.heardMs > MISSED_SILENCE_MS) {
      const why = `no answer for ${MISSED_SILENCE_MS / 1000} s`;
      this.#giveUp(nowMs, `${why}, while replica ${peer.replicaId} made up for snapshot`);
    }
  }

  #mayGet(peer: Peer): boolean {
    const core = this.#core;
    const { record, rules } = core;
    const entry = record!.members.find(({ replicaId }) => replicaId === peer.replicaId);
    if (peer.hello?.branches !== true || peer.blank) return false;
    if (entry === undefined || entry.witness) return false;
    if (core.controls.expelled(peer)) return false;
    if (peer.storedEpoch !== core.epoch || peer.storedN !== record!.n) return false;
    return !rules.B6_onlyInSync || entry.state === MemberState.InSync;
  }

  #holders({ holders }: SnapshotEntry): number[] {
    const core = this.#core;
    const found: number[] = [];
    for (const peer of core.peers) {
      if (peer === undefined || peer.hello === null || !holders.includes(peer.replicaId)) continue;
      if ((core.inSync & ~core.leaving & peer.bit) !== 0) found.push(peer.index);
    }
    return found;
  }

  #begin(nowMs: number, peer: Peer, snapshot: SnapshotEntry, sources: readonly number[]): void {
    const core = this.#core;
    // A record follows, which is not in force without a lease; and what is listed and copied is answered for long.
    core.leases.use(nowMs);
    const id = core.nextId++;
    this.running = { peer, snapshot, id, stage: 'branching', sync: null, sources, heardMs: nowMs };
    core.transport.send(peer.index, {
      type: MessageType.BranchSnapshot,
      epoch: core.epoch,
      id,
      snapshotId: snapshot.id,
      version: snapshot.version,
    });
  }

  onBranched(nowMs: number, peer: Peer, message: Branched): void {
    const { running } = this;
    if (running === null || running.peer !== peer || running.id !== message.id) return;
    const { rules } = this.#core;
    running.heardMs = nowMs;
    if (message.status !== IoStatus.Ok) {
      this.#giveUp(nowMs, `replica ${peer.replicaId} cannot make up for snapshot`);
      return;
    }
    if (running.stage === 'sealing' || message.complete || !rules.B6_sealedFirst) {
      running.stage = 'sealed';
      this.#core.members.advance(nowMs);
    } else if (rules.B6_allCopied) this.#copy(running);
    else this.#seal(running);
  }

  // Each: true when the answer was one of the copying's.

  onChanged(nowMs: number, peer: number, message: Changed): boolean {
    return this.#heard(nowMs, this.running?.sync?.onChanged(peer, message) === true);
  }

  onCopyData(nowMs: number, peer: number, message: CopyData): boolean {
    return this.#heard(nowMs, this.running?.sync?.onCopyData(peer, message) === true);
  }

  onInstalled(nowMs: number, peer: number, message: Installed): boolean {
    return this.#heard(nowMs, this.running?.sync?.onInstalled(peer, message) === true);
  }

  #heard(nowMs: number, isOurs: boolean): boolean {
    if (isOurs && this.running !== null) this.running.heardMs = nowMs;
    return isOurs;
  }

  #copy(running: Filling): void {
    const core = this.#core;
    const { peer, snapshot, sources } = running;
    const [first = 0] = sources;
    const turn = core.options.random.below(sources.length || 1);
    const inTurn = [...sources.slice(turn), ...sources.slice(0, turn)];
    running.stage = 'copying';
    const sync = new BlockSync({
      fromLba: 0,
      // The branch may be larger than the snapshot: beyond that it is to be empty.
      sizeBlocks: core.record!.sizeBlocks,
      border: snapshot.sizeBlocks,
      epoch: core.epoch,
      rules: core.rules,
      since: snapshot.version,
      listers: [peer.index],
      branchOf: snapshot.id,
      snapshotId: snapshot.id,
      mode: InstallMode.Rebuild,
      join: END_OF_TIME,
      windowBytes: core.config.rebuildWindowBytes,
      decide: ({ lba }) => ({
        hole: lba >= snapshot.sizeBlocks,
        epoch: 0,
        op: 1,
        sources: inTurn.length === 0 ? [first] : inTurn,
        targets: [peer.index],
      }),
      send: (to, message) => core.transport.send(to, message),
      nextId: () => core.nextId++,
      mayCopy: (bytes) => core.rebuilds.mayCopy(bytes),
      onDone: () => this.#seal(running),
      onFailed: (failed, why) => {
        const at = core.peers[failed]?.replicaId ?? '';
        this.#giveUp(core.progressMs, `${why} at ${at}, for snapshot`);
      },
      onLost: (lba) => this.#lost(running, lba),
    });
    running.sync = sync;
    sync.start();
  }

  /** W9: no source can deliver the block. Another holder may: the snapshot is not sealed without having asked that one. */
  #lost({ snapshot, sources }: Filling, lba: number): void {
    const core = this.#core;
    const asked = new Set(sources.map((index) => core.peers[index]?.replicaId));
    const known = core.record!.snapshots.find(({ id }) => id === snapshot.id) ?? snapshot;
    const others = known.holders.filter((holder) => !asked.has(holder));
    if (others.length > 0 && core.rules.B6_damagedWaits) {
      const why = `block ${lba} is damaged wherever it can be had now, and ${others.join(', ')} may have it`;
      this.#giveUp(core.progressMs, `${why}, for snapshot`);
      return;
    }
    core.host.onAlarm(
      AlarmKind.BlockLost,
      '',
      lba,
      `block ${lba} of snapshot ${snapshot.name} is damaged on every holder`,
    );
  }

  #seal(running: Filling): void {
    const core = this.#core;
    const { peer, snapshot } = running;
    running.stage = 'sealing';
    running.sync = null;
    running.id = core.nextId++;
    core.transport.send(peer.index, {
      type: MessageType.SealSnapshot,
      epoch: core.epoch,
      id: running.id,
      snapshotId: snapshot.id,
      version: snapshot.version,
    });
  }

  /** True: a record was proposed, or is to come soon. */
  advance(nowMs: number): boolean {
    const core = this.#core;
    const { running } = this;
    if (running === null || running.stage !== 'sealed') return false;
    this.running = null;
    const record = core.record!;
    const { peer, snapshot } = running;
    const snapshots = record.snapshots.map((entry) => {
      const isIt = entry.id === snapshot.id && compare(entry.version, snapshot.version) === 0;
      if (!isIt || entry.holders.includes(peer.replicaId)) return entry;
      return { ...entry, holders: [...entry.holders, peer.replicaId] };
    });
    if (snapshots.every((entry, at) => entry === record.snapshots[at])) return false;
    core.records.propose(nowMs, nextRecord(record, { snapshots }, core.rules), null);
    return true;
  }

  /** Not now; what the branch has stays there. */
  #giveUp(nowMs: number, why: string): void {
    const { running } = this;
    if (running === null) return;
    const { peer, snapshot } = running;
    this.#pauses.set(pauseKey(peer, snapshot), nowMs + MISSED_PAUSE_MS);
    this.#core.wake(nowMs, MISSED_PAUSE_MS);
    peer.lastFault = `${why} ${snapshot.name}`;
    this.end();
  }

  /** Of a peer that is gone; null: in any case. */
  end(peer: Peer | null = null): void {
    const { running } = this;
    if (running === null) return;
    if (peer !== null && running.peer !== peer && !running.sources.includes(peer.index)) return;
    running.sync?.abandon();
    this.running = null;
  }

  /** The record in force does not have it any more. */
  recordCommitted(): void {
    const { snapshots } = this.#core.record!;
    if (snapshots.length === 0) this.#pauses.clear();
    const { running } = this;
    if (running === null) return;
    const { id } = running.snapshot;
    if (!snapshots.some((entry) => entry.id === id)) this.end();
  }
}

function pauseKey({ replicaId }: Peer, { id }: SnapshotEntry): string {
  return `${replicaId} ${id}`;
}
