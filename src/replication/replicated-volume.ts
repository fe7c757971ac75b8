// A replicated volume: the coordinator, and once it has been active the Volume that hosts see. Says when there is
// something to serve, when not, and in words what is wrong.
import type { Clock, Log, Random, Turn } from '../base/index.ts';
import { type BlockOp, BlockOpKind, type DataBufferPool, IoStatus } from '../block/index.ts';
import {
  type AlarmKind,
  type CoordinatorConfig,
  CoordinatorPhase,
  type CoordinatorStatus,
  MAP_LOST,
} from '../volume/coordinator/interfaces.ts';
import { Volume } from '../volume/index.ts';
import { MemberState, type VolumeRecord } from '../wire/record.ts';
import type { CoordinatorNode } from './coordinator-node.ts';
import { type CoordinatorListener, CoordinatorShell } from './coordinator-shell.ts';
import { linkAdvice } from './link-advice.ts';
import type { NodeAddress } from './peer-link.ts';
import { ReplicatedStore } from './replicated-store.ts';

/** What the volume's target does. */
export interface ReplicatedVolumeListener {
  /** The first time: there is a Volume to export. Later: logins are taken again. */
  onServing(volume: Volume): void;
  /** C10: close its sessions and refuse logins with 0301h until `onServing`. */
  onHoldExpired(): void;
  /** E5: the same, for good. */
  onDeposed(byEpoch: number): void;
  /** C8: unit attention 29h to every nexus. SYNC and FUA fail by themselves until `sessionsThen` have ended. */
  onLossDeclared(): void;
  onRecord(record: VolumeRecord): void;
}

export interface ReplicatedVolumeOptions {
  readonly volumeId: string;
  readonly name: string;
  readonly logicalBlockBytes: number;
  readonly buffers: DataBufferPool;
  readonly coordinators: CoordinatorNode;
  readonly config: CoordinatorConfig;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly addressOf: (replicaId: string) => NodeAddress | null;
  readonly listener: ReplicatedVolumeListener;
  /** Sessions that are logged in now, as keys that are never used again (C8). */
  readonly sessions: () => readonly string[];
}

export type VolumeState = 'Healthy' | 'Degraded' | 'Rebuilding' | 'Offline';

const OPEN_TIMEOUT_MS = 5000;

/** B6: it makes up for them by itself; where it cannot, its last fault says why. */
function missingHolders(record: VolumeRecord | null, { members }: CoordinatorStatus): string[] {
  const lines: string[] = [];
  for (const { name, holders } of record?.snapshots ?? []) {
    for (const { replicaId, state, lastFault } of members) {
      if (state !== 'InSync' || holders.includes(replicaId)) continue;
      const why = lastFault.endsWith(`snapshot ${name}`)
        ? ` (${lastFault}: is its pool full?)`
        : '';
      lines.push(
        `Replica ${replicaId} lacks snapshot ${name} and makes up for it by itself${why}.`,
      );
    }
  }
  return lines;
}

export class ReplicatedVolume implements CoordinatorListener {
  readonly coordinator: CoordinatorShell;
  readonly #options: ReplicatedVolumeOptions;
  #volume: Volume | null = null;
  #serving = false;
  #expired = false;
  #deposedBy = 0;
  /** C8: sessions that outlived a declared loss. */
  #unsound: ReadonlySet<string> = new Set();
  readonly alarms: { readonly atMs: number; readonly kind: AlarmKind; readonly text: string }[] =
    [];

  constructor(options: ReplicatedVolumeOptions) {
    this.#options = options;
    const log = options.log.child({ volume: options.name });
    this.coordinator = new CoordinatorShell({
      ...options,
      log,
      nodes: options.coordinators.nodes,
      openTimeoutMs: OPEN_TIMEOUT_MS,
      listener: this,
    });
  }

  /** Null until it was served for the first time. */
  get volume(): Volume | null {
    return this.#volume;
  }

  get serving(): boolean {
    return this.#serving;
  }

  start(replicaIds: readonly string[]): void {
    this.coordinator.start(replicaIds);
  }

  /** Sessions have been closed; operations end, the lease is given back. */
  async stop(): Promise<void> {
    this.#serving = false;
    await this.#volume?.close();
    await this.coordinator.stop();
  }

