// Questions that one member answers: what is mapped, what a snapshot holds, what has changed since.
import { IoStatus } from '../../block/index.ts';
import { BlockKind, type Changed, type CopyData, MessageType } from '../../wire/messages.ts';
import { ZERO_VERSION } from '../../wire/version.ts';
import type { Core } from './core.ts';
import { type AskDone, CoordinatorPhase, type MapListed, type Question } from './interfaces.ts';
import type { Peer } from './peer.ts';

export interface MapQuery {
  readonly peer: number;
  readonly done: MapListed;
}

interface Asked {
  readonly peer: Peer;
  readonly snapshotId: string;
  readonly question: Question;
  /** Peers that have it damaged. */
  readonly tried: number;
  readonly done: AskDone;
}

export class Questions {
  readonly #core: Core;
  readonly #mapQueries = new Map<number, MapQuery>();
  /** Those that came while there was no lease (E3), and wait for one. */
  #waiting: { readonly fromLba: number; readonly maxRuns: number; readonly done: MapListed }[] = [];
  /** Questions to one member each, by id. */
  readonly #asked = new Map<number, Asked>();

  constructor(core: Core) {
    this.#core = core;
  }

  listMapped(nowMs: number, fromLba: number, maxRuns: number, done: MapListed): void {
    const core = this.#core;
    core.nowMs = nowMs;
    const waits = core.leases.quiet || this.#waiting.length > 0;
    core.leases.use(nowMs);
    if (waits && core.phase === CoordinatorPhase.Active && !core.leases.holds(nowMs)) {
      this.#waiting.push({ fromLba, maxRuns, done });
      return;
    }
    const serves = core.phase === CoordinatorPhase.Active && core.leases.holds(nowMs);
    const { sizeBlocks } = core.record ?? { sizeBlocks: 0 };
    // W8, for all of the rest: who lacks an acked write would call its block unmapped.
    const peer = serves ? core.reads.reader(fromLba, sizeBlocks - fromLba, 0) : null;
    if (peer === null || fromLba >= sizeBlocks) {
      done(null, fromLba);
      return;
    }
    const id = core.nextId++;
    this.#mapQueries.set(id, { peer: peer.index, done });
    core.transport.send(peer.index, {
      type: MessageType.ListChanged,
      epoch: core.epoch,
      id,
      since: ZERO_VERSION,
      fromLba,
      toLba: sizeBlocks,
      maxEntries: maxRuns,
      branchOf: null,
    });
  }

  onLease(nowMs: number): void {
    if (this.#waiting.length === 0 || !this.#core.leases.holds(nowMs)) return;
    for (const { fromLba, maxRuns, done } of this.#waiting.splice(0)) {
      this.listMapped(nowMs, fromLba, maxRuns, done);
    }
  }

  onMapped({ id, status, runs, nextLba }: Changed): boolean {
    const query = this.#mapQueries.get(id);
    if (query === undefined) return false;
    this.#mapQueries.delete(id);
    query.done(status === IoStatus.Ok ? runs : null, nextLba);
    return true;
  }

  /** Of a peer that answers no more, or of all. */
  endMapQueries(peer: number): void {
    for (const [id, query] of [...this.#mapQueries]) {
      if (peer >= 0 && query.peer !== peer) continue;
      this.#mapQueries.delete(id);
      query.done(null, 0);
    }
    if (peer >= 0) return; // Those that wait for a lease have been asked of nobody yet.
    for (const { fromLba, done } of this.#waiting.splice(0)) done(null, fromLba);
  }

  ask(nowMs: number, snapshotId: string, question: Question, done: AskDone): void {
    this.#core.leases.use(nowMs);
    this.#askNext({ snapshotId, question, tried: 0, done });
  }

  /** Who is in sync and holds the snapshot. */
  #holders(snapshotId: string, tried: number): Peer[] {
    const core = this.#core;
    const held = core.record?.snapshots.find(({ id }) => id === snapshotId);
    return core.peers.filter(
      (peer): peer is Peer =>
        peer !== undefined &&
        (core.inSync & ~core.leaving & ~tried & peer.bit) !== 0 &&
        held?.holders.includes(peer.replicaId) === true,
    );
  }

  #askNext({ snapshotId, question, tried, done }: Omit<Asked, 'peer'>): void {
    const core = this.#core;
    const held = core.record?.snapshots.find(({ id }) => id === snapshotId);
    const peers = this.#holders(snapshotId, tried);
    const peer = peers[core.options.random.below(peers.length || 1)];
    if (held === undefined || peer === undefined || core.phase !== CoordinatorPhase.Active) {
      done(null);
      return;
    }
    const id = core.nextId++;
    this.#asked.set(id, { peer, snapshotId, question, tried, done });
    const { epoch } = core;
    if (question.kind === 'changed') {
      const { fromLba, toLba, maxEntries } = question;
      const { since = held.version } = question;
      const type = MessageType.ListChanged;
      core.transport.send(peer.index, {
        type,
        epoch,
        id,
        since,
        fromLba,
        toLba,
        maxEntries,
        branchOf: null,
      });
    } else {
      const { lba, blocks } = question;
      const type = MessageType.CopyRead;
      core.transport.send(peer.index, { type, epoch, id, lba, blocks, snapshotId });
    }
  }

  onAnswer(nowMs: number, message: Changed | CopyData): boolean {
    const asked = this.#asked.get(message.id);
    if (asked === undefined) return false;
    this.#asked.delete(message.id);
    const damaged = damagedIn(message);
    const { peer, snapshotId } = asked;
    const tried = asked.tried | peer.bit;
    if (damaged.length > 0) {
      // W9: another holder delivers, and this one is mended from those that have it whole (H3).
      const places = damaged.map((lba) => ({ lba, snapshotId }));
      this.#core.repairs.mend(nowMs, peer, places);
      if (this.#holders(snapshotId, tried).length > 0) {
        this.#askNext({ ...asked, tried });
        return true;
      }
    }
    asked.done(message);
    return true;
  }

  /** Who was asked is gone, or all are. */
  unask(peer: Peer | null): void {
    for (const [id, asked] of [...this.#asked]) {
      if (peer !== null && asked.peer !== peer) continue;
      this.#asked.delete(id);
      asked.done(null);
    }
  }
}

function damagedIn(message: Changed | CopyData): number[] {
  if (message.type !== MessageType.CopyData || message.copy === null) return [];
  const { lba, kinds } = message.copy;
  const found: number[] = [];
  kinds.forEach((kind, index) => {
    if (kind === BlockKind.Damaged) found.push(lba + index);
  });
  return found;
}
