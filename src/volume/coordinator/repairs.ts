// A damaged block of one member is mended from another (W9, H3).
import { type BlockOp, IoStatus } from '../../block/index.ts';
import {
  BlockKind,
  type CopyData,
  type Installed,
  InstallMode,
  MessageType,
} from '../../wire/messages.ts';
import { ZERO_VERSION } from '../../wire/version.ts';
import type { Core } from './core.ts';
import { AlarmKind } from './interfaces.ts';
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

/** A snapshot, and the peers that have what it holds. */
export interface SnapshotPlaces {
  readonly snapshotId: string;
  readonly holders: readonly number[];
}

export class Repairs {
  readonly #core: Core;
  readonly running = new Map<number, Repair>();

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

  /** Those blocks of a snapshot, from who else holds it. What is too much at a time is found again. */
  mendSnapshot(nowMs: number, bad: Peer, lbas: readonly number[], of: SnapshotPlaces): void {
    if (bad.hello?.branches !== true) return; // It would take it for a block of its volume.
    for (const lba of lbas) {
      if (this.running.size >= MAX_REPAIRS) return;
      const { snapshotId, holders } = of;
      const repair = { bad: bad.index, lba, snapshotId, read: null, asked: bad.index };
      this.next(nowMs, { ...repair, sources: [...holders] });
    }
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
      if (repair.read !== null) core.reads.start(nowMs, repair.read, 0);
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