  state(): VolumeState {
    const { phase, members } = this.coordinator.status();
    if (phase !== CoordinatorPhase.Active || !this.#serving) return 'Offline';
    // Who the record does not name is none of its copies: a newcomer to be, or one that was given up.
    const named = new Set(this.coordinator.record?.members.map(({ replicaId }) => replicaId));
    const data = members.filter(
      ({ replicaId, state }) => state !== 'Witness' && named.has(replicaId),
    );
    if (data.some(({ state }) => state === 'Joining')) return 'Rebuilding';
    return data.every(({ state, connected }) => state === 'InSync' && connected)
      ? 'Healthy'
      : 'Degraded';
  }

  status(): CoordinatorStatus {
    return this.coordinator.status();
  }

  /** What is wrong, and what to do, one line each; empty when nothing is. */
  advice(): string[] {
    const lines: string[] = [];
    const status = this.coordinator.status();
    if (this.#deposedBy > 0) {
      lines.push(
        `Another coordinator has this volume since epoch ${this.#deposedBy}: this one serves it no more. ` +
          'If that is not meant, stop the other one and restart this daemon.',
      );
    } else if (status.phase !== CoordinatorPhase.Active) {
      lines.push(`It is not served: ${status.waitingFor}.`);
    }
    for (const member of status.members) {
      const { replicaId, state, connected, lastFault } = member;
      const link = this.coordinator.linkReason(replicaId);
      if (!connected && this.coordinator.isFaulted(replicaId)) {
        lines.push(
          `Replica ${replicaId} is away: ${link}. See docs/operations.md, "The pool is faulted"; ` +
            'it catches up by itself when the daemon there was started again.',
        );
      } else if (!connected) {
        lines.push(linkAdvice(replicaId, link));
      } else if (state === 'Blank') {
        lines.push(
          `Replica ${replicaId} is not the one that the volume knows (a new or older disk): it is not believed, ` +
            'and is rebuilt from the others in a few seconds.',
        );
      } else if (state === 'Joining' && lastFault === MAP_LOST) {
        lines.push(`Replica ${replicaId} takes part in writes and is never complete: ${MAP_LOST}.`);
      } else if (state === 'Joining') {
        lines.push(`Replica ${replicaId} is being rebuilt; it serves reads when it is complete.`);
      } else if (state === 'Stale') {
        lines.push(
          `Replica ${replicaId} is stale${lastFault === '' ? '' : ` (${lastFault})`}; its rebuild begins by itself.`,
        );
      }
    }
    const record = this.coordinator.record;
    lines.push(...missingHolders(record, status));
    const inSync = record?.members.filter(({ state }) => state === MemberState.InSync).length ?? 0;
    if (record !== null && inSync === 1 && record.members.length > 1) {
      lines.push('Only one replica is in sync: do not stop its node before another has caught up.');
    }
    return lines;
  }

  // CoordinatorListener: from inside the core. Nothing here may submit.

  onPhase(phase: CoordinatorPhase): void {
    if (phase === CoordinatorPhase.Active && !this.#expired && !this.#serving) this.onServing();
  }

  onServing(): void {
    this.#expired = false;
    this.#later(() => {
      if (this.#expired || this.#deposedBy > 0 || this.#serving) return;
      this.#volume ??= this.#open();
      this.#serving = true;
      this.#options.listener.onServing(this.#volume);
    });
  }

  onHoldExpired(): void {
    this.#expired = true;
    this.#serving = false;
    // At once: what is held ends as Offline right after, and no host may hear of it (C10).
    this.#options.listener.onHoldExpired();
  }

  onDeposed(byEpoch: number): void {
    this.#serving = false;
    this.#deposedBy = byEpoch;
    this.#options.listener.onDeposed(byEpoch); // At once, as above (E5).
  }

  onLossDeclared(): void {
    this.#unsound = new Set(this.#options.sessions());
    this.#later(() => this.#options.listener.onLossDeclared());
  }

  onRecord(record: VolumeRecord): void {
    this.#later(() => {
      this.#volume?.refresh();
      this.#options.listener.onRecord(record);
    });
  }

  onAlarm(kind: AlarmKind, _replicaId: string, _lba: number, text: string): void {
    this.alarms.push({ atMs: this.#options.clock.nowMs(), kind, text });
    if (this.alarms.length > 20) this.alarms.shift();
  }

  /** C8: must this SYNC or FUA fail? True while a session is there that outlived a declared loss. */
  #refuses(op: BlockOp): boolean {
    if (this.#unsound.size === 0) return false;
    const still = this.#options.sessions().filter((session) => this.#unsound.has(session));
    this.#unsound = new Set(still);
    return still.length > 0 && (op.kind === BlockOpKind.Flush || op.fua);
  }

  #open(): Volume {
    const { volumeId, name, logicalBlockBytes, buffers, turn, clock } = this.#options;
    const store = new ReplicatedStore(volumeId, name, this.coordinator, (op) => {
      if (!this.#refuses(op)) return false;
      op.lower.onBlockDone(op, IoStatus.IoError);
      return true;
    });
    return new Volume({ store, logicalBlockBytes, buffers, turn, clock, atomicBlocks: 1 });
  }

  /** The core is in the middle of something: what it told is acted on right after. */
  #later(work: () => void): void {
    queueMicrotask(() => {
      const { turn } = this.#options;
      turn.enter();
      work();
      turn.leave();
    });
  }
}
