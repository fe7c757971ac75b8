// The blocks of a volume in memory, with their versions: what the engine's map is to its medium. Holes over ranges are
// kept as ranges, so that unmapping what was never written costs nothing however long it is.
import { BlockKind, type ChangedRun, type StoreVersion } from './replication.ts';
import { STORE_BLOCK_BYTES } from './types.ts';

export interface BlockState {
  readonly kind: BlockKind;
  readonly version: StoreVersion;
  /** Data only. Never written to: a change brings other bytes. */
  readonly bytes: Uint8Array | null;
  /** S14: a clone has it from its snapshot. It shows the version it had there, and any version of the clone's is above. */
  readonly inherited?: true;
  /** Data that no copy could deliver (W9): its bytes are none of it. */
  readonly damaged?: true;
}

/** What a change's version is compared with. */
export function comparedVersion({ version, inherited }: BlockState): StoreVersion {
  return inherited === true ? ZERO_VERSION : version;
}

interface HoleRange {
  readonly lba: number;
  readonly end: number;
  readonly version: StoreVersion;
  /** As of BlockState. */
  readonly inherited?: true;
}

/** Below every version that an operation ever got. */
export const ZERO_VERSION: StoreVersion = { epoch: 0, op: 0 };
const EMPTY: BlockState = { kind: BlockKind.Empty, version: ZERO_VERSION, bytes: null };

/** Negative, zero or positive as `a` is below, equal to or above `b`. */
export function compareStoreVersions(a: StoreVersion, b: StoreVersion): number {
  return a.epoch === b.epoch ? a.op - b.op : a.epoch - b.epoch;
}

/** What a clone did itself is above all that it began with. */
function covers(range: HoleRange, other: HoleRange): boolean {
  if (range.inherited !== other.inherited) return other.inherited === true;
  return compareStoreVersions(range.version, other.version) > 0;
}

export class VersionedBlocks {
  /** Blocks that have a state of their own; the others are what the ranges say. */
  readonly #own = new Map<number, BlockState>();
  #holes: HoleRange[] = [];
  #mapped = 0;
  /** As of the last flush: the states of what changed since (null: none of its own), and the ranges. */
  readonly #flushed = new Map<number, BlockState | null>();
  #flushedHoles: HoleRange[] = [];

  get mapped(): number {
    return this.#mapped;
  }

