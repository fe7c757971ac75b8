// A damaged block of one member is mended from another (W9, H3).
import { type BlockOp, IoStatus } from '../../block/index.ts';
import {
  BlockKind,
  type CopyData,
  type DamagedPlace,
  type Installed,
  InstallMode,
  MessageType,
} from '../../wire/messages.ts';
import { ZERO_VERSION } from '../../wire/version.ts';
import type { Core } from './core.ts';
import { AlarmKind, CoordinatorPhase } from './interfaces.ts';
import { MAX_REPAIRS, POLL_MS } from './limits.ts';
import type { Peer } from './peer.ts';

export interface Repair {
  readonly bad: number;
  readonly lba: number;
  /** That it is damaged in; null: in the volume as it is now. */
  readonly snapshotId: string | null;
  readonly sources: number[];
  /** A read that waits for it, or null. */
  readonly read: BlockOp | null;
  /** The peer whose answer it waits for. */
  asked: number;
}

export class Repairs {
  readonly #core: Core;
  readonly running = new Map<number, Repair>();
  /** Reads that began anew once, as another member has no data there. Ops are pooled: `Core.answer` takes them off. */
  readonly anew = new Set<BlockOp>();

  constructor(core: Core) {
    this.#core = core;
  }

  next(nowMs: number, repair: Repair): void {
    const core = this.#core;
    let source = repair.sources.shift();
    while (source !== undefined && core.peers[source]?.connected !== true) {
      source = repair.sources.shift();
    }
    if (source === undefined) {
      if (repair.read === null) return;
      core.host.onAlarm(AlarmKind.BlockLost, '', repair.lba, 'damaged on every member in sync');
      repair.read.failedLba = repair.lba;
      core.answer(repair.read, IoStatus.Damaged);
      return;
    }
    const id = core.nextId++;
    repair.asked = source;
    this.running.set(id, repair);
    core.wake(nowMs, POLL_MS);
    core.transport.send(source, {
      type: MessageType.CopyRead,
      epoch: core.epoch,
      id,
      lba: repair.lba,
      blocks: 1,
      snapshotId: repair.snapshotId,
    });
  }

  /** Who in sync, beside the one that has it damaged, has that snapshot; or the volume, where it is null. */
  sourcesOf(bad: Peer, snapshotId: string | null): number[] {
    const core = this.#core;
    const held = core.record?.snapshots.find(({ id }) => id === snapshotId);
    const has = ({ replicaId }: Peer): boolean =>
      snapshotId === null || held?.holders.includes(replicaId) === true;
    const isSource = (peer: Peer | undefined): peer is Peer =>
      peer !== undefined &&
      peer !== bad &&
      peer.connected &&
      (core.inSync & ~core.leaving & peer.bit) !== 0 &&
      has(peer);
    return core.peers.filter(isSource).map(({ index }) => index);
  }

  /** What a scrub found at a member (H4). */
  onFound(nowMs: number, bad: Peer, places: readonly DamagedPlace[]): void {
    const core = this.#core;
    if (core.phase !== CoordinatorPhase.Active) return;
    if ((core.inSync & ~core.leaving & bad.bit) === 0) return; // Its rebuild comes first.
    core.leases.use(nowMs); // It is told of with heartbeats: they come soon again.
    this.mend(nowMs, bad, places);
  }

  /** No host waits for these. What is too much at a time is found again. */
  mend(nowMs: number, bad: Peer, places: readonly DamagedPlace[]): void {
    if (this.#core.holding.stopping !== null) return;
    for (const { lba, snapshotId } of places) {
      if (this.running.size >= MAX_REPAIRS) return;
      // It would take it for a block of its volume.
      if (snapshotId !== null && bad.hello?.branches !== true) continue;
      if (this.#isUnderWay(bad.index, lba, snapshotId)) continue;
      const sources = this.sourcesOf(bad, snapshotId);
      this.next(nowMs, { bad: bad.index, lba, snapshotId, sources, read: null, asked: bad.index });
    }
  }

  #isUnderWay(bad: number, lba: number, snapshotId: string | null): boolean {
    for (const one of this.running.values()) {
      if (one.bad === bad && one.lba === lba && one.snapshotId === snapshotId) return true;
    }
    return false;
  }

  onData(nowMs: number, _peer: Peer, message: CopyData): boolean {
    const core = this.#core;
    const repair = this.running.get(message.id);
    if (repair === undefined) return false;
    this.running.delete(message.id);
    const { copy } = message;
    if (message.status !== IoStatus.Ok || copy === null || copy.kinds[0] === BlockKind.Damaged) {
      this.next(nowMs, repair);
      return true;
    }
    if (copy.kinds[0] !== BlockKind.Data) {
      // It is another block there: unmapped meanwhile, or not written yet. Nothing is to be mended with that.
      const { read } = repair;
      if (read === null) return true;
      // Once: where each member has lost a part that the other never had as data, it would not end.
      if (!this.anew.has(read)) {
        this.anew.add(read);
        core.reads.start(nowMs, read, 0);
      } else {
        read.failedLba = repair.lba;
        core.answer(read, IoStatus.Damaged);
      }
      return true;
    }
    const id = core.nextId++;
    repair.asked = repair.bad;
    this.running.set(id, repair);
    core.transport.send(repair.bad, {
      type: MessageType.Install,
      epoch: core.epoch,
      id,
      branchOf: repair.snapshotId,
      mode: InstallMode.Repair,
      join: ZERO_VERSION,
      copy,
    });
    return true;
  }

  onRepaired(nowMs: number, message: Installed): boolean {
    const repair = this.running.get(message.id);
    if (repair === undefined) return false;
    this.running.delete(message.id);
    const { read } = repair;
    if (read === null) return true;
    if (message.status === IoStatus.Ok) this.#core.reads.start(nowMs, read, 0);
    else {
      read.failedLba = repair.lba;
      this.#core.answer(read, IoStatus.Damaged);
    }
    return true;
  }
}
