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
import { POLL_MS } from './limits.ts';
import type { Peer } from './peer.ts';

export interface Repair {
  readonly bad: number;
  readonly lba: number;
  readonly sources: number[];
  /** A read that waits for it, or null. */
  readonly read: BlockOp | null;
  /** The peer whose answer it waits for. */
  asked: number;
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
      snapshotId: null,
    });
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
    const id = core.nextId++;
    repair.asked = repair.bad;
    this.running.set(id, repair);
    core.transport.send(repair.bad, {
      type: MessageType.Install,
      epoch: core.epoch,
      id,
      branchOf: null,
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
