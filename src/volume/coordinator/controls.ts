// Changes of the record that somebody asked for, one after another: members, snapshots, size, blobs.
import { assertNever } from '../../base/index.ts';
import type { HelloReply } from '../../wire/messages.ts';
import {
  findMember,
  MemberState,
  type SnapshotEntry,
  type VolumeRecord,
} from '../../wire/record.ts';
import type { Core } from './core.ts';
import { type ControlDone, CoordinatorPhase } from './interfaces.ts';
import type { Peer } from './peer.ts';
import { memberChanged, nextRecord } from './record-change.ts';

/** A change of the record that somebody asked for. One after another. */
export interface Control {
  readonly kind: 'member' | 'snapshot' | 'edit';
  readonly leaver?: string | null;
  readonly newcomer?: { readonly replicaId: string; readonly witness: boolean } | null;
  readonly snapshot?: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>;
  /** P5: of a group. What was cut is committed as it is, or given up: another cut would be of another instant. */
  readonly once?: boolean;
  started?: boolean;
  readonly edit?: (record: VolumeRecord) => Partial<VolumeRecord> | string;
  readonly done: ControlDone;
}

export class Controls {
  readonly #core: Core;
  queue: Control[] = [];

  constructor(core: Core) {
    this.#core = core;
  }

  changeMember(
    nowMs: number,
    leaver: string | null,
    newcomer: { readonly replicaId: string; readonly witness: boolean } | null,
    done: ControlDone,
  ): void {
    this.#add(nowMs, { kind: 'member', leaver, newcomer, done });
  }

  takeSnapshot(
    nowMs: number,
    snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>,
    done: ControlDone,
  ): void {
    this.#add(nowMs, { kind: 'snapshot', snapshot, done });
  }

  takeSnapshotNow(
    nowMs: number,
    snapshot: Pick<SnapshotEntry, 'id' | 'name' | 'createdMs'>,
    done: ControlDone,
  ): boolean {
    const core = this.#core;
    core.nowMs = nowMs;
    const isFree = core.proposal === null && core.leaving === 0 && this.queue.length === 0;
    if (core.phase !== CoordinatorPhase.Active || !isFree) return false;
    core.leases.use(nowMs);
    const control: Control = { kind: 'snapshot', snapshot, once: true, done };
    this.queue.push(control);
    core.members.advance(nowMs);
    if (control.started === true) return true;
    // Another change of the record came first.
    this.queue = this.queue.filter((other) => other !== control);
    return false;
  }

  deleteSnapshot(nowMs: number, id: string, done: ControlDone): void {
    const edit = (record: VolumeRecord): Partial<VolumeRecord> | string => {
      const snapshots = record.snapshots.filter((snapshot) => snapshot.id !== id);
      return snapshots.length === record.snapshots.length
        ? `there is no snapshot ${id}`
        : { snapshots };
    };
    this.#add(nowMs, { kind: 'edit', edit, done });
  }

  resize(nowMs: number, sizeBlocks: number, done: ControlDone): void {
    const edit = (record: VolumeRecord): Partial<VolumeRecord> | string =>
      sizeBlocks < record.sizeBlocks ? 'a volume does not shrink' : { sizeBlocks };
    this.#add(nowMs, { kind: 'edit', edit, done });
  }

  putBlob(nowMs: number, key: string, value: Uint8Array | null, done: ControlDone): void {
    const edit = (record: VolumeRecord): Partial<VolumeRecord> => {
      const blobs = record.blobs.filter((blob) => blob.key !== key);
      if (value !== null) blobs.push({ key, value });
      return { blobs };
    };
    this.#add(nowMs, { kind: 'edit', edit, done });
  }

  getBlob(key: string): Uint8Array | null {
    return this.#core.record?.blobs.find((blob) => blob.key === key)?.value ?? null;
  }

  #add(nowMs: number, control: Control): void {
    const core = this.#core;
    core.nowMs = nowMs;
    if (core.phase === CoordinatorPhase.Idle) {
      control.done('the volume is not served here');
      return;
    }
    core.leases.use(nowMs);
    this.queue.push(control);
    core.members.advance(nowMs);
  }

  next(nowMs: number): void {
    const core = this.#core;
    const control = this.queue[0];
    if (control === undefined) return;
    switch (control.kind) {
      case 'edit': {
        const change = control.edit!(core.record!);
        if (typeof change === 'string') this.end(nowMs, change);
        else {
          core.records.propose(nowMs, nextRecord(core.record!, change), () =>
            this.end(nowMs, null),
          );
        }
        return;
      }
      case 'snapshot':
        if (control.once === true && control.started === true) {
          this.end(
            nowMs,
            `snapshot ${control.snapshot!.name}: its volume's replicas changed just then`,
          );
          return;
        }
        control.started = true;
        core.snapshots.start(nowMs, control);
        return;
      case 'member':
        this.#startMember(nowMs, control);
        return;
      default:
        assertNever(control.kind);
    }
  }

  end(nowMs: number, error: string | null): void {
    const control = this.queue.shift()!;
    control.done(error);
    if (error !== null) this.#core.members.advance(nowMs);
  }

  /** R5: the leaver is detached first; the newcomer is there and has promised no higher epoch (E8). */
  #startMember(nowMs: number, control: Control): void {
    const core = this.#core;
    const record = core.record!;
    const leaver = control.leaver ?? null;
    const newcomer = control.newcomer ?? null;
    if (leaver !== null) {
      const entry = findMember(record, leaver);
      if (entry === undefined) {
        this.end(nowMs, `${leaver} is not a member`);
        return;
      }
      const last = record.snapshots.find(
        ({ holders }) => holders.length === 1 && holders[0] === leaver,
      );
      if (last !== undefined && newcomer?.replicaId !== leaver && core.rules.P3_lastHolderStays) {
        this.end(nowMs, `${leaver} alone holds snapshot ${last.name}: delete that first`);
        return;
      }
      if (entry.state !== MemberState.Stale) {
        const peer = core.byReplica.get(leaver)!;
        if ((core.inSync & ~peer.bit) === 0)
          this.end(nowMs, `${leaver} is the last member in sync`);
        else if (peer.connected) core.members.drop(nowMs, peer, 'it leaves the volume');
        return;
      }
    }
    let identity: (HelloReply & { replicaId: string }) | null = null;
    if (newcomer !== null) {
      const hello = core.byReplica.get(newcomer.replicaId)?.hello ?? null;
      if (hello === null) {
        this.end(nowMs, `${newcomer.replicaId} is not connected`);
        return;
      }
      if (newcomer.replicaId !== leaver && findMember(record, newcomer.replicaId) !== undefined) {
        this.end(nowMs, `${newcomer.replicaId} is a member already`);
        return;
      }
      if (hello.promised > core.epoch) {
        this.end(nowMs, `${newcomer.replicaId} has promised a higher epoch`);
        return;
      }
      identity = { ...hello, replicaId: newcomer.replicaId, witness: newcomer.witness };
    }
    core.records.propose(nowMs, memberChanged(record, leaver, identity, core.rules), () => {
      const peer = newcomer === null ? undefined : core.byReplica.get(newcomer.replicaId);
      if (peer !== undefined) peer.blank = false;
      this.end(nowMs, null);
    });
  }

  /** A leaver that is to go does not come back in between. */
  expelled(peer: Peer): boolean {
    const control = this.queue[0];
    return control?.kind === 'member' && control.leaver === peer.replicaId;
  }
}