  /** The same states; what changes here from now on does not change there. */
  copy(): VersionedBlocks {
    const copy = new VersionedBlocks();
    for (const [lba, state] of this.#own) copy.#own.set(lba, state);
    copy.#holes = [...this.#holes];
    copy.#flushedHoles = [...this.#holes];
    copy.#mapped = this.#mapped;
    return copy;
  }

  /** Data blocks. The same bytes are the same block: a copy shares them until one of the two changes it. */
  *data(): Iterable<[lba: number, bytes: Uint8Array]> {
    for (const [lba, { bytes }] of this.#own) if (bytes !== null) yield [lba, bytes];
  }

  /** Begins as what `other` holds, its data shared (S14), its holes with the versions that they had. */
  takeOver(other: VersionedBlocks): void {
    for (const [lba, { kind, version, bytes }] of other.#own) {
      this.#put(lba, { kind, version, bytes, inherited: true });
    }
    this.#holes = other.#holes.map((hole) => ({ ...hole, inherited: true }));
    this.#flushedHoles = [...this.#holes];
  }

  /** P4: the data of `other`; what differs gets the version. */
  becomeLike(other: VersionedBlocks, version: StoreVersion, keep: boolean): void {
    for (const [lba] of [...this.data()]) {
      if (other.at(lba).bytes === null) this.unmap(lba, 1, version, keep);
    }
    for (const [lba, bytes] of other.data()) {
      if (this.at(lba).bytes === bytes) continue;
      this.#replace(lba, { kind: BlockKind.Data, version, bytes });
    }
  }

  /** Extents of blocks that are not the same as in `before`; where to go on. */
  differing(
    before: VersionedBlocks | null,
    lba: number,
    end: number,
    maxExtents: number,
  ): { extents: { lba: number; blocks: number; mapped: boolean }[]; nextLba: number } {
    const places = new Set<number>();
    for (const [at, bytes] of this.data()) if (before?.at(at).bytes !== bytes) places.add(at);
    for (const [at] of before?.data() ?? []) if (this.at(at).bytes === null) places.add(at);
    const extents: { lba: number; blocks: number; mapped: boolean }[] = [];
    for (const at of [...places].sort((a, b) => a - b)) {
      if (at < lba || at >= end) continue;
      const mapped = this.at(at).bytes !== null;
      const last = extents.at(-1);
      if (last !== undefined && last.mapped === mapped && last.lba + last.blocks === at) {
        last.blocks += 1;
      } else if (extents.length === maxExtents) {
        return { extents, nextLba: at };
      } else {
        extents.push({ lba: at, blocks: 1, mapped });
      }
    }
    return { extents, nextLba: end };
  }

  /** How many data blocks are not the same ones in `other`. */
  countNotIn(other: VersionedBlocks | undefined): number {
    if (other === undefined) return this.#mapped;
    let count = 0;
    for (const [lba, bytes] of this.data()) if (other.at(lba).bytes !== bytes) count += 1;
    return count;
  }

  at(lba: number): BlockState {
    const own = this.#own.get(lba);
    if (own !== undefined) return own;
    let hole: HoleRange | null = null;
    for (const range of this.#holes) {
      if (lba < range.lba || lba >= range.end) continue;
      if (hole === null || covers(range, hole)) hole = range;
    }
    if (hole === null) return EMPTY;
    const { version, inherited } = hole;
    const state = { kind: BlockKind.Hole, version, bytes: null } as const;
    return inherited === true ? { ...state, inherited } : state;
  }

  isData(lba: number): boolean {
    return this.#own.get(lba)?.kind === BlockKind.Data;
  }

  /** Data blocks at or after `lba`, by rising lba. */
  dataFrom(lba: number): number[] {
    const found: number[] = [];
    for (const [at, state] of this.#own)
      if (at >= lba && state.kind === BlockKind.Data) found.push(at);
    return found.sort((a, b) => a - b);
  }

  set(lba: number, kind: BlockKind, version: StoreVersion, bytes: Uint8Array | null): void {
    const state = { kind, version, bytes: bytes === null ? null : Uint8Array.from(bytes) };
    this.#replace(lba, state);
  }

  /** W9: it is data of that version, and reads as damaged. */
  spoil(lba: number, version: StoreVersion): void {
    const bytes = new Uint8Array(STORE_BLOCK_BYTES);
    this.#replace(lba, { kind: BlockKind.Data, version, bytes, damaged: true });
  }

  /**
   * W6. A block that has a state below the version, or none, becomes a hole of it; with `keep` false (B7) those that have
   * one become empty and the others stay so.
   */
  unmap(lba: number, blocks: number, version: StoreVersion, keep: boolean): void {
    const end = lba + blocks;
    const hole = { kind: keep ? BlockKind.Hole : BlockKind.Empty, bytes: null } as const;
    for (const [at, state] of this.#inside(lba, end)) {
      if (compareStoreVersions(comparedVersion(state), version) > 0) continue;
      this.#replace(at, { ...hole, version: keep ? version : ZERO_VERSION });
    }
    if (keep) this.#holes.push({ lba, end, version });
  }

  changedSince(since: StoreVersion, lba: number, end: number, maxRuns: number): ChangedRun[] {
    const runs: ChangedRun[] = [];
    let last: { lba: number; blocks: number; kind: BlockKind; epoch: number; op: number } | null =
      null;
    const add = (at: number, blocks: number, state: BlockState): void => {
      const { kind, version } = state;
      if (kind === BlockKind.Empty || compareStoreVersions(version, since) <= 0) return;
      const same =
        last !== null &&
        last.lba + last.blocks === at &&
        last.kind === kind &&
        last.epoch === version.epoch &&
        last.op === version.op;
      if (same && last !== null) {
        last.blocks += blocks;
        return;
      }
      last = { lba: at, blocks, kind, epoch: version.epoch, op: version.op };
      runs.push(last);
    };
    // Between two of these the ranges say the same of every block that has no state of its own.
    const borders = new Set([lba, end]);
    for (const range of this.#holes) {
      for (const border of [range.lba, range.end])
        if (border > lba && border < end) borders.add(border);
    }
    for (const [at] of this.#inside(lba, end)) {
      borders.add(at);
      if (at + 1 < end) borders.add(at + 1);
    }
    const sorted = [...borders].sort((a, b) => a - b);
    for (let index = 0; index + 1 < sorted.length && runs.length <= maxRuns; index += 1) {
      const at = sorted[index]!;
      add(at, sorted[index + 1]! - at, this.at(at));
    }
    return runs;
  }

  makeDurable(): void {
    this.#flushed.clear();
    this.#flushedHoles = [...this.#holes];
  }

  forgetUnflushed(): void {
    for (const [lba, state] of this.#flushed) this.#put(lba, state);
    this.#flushed.clear();
    this.#holes = [...this.#flushedHoles];
  }

  *#inside(lba: number, end: number): Iterable<[number, BlockState]> {
    // A small range of a large volume costs what the range holds; a large one, what the volume holds.
    if (end - lba > this.#own.size) {
      for (const [at, state] of [...this.#own]) if (at >= lba && at < end) yield [at, state];
      return;
    }
    for (let at = lba; at < end; at += 1) {
      const state = this.#own.get(at);
      if (state !== undefined) yield [at, state];
    }
  }

  #replace(lba: number, state: BlockState): void {
    if (!this.#flushed.has(lba)) this.#flushed.set(lba, this.#own.get(lba) ?? null);
    this.#put(lba, state);
  }

  #put(lba: number, state: BlockState | null): void {
    if (this.isData(lba)) this.#mapped -= 1;
    if (state === null) this.#own.delete(lba);
    else this.#own.set(lba, state);
    if (state?.kind === BlockKind.Data) this.#mapped += 1;
  }
}
