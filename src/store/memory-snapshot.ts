// A snapshot of the store's twin in memory: a copy of the map, whose blocks are shared.
import { type BlockOp, BlockOpKind, IoStatus, type MapExtent } from '../block/index.ts';
import type { MemoryPool, MemoryVolume } from './memory.ts';
import type { ChangedRun, StoreOp, StoreVersion } from './replication.ts';
import {
  StoreError,
  type StoreSnapshot,
  type StoreSnapshotInfo,
  type StoreVolumeInfo,
  type VolumeUse,
} from './types.ts';
import type { VersionedBlocks } from './versioned-blocks.ts';

interface Fixed {
  readonly id: string;
  readonly shortName: string;
  readonly epoch: number;
  readonly op: number;
  readonly createdMs: number;
}

export class MemorySnapshot implements StoreSnapshot {
  readonly #pool: MemoryPool;
  readonly #content: MemoryVolume;
  readonly #fixed: Fixed;
  /** The volume it is of: another one after a promotion. */
  volume: MemoryVolume;
  readonly clones: MemoryVolume[] = [];

  constructor(pool: MemoryPool, volume: MemoryVolume, content: MemoryVolume, fixed: Fixed) {
    this.#pool = pool;
    this.#content = content;
    this.#fixed = fixed;
    this.volume = volume;
  }

  get id(): string {
    return this.#fixed.id;
  }
  get shortName(): string {
    return this.#fixed.shortName;
  }
  get name(): string {
    return `${this.volume.name}@${this.#fixed.shortName}`;
  }
  get blocks(): VersionedBlocks {
    return this.#content.blocks;
  }
  get gone(): boolean {
    return this.#content.gone;
  }
  set gone(gone: boolean) {
    this.#content.gone = gone;
  }

  snapshotInfo(): StoreSnapshotInfo {
    const { shortName, ...rest } = this.#fixed;
    const { line, origin } = this.volume;
    const at = line.indexOf(this);
    const before = at > 0 ? line[at - 1]!.blocks : origin?.blocks;
    const after = at >= 0 && at + 1 < line.length ? line[at + 1]!.blocks : this.volume.blocks;
    let unique = 0;
    for (const [lba, bytes] of this.blocks.data()) {
      if (before?.at(lba).bytes !== bytes && after.at(lba).bytes !== bytes) unique += 1;
    }
    return {
      ...rest,
      name: shortName,
      volume: this.volume.name,
      sizeBlocks: this.#content.info().sizeBlocks,
      mappedBlocks: this.blocks.mapped,
      uniqueBlocks: unique,
      writtenBlocks: this.blocks.countNotIn(before),
      settled: true,
      clones: this.clones.map((clone) => clone.name),
    };
  }

  info(): StoreVolumeInfo {
    const version = { epoch: this.#fixed.epoch, op: this.#fixed.op };
    return {
      ...this.#content.info(),
      ...version,
      id: this.id,
      name: this.name,
      contig: version,
      durable: version,
      holeFloor: null,
      writtenBlocks: this.snapshotInfo().writtenBlocks,
    };
  }

  /** It has no part of its own. */
  tune(): void {}

  use(): VolumeUse {
    return this.#content.use();
  }

  submit(op: BlockOp): void {
    if (op.kind === BlockOpKind.Write || op.kind === BlockOpKind.Unmap) {
      op.lower.onBlockDone(op, this.gone ? IoStatus.Offline : IoStatus.ReadOnly);
    } else {
      this.#pool.submit(this.#content, op, 0, 0);
    }
  }

  submitTagged(op: StoreOp): void {
    this.submit(op);
  }

  changedSince(
    since: StoreVersion,
    lba: number,
    maxRuns: number,
    done: (status: IoStatus, runs: readonly ChangedRun[], nextLba: number) => void,
  ): void {
    this.#content.changedSince(since, lba, maxRuns, done);
  }

  async setMarks(): Promise<void> {
    throw new StoreError('STORE_INVALID', `${this.name} is a snapshot, and keeps its marks`);
  }

  async resize(): Promise<void> {
    throw new StoreError('STORE_INVALID', `${this.name} is a snapshot, and keeps its size`);
  }

  putBlob(_key: string, _value: Uint8Array | null, done: (status: IoStatus) => void): void {
    done(IoStatus.ReadOnly);
  }

  getBlob(): Uint8Array | null {
    return null;
  }

  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    this.#content.mapStatus(lba, maxExtents, done);
  }
}
