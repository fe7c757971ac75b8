// The cut of a snapshot (P1, P3): an op of the stream, held by every member in sync before a record names it.
import { IoStatus } from '../../block/index.ts';
import { MessageType, type SnapshotTaken } from '../../wire/messages.ts';
import { majorityOf, type SnapshotEntry } from '../../wire/record.ts';
import type { Control } from './controls.ts';
import type { Core } from './core.ts';
import { CoordinatorPhase } from './interfaces.ts';
import { bitCount, type Peer } from './peer.ts';
import { nextRecord } from './record-change.ts';

export interface RunningSnapshot {
  readonly control: Control;
  readonly op: number;
  readonly sentTo: number;
  readonly recordN: number;
  acks: number;
}

export class Snapshots {
  readonly #core: Core;
  running: RunningSnapshot | null = null;

  constructor(core: Core) {
    this.#core = core;
  }

  /** P1, P3: an op of the stream, to every member in sync; at least q of them. */
  start(nowMs: number, control: Control): void {
    const core = this.#core;
    const least = core.hasWitness ? 1 : majorityOf(core.record!.members.length);
    const snapshot = control.snapshot!;
    const inSync = bitCount(core.inSync);
    if (inSync < least && core.rules.P3_quorum) {
      // Not held until it can be: what would bring members back waits behind it.
      const why = `${inSync} of its replicas are in sync, and it takes ${least}`;
      core.controls.end(nowMs, `snapshot ${snapshot.name} cannot be taken now: ${why}`);
      return;
    }
    if (
      core.record!.snapshots.some(({ id, name }) => id === snapshot.id || name === snapshot.name)
    ) {
      core.controls.end(nowMs, `there is a snapshot ${snapshot.name} already`);
      return;
    }
    const entry = core.ring.push();
    entry.sentTo = core.inSync;
    entry.issuedMs = nowMs;
    this.running = {
      control,
      op: entry.opNumber,
      sentTo: core.inSync,
      recordN: core.record!.n,
      acks: 0,
    };
    for (const peer of core.peers) {
      if (peer === undefined || (core.inSync & peer.bit) === 0) continue;
      peer.lagOps += 1;
      core.transport.send(peer.index, {
        type: MessageType.TakeSnapshot,
        epoch: core.epoch,
        op: entry.opNumber,
        snapshotId: snapshot.id,
        name: snapshot.name,
      });
    }
  }

  onTaken(nowMs: number, peer: Peer, message: SnapshotTaken): void {
    const core = this.#core;
    const running = this.running;
    if (running !== null && running.op === message.op) {
      if (message.status !== IoStatus.Ok) {
        // Nothing but this snapshot failed there: it is given up, and the next record makes members drop it (P3).
        this.running = null;
        core.writes.onApplied(nowMs, peer, message.op, IoStatus.Ok);
        core.controls.end(
          nowMs,
          message.status === IoStatus.NoSpace
            ? `replica ${peer.replicaId} has no room for it: its pool is full`
            : `replica ${peer.replicaId} could not take it (status ${message.status})`,
        );
        if (core.proposal === null && core.phase === CoordinatorPhase.Active) {
          core.records.propose(nowMs, nextRecord(core.record!, {}), null);
        }
        return;
      }
      running.acks |= peer.bit;
    }
    core.writes.onApplied(nowMs, peer, message.op, IoStatus.Ok);
    core.members.advance(nowMs);
  }

  advance(nowMs: number): void {
    const core = this.#core;
    const running = this.running!;
    const record = core.record!;
    if (record.n !== running.recordN && core.rules.P3_noRecordBetween) {
      // A record came in between: members dropped what it does not name, and the floor may be above the cut (B7). Once more.
      this.running = null;
      core.members.advance(nowMs);
      return;
    }
    if ((running.sentTo & core.inSync & ~running.acks) !== 0 && core.rules.P3_allHold) return;
    this.running = null;
    const holders = record.members
      .filter(({ replicaId }) => (running.sentTo & core.byReplica.get(replicaId)!.bit) !== 0)
      .map(({ replicaId }) => replicaId);
    const version = { epoch: core.epoch, op: running.op };
    const { id, name, createdMs } = running.control.snapshot!;
    const { sizeBlocks } = record; // No record came since the cut, so none changed it.
    const taken: SnapshotEntry = { id, name, createdMs, version, sizeBlocks, holders };
    const snapshots = [...record.snapshots, taken];
    core.records.propose(nowMs, nextRecord(record, { snapshots }), () =>
      core.controls.end(nowMs, null),
    );
  }
}
