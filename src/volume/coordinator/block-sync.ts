// Brings the blocks of some members to one value: recovery's write-back (V4) and a joiner's rebuild (B2-B5). It asks its
// *listers* what changed since a version, window by window, merges the answers, and copies each range that differs from a
// source to its targets. A target decides for each block whether it takes it (B4): a repeat does no harm, and what changes after
// it was listed comes in the target's own stream. So the next window is listed while the one before it is copied.
import { assert } from '../../base/index.ts';
import { IoStatus } from '../../block/index.ts';
import {
  type BlockCopies,
  BlockKind,
  type Changed,
  type ChangedRuns,
  type CoordinatorMessage,
  type CopyData,
  type Installed,
  type InstallMode,
  MessageType,
} from '../../wire/messages.ts';
import { compare } from '../../wire/record.ts';
import type { Rules } from '../../wire/rules.ts';
import type { Version } from '../../wire/version.ts';
import { MAP_LOST } from './interfaces.ts';
import { MAX_COPY_BLOCKS, MAX_HOLE_BLOCKS, MAX_LISTED_RUNS } from './limits.ts';

/** What the listers hold in a range where none of them changes: entry i is lister i's. Version zero: not listed. */
export interface Segment {
  lba: number;
  blocks: number;
  readonly kinds: number[];
  readonly epochs: number[];
  readonly ops: number[];
}

/** What to do about a segment: nothing, or bring the copy of the first source that can deliver to all targets. */
export interface CopyDecision {
  /** The version is a hole of this version: no bytes need to be read. */
  readonly hole: boolean;
  /** The version; where nobody knows it (H6), the highest that it may be. */
  readonly epoch: number;
  readonly op: number;
  /** Peers, the best first. */
  readonly sources: readonly number[];
  readonly targets: readonly number[];
}

export interface BlockSyncOptions {
  readonly fromLba: number;
  readonly sizeBlocks: number;
  readonly epoch: number;
  readonly rules: Rules;
  readonly since: Version;
  /** Peers. */
  readonly listers: readonly number[];
  readonly mode: InstallMode;
  readonly join: Version;
  readonly windowBytes: number;
  /** B6: listers list, and targets take copies into, the branch of this snapshot. Standard: the volume. */
  readonly branchOf?: string;
  /** Sources read this snapshot. Standard: the volume. */
  readonly snapshotId?: string;
  /** No segment lies on both sides of it. */
  readonly border?: number;
  decide(segment: Segment): CopyDecision | null;
  send(peer: number, message: CoordinatorMessage): void;
  nextId(): number;
  /** B9: asks for leave to copy so many bytes now; false: `resume` will be called. */
  mayCopy(bytes: number): boolean;
  onDone(): void;
  onFailed(peer: number, why: string): void;
  /** H6: a target cannot change what lies below a page of its map that it has lost. False: that fails it all. */
  mayLeave?(peer: number): boolean;
  /** W9: nobody could deliver the block. The targets get it as damaged, unless this abandons it all. */
  onLost(lba: number): void;
}

interface Job {
  readonly lba: number;
  blocks: number;
  decision: CopyDecision;
  source: number;
  /** What a source that has it damaged says that its version is. */
  told: Version | null;
  installs: number;
}

interface Listing {
  runs: ChangedRuns;
  nextLba: number;
}

export class BlockSync {
  readonly #options: BlockSyncOptions;
  readonly #listings: (Listing | null)[];
  readonly #listIds = new Map<number, number>();
  readonly #jobs: Job[] = [];
  readonly #reading = new Map<number, Job>();
  readonly #installing = new Map<number, { readonly job: Job; readonly peer: number }>();
  /** Where the next window begins, which is being listed, or is listed. */
  #fromLba: number;
  #listed = false;
  #running = 0;
  #runningBytes = 0;
  #ended = false;
  copiedBytes = 0;

  constructor(options: BlockSyncOptions) {
    this.#options = options;
    this.#listings = options.listers.map(() => null);
    this.#fromLba = options.fromLba;
  }

  /** Everything below it is alike. */
  get doneLba(): number {
    let done = this.#fromLba;
    for (const { lba } of this.#jobs) done = Math.min(done, lba);
    for (const { lba } of this.#reading.values()) done = Math.min(done, lba);
    for (const { job } of this.#installing.values()) done = Math.min(done, job.lba);
    return done;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** It has asked for something, and has no answer yet. */
  get waits(): boolean {
    const asked = this.#listIds.size + this.#reading.size + this.#installing.size;
    return !this.#ended && asked > 0;
  }

  start(): void {
    this.#list();
    this.#pump();
  }

  /** After `mayCopy` said no: a job is left then. Without one there is a listing to wait for, or a copy. */
  resume(): void {
    if (!this.#ended && this.#jobs.length > 0) this.#pump();
  }

  abandon(): void {
    this.#ended = true;
    this.#jobs.length = 0;
  }

  /** True when the answer was one of this sync's. */
  onChanged(peer: number, message: Changed): boolean {
    const index = this.#listIds.get(message.id);
    if (index === undefined) return false;
    this.#listIds.delete(message.id);
    if (this.#ended) return true;
    if (message.status !== IoStatus.Ok) {
      this.#fail(peer, 'the listing of changed blocks failed');
      return true;
    }
    this.#listings[index] = { runs: message.runs, nextLba: message.nextLba };
    if (this.#listIds.size === 0) {
      this.#listed = true;
      this.#pump();
    }
    return true;
  }

  onCopyData(peer: number, message: CopyData): boolean {
    const job = this.#reading.get(message.id);
    if (job === undefined) return false;
    this.#reading.delete(message.id);
    if (this.#ended) return true;
    const { copy } = message;
    if (message.status !== IoStatus.Ok || copy === null) {
      this.#fail(peer, 'a read for a copy failed');
      return true;
    }
    if (copy.kinds.includes(BlockKind.Damaged)) this.#damaged(job, copy);
    else this.#install(job, copy);
    return true;
  }

  onInstalled(peer: number, message: Installed): boolean {
    const found = this.#installing.get(message.id);
    if (found === undefined) return false;
    this.#installing.delete(message.id);
    if (this.#ended) return true;
    const isLost = message.status === IoStatus.Damaged;
    if (message.status !== IoStatus.Ok && !(isLost && this.#options.mayLeave?.(peer))) {
      this.#fail(peer, isLost ? MAP_LOST : 'a copy could not be written');
      return true;
    }
    found.job.installs -= 1;
    if (found.job.installs === 0) this.#finish(found.job);
    return true;
  }

  #list(): void {
    const { listers, sizeBlocks } = this.#options;
    if (this.#fromLba >= sizeBlocks) return;
    listers.forEach((peer, index) => {
      const id = this.#options.nextId();
      this.#listings[index] = null;
      this.#listIds.set(id, index);
      this.#options.send(peer, {
        type: MessageType.ListChanged,
        epoch: this.#options.epoch,
        id,
        since: this.#options.since,
        fromLba: this.#fromLba,
        toLba: sizeBlocks,
        maxEntries: MAX_LISTED_RUNS,
        branchOf: this.#options.branchOf ?? null,
      });
    });
  }

  /** Cuts what is listed at every edge of every lister's runs, decides each piece, and asks for the next window. */
  #merge(): void {
    const { listers, sizeBlocks, decide, border = 0 } = this.#options;
    let horizon = sizeBlocks;
    for (const listing of this.#listings) horizon = Math.min(horizon, listing!.nextLba);
    assert(horizon > this.#fromLba);
    const cursors = listers.map(() => 0);
    const segment: Segment = {
      lba: 0,
      blocks: 0,
      kinds: listers.map(() => 0),
      epochs: listers.map(() => 0),
      ops: listers.map(() => 0),
    };
    let at = this.#fromLba;
    while (at < horizon) {
      let next = at < border ? Math.min(border, horizon) : horizon;
      let listed = false;
      for (let index = 0; index < listers.length; index += 1) {
        const { runs } = this.#listings[index]!;
        let cursor = cursors[index]!;
        while (cursor < runs.lbas.length && runs.lbas[cursor]! + runs.counts[cursor]! <= at) {
          cursor += 1;
        }
        cursors[index] = cursor;
        segment.kinds[index] = BlockKind.Empty;
        segment.epochs[index] = 0;
        segment.ops[index] = 0;
        if (cursor >= runs.lbas.length) continue;
        const start = runs.lbas[cursor]!;
        if (start > at) {
          next = Math.min(next, start);
          continue;
        }
        listed = true;
        next = Math.min(next, start + runs.counts[cursor]!);
        segment.kinds[index] = runs.kinds[cursor]!;
        segment.epochs[index] = runs.epochs[cursor]!;
        segment.ops[index] = runs.ops[cursor]!;
      }
      if (listed) {
        segment.lba = at;
        segment.blocks = next - at;
        const decision = decide(segment);
        if (this.#ended) return;
        if (decision !== null && decision.targets.length > 0) this.#plan(at, next, decision);
      }
      at = next;
    }
    this.#listed = false;
    this.#fromLba = horizon;
    this.#list();
  }

  /**
   * Blocks that lie side by side and go from the same sources to the same targets are one copy, whatever their versions: a copy
   * says the version of each of its blocks. After random writes every block is a run of its own; copied one at a time, they cost
   * two messages a block.
   */
  #plan(start: number, end: number, decision: CopyDecision): void {
    const most = decision.hole ? MAX_HOLE_BLOCKS : MAX_COPY_BLOCKS;
    let from = start;
    const last = this.#jobs.at(-1);
    if (last !== undefined && last.lba + last.blocks === start && goTogether(last, decision)) {
      const more = Math.min(MAX_COPY_BLOCKS - last.blocks, end - start);
      last.blocks += more;
      // Of a block whose version nobody tells: as new as any of them may be (H6).
      const isNewer = this.#options.rules.H6_newestOfCopy && compare(decision, last.decision) > 0;
      if (more > 0 && isNewer) last.decision = decision;
      from += more;
    }
    for (let lba = from; lba < end; lba += most) {
      this.#jobs.push({
        lba,
        blocks: Math.min(most, end - lba),
        decision,
        source: 0,
        told: null,
        installs: 0,
      });
    }
  }

  #pump(): void {
    for (;;) {
      while (this.#jobs.length === 0 && this.#listed && !this.#ended) this.#merge();
      if (this.#ended) return; // A decision may end it: there is nobody left to copy from.
      if (this.#jobs.length === 0) break;
      const job = this.#jobs[0]!;
      const bytes = bytesOf(job);
      const room = roomOf(job);
      if (this.#running > 0 && this.#runningBytes + room > this.#options.windowBytes) return;
      if (!this.#options.mayCopy(bytes)) return;
      this.#jobs.shift();
      this.#running += 1;
      this.#runningBytes += room;
      this.#begin(job);
      if (this.#ended) return;
    }
    if (this.#running > 0 || this.#fromLba < this.#options.sizeBlocks) return;
    this.#ended = true;
    this.#options.onDone();
  }

  #begin(job: Job): void {
    const { decision } = job;
    if (decision.hole) {
      this.#install(job, uniformCopies(job.lba, job.blocks, BlockKind.Hole, decision));
      return;
    }
    const id = this.#options.nextId();
    this.#reading.set(id, job);
    this.#options.send(decision.sources[job.source]!, {
      type: MessageType.CopyRead,
      epoch: this.#options.epoch,
      id,
      lba: job.lba,
      blocks: job.blocks,
      snapshotId: this.#options.snapshotId ?? null,
    });
  }

  #install(job: Job, copy: BlockCopies): void {
    const { targets } = job.decision;
    job.installs = targets.length;
    for (const peer of targets) {
      const id = this.#options.nextId();
      this.#installing.set(id, { job, peer });
      this.#options.send(peer, {
        type: MessageType.Install,
        epoch: this.#options.epoch,
        id,
        mode: this.#options.mode,
        join: this.#options.join,
        copy,
        branchOf: this.#options.branchOf ?? null,
      });
    }
    this.copiedBytes += bytesOf(job) * targets.length;
  }

  /** W9: a source that cannot deliver a block is asked no more for it; each block finds its own source. */
  #damaged(job: Job, copy: BlockCopies): void {
    if (job.blocks > 1) {
      const { decision, source } = job;
      const alone = Array.from({ length: job.blocks }, (_, index): Job => {
        return { lba: job.lba + index, blocks: 1, decision, source, told: null, installs: 0 };
      });
      this.#jobs.unshift(...alone);
      this.#finish(job);
      return;
    }
    // Not of who has lost the page of the map with it (H6).
    const told = { epoch: copy.epochs[0]!, op: copy.ops[0]! };
    if (told.epoch !== 0 || told.op !== 0) job.told = told;
    job.source += 1;
    if (job.source < job.decision.sources.length) {
      this.#begin(job);
      return;
    }
    // Nobody has it: the targets must not answer with an older value as if it were this one.
    this.#options.onLost(job.lba);
    if (this.#ended) return;
    const { epoch, op } = job.told ?? job.decision;
    this.#install(job, uniformCopies(job.lba, 1, BlockKind.Damaged, { epoch, op }));
  }

  #finish(job: Job): void {
    this.#running -= 1;
    this.#runningBytes -= roomOf(job);
    this.#pump();
  }

  #fail(peer: number, why: string): void {
    this.abandon();
    this.#options.onFailed(peer, why);
  }
}

/** H6: below a page of that lister's map that it cannot read. Anything may be there, of any version. */
export function isUnknown(segment: Segment, index: number): boolean {
  const { kinds, epochs, ops } = segment;
  return kinds[index] === BlockKind.Damaged && epochs[index] === 0 && ops[index] === 0;
}

/** Holes stay apart: their copy carries no bytes and one version. */
function goTogether({ decision: first }: Job, second: CopyDecision): boolean {
  const same = (a: readonly number[], b: readonly number[]): boolean =>
    a.length === b.length && a.every((peer, index) => peer === b[index]);
  return (
    !first.hole &&
    !second.hole &&
    same(first.sources, second.sources) &&
    same(first.targets, second.targets)
  );
}

/** What goes over the wire, about. */
function bytesOf(job: Job): number {
  return job.decision.hole ? 4096 : job.blocks * 4096;
}

/** What a target needs memory for until it has answered: for holes too. */
function roomOf(job: Job): number {
  return job.blocks * 4096;
}

/** Copies of `blocks` blocks that are all alike and carry no bytes. */
export function uniformCopies(
  lba: number,
  blocks: number,
  kind: number,
  version: Version,
): BlockCopies {
  return {
    lba,
    blocks,
    kinds: new Uint8Array(blocks).fill(kind),
    epochs: new Uint32Array(blocks).fill(version.epoch),
    ops: new Float64Array(blocks).fill(version.op),
    crcs: new Uint32Array(blocks),
    data: null,
  };
}
