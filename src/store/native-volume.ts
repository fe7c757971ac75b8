// A volume of the native engine, and a snapshot of one: both are a handle that operations are submitted under.
import { assert } from '../base/index.ts';
import { type BlockOp, IoStatus, type MapExtent } from '../block/index.ts';
import {
  checkBlob,
  checkVolumeSize,
  MAX_CHANGED_RUNS,
  MAX_EPOCH,
  MAX_OP_NUMBER,
} from './limits.ts';
import type { NativePool, Submitter } from './native-pool.ts';
import type { BlockKind, ChangedRun, StoreOp, StoreVersion } from './replication.ts';
import {
  NO_USE,
  StoreError,
  type StoreSnapshot,
  type StoreSnapshotInfo,
  type StoreVolume,
  type StoreVolumeInfo,
  type VolumeTuning,
  type VolumeUse,
} from './types.ts';

const NOTHING = new Uint8Array(0);
const NO_RUNS = new Float64Array(0);

export class NativeVolume implements StoreVolume, Submitter {
  protected readonly pool: NativePool;
  readonly handle: number;
  readonly id: string;
  readonly #name: string;
  /** Deleted: nothing reaches the engine under this handle any more. */
  gone = false;
  #lastInfo: StoreVolumeInfo;

  constructor(pool: NativePool, handle: number, id: string, name: string) {
    this.pool = pool;
    this.handle = handle;
    this.id = id;
    this.#name = name;
    const zero = { epoch: 0, op: 0 };
    this.#lastInfo = {
      id,
      name,
      sizeBlocks: 0,
      mappedBlocks: 0,
      epoch: 0,
      op: 0,
      contig: zero,
      durable: zero,
      holeFloor: null,
      writtenBlocks: 0,
      snapshotBlocks: 0,
      inheritedBlocks: 0,
      origin: null,
    };
    this.info();
  }

  get name(): string {
    return this.#name;
  }

  info(): StoreVolumeInfo {
    const info = this.gone ? null : this.pool.native.volume(this.handle);
    if (info !== null) {
      const { handle: _handle, deleting: _deleting, rollingBack: _rolling, ...shown } = info;
      const alone = info.holeFloor.epoch === MAX_EPOCH && info.holeFloor.op === MAX_OP_NUMBER;
      const holeFloor = alone ? null : info.holeFloor;
      const origin = this.pool.snapshotNameOf(info.origin);
      const known = info.inheritedBlocks <= Number.MAX_SAFE_INTEGER;
      const inheritedBlocks = known ? info.inheritedBlocks : null;
      this.#lastInfo = { ...shown, inheritedBlocks, holeFloor, origin };
    }
    return this.#lastInfo;
  }

  tune({ cacheBytes, ioWorkers }: VolumeTuning): void {
    if (!this.gone) this.pool.native.tune(this.handle, cacheBytes ?? 0, ioWorkers);
  }

  use(): VolumeUse {
    return (this.gone ? null : this.pool.native.use(this.handle)) ?? NO_USE;
  }

  submit(op: BlockOp, epoch: number, opNumber: number): void {
    this.pool.submit(this, op, epoch, opNumber);
  }

  submitTagged(op: StoreOp, epoch: number, opNumber: number): void {
    this.pool.submit(this, op, epoch, opNumber);
  }

  changedSince(
    since: StoreVersion,
    lba: number,
    maxRuns: number,
    done: (status: IoStatus, runs: readonly ChangedRun[], nextLba: number) => void,
  ): void {
    assert(maxRuns > 0 && maxRuns <= MAX_CHANGED_RUNS);
    const { native } = this.pool;
    const started =
      !this.gone &&
      this.pool.control(
        (controlId) =>
          native.changedSince(controlId, this.handle, since.epoch, since.op, lba, maxRuns),
        (status, _handle, controlId) => {
          if (status !== IoStatus.Ok) return done(asIoStatus(status), [], lba);
          const flat = native.takeChanged(controlId);
          const runs: ChangedRun[] = [];
          for (let at = 1; at < flat.length; at += 5) {
            runs.push({
              lba: flat[at]!,
              blocks: flat[at + 1]!,
              kind: flat[at + 2]! as BlockKind,
              epoch: flat[at + 3]!,
              op: flat[at + 4]!,
            });
          }
          done(IoStatus.Ok, runs, flat[0]!);
        },
      );
    if (!started) done(IoStatus.Offline, [], lba);
  }

  async setMarks(marks: { holeFloor?: StoreVersion | null; contig?: StoreVersion }): Promise<void> {
    const { holeFloor, contig } = marks;
    const floor = holeFloor === undefined ? 0 : holeFloor === null ? 4 : 1;
    const which = floor | (contig === undefined ? 0 : 2);
    if (which === 0) return;
    await this.pool.promise(`marking volume ${this.name}`, (controlId) =>
      this.pool.native.setMarks(
        controlId,
        this.handle,
        which,
        holeFloor?.epoch ?? 0,
        holeFloor?.op ?? 0,
        contig?.epoch ?? 0,
        contig?.op ?? 0,
      ),
    );
  }

  async resize(sizeBlocks: number): Promise<void> {
    checkVolumeSize(sizeBlocks);
    await this.pool.promise(`resizing volume ${this.name}`, (controlId) =>
      this.pool.native.resizeVolume(controlId, this.handle, sizeBlocks),
    );
  }

  putBlob(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void {
    checkBlob(key, value);
    const started =
      !this.gone &&
      this.pool.control(
        (controlId) => this.pool.native.putBlob(controlId, this.handle, key, value ?? NOTHING),
        (status) => done(asIoStatus(status)),
      );
    if (!started) done(IoStatus.Offline);
  }

  getBlob(key: string): Uint8Array | null {
    return this.pool.native.getBlob(this.handle, key);
  }

  mapStatus(
    lba: number,
    maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    const { native } = this.pool;
    const started =
      !this.gone &&
      this.pool.control(
        (controlId) => native.mapStatus(controlId, this.handle, lba, maxExtents),
        (status, _handle, controlId) => {
          const flat = status === IoStatus.Ok ? native.takeRuns(controlId) : NO_RUNS;
          const extents: MapExtent[] = [];
          for (let at = 0; at < flat.length; at += 3) {
            extents.push({ lba: flat[at]!, blocks: flat[at + 1]!, mapped: flat[at + 2] === 1 });
          }
          done(asIoStatus(status), extents);
        },
      );
    if (!started) done(IoStatus.Offline, []);
  }
}

/** A snapshot: a volume that the engine changes nothing of, and that has no settings of its own. */
export class NativeSnapshot extends NativeVolume implements StoreSnapshot {
  /** The volume it is of: another one after a promotion. */
  volume: NativeVolume;
  readonly shortName: string;
  #lastSnapshotInfo: StoreSnapshotInfo;

  constructor(pool: NativePool, volume: NativeVolume, handle: number, id: string, name: string) {
    super(pool, handle, id, name);
    this.volume = volume;
    this.shortName = name;
    this.#lastSnapshotInfo = {
      id,
      name,
      volume: volume.name,
      sizeBlocks: 0,
      mappedBlocks: 0,
      epoch: 0,
      op: 0,
      createdMs: 0,
      uniqueBlocks: 0,
      writtenBlocks: 0,
      settled: false,
      clones: [],
    };
    this.snapshotInfo();
  }

  override get name(): string {
    return `${this.volume.name}@${this.shortName}`;
  }

  snapshotInfo(): StoreSnapshotInfo {
    const info = this.gone ? null : this.pool.native.snapshot(this.handle);
    if (info !== null) {
      const { handle: _handle, deleting: _deleting, clones, ...rest } = info;
      this.#lastSnapshotInfo = {
        ...rest,
        volume: this.volume.name,
        clones: clones.flatMap((clone) => this.pool.native.volume(clone)?.name ?? []),
      };
    }
    return this.#lastSnapshotInfo;
  }

  override info(): StoreVolumeInfo {
    // Called by the constructor of what this extends, before there is a volume.
    if (this.volume === undefined) return super.info();
    const { id, sizeBlocks, mappedBlocks, epoch, op, writtenBlocks } = this.snapshotInfo();
    const version = { epoch, op };
    return {
      id,
      name: this.name,
      sizeBlocks,
      mappedBlocks,
      epoch,
      op,
      contig: version,
      durable: version,
      holeFloor: null,
      writtenBlocks,
      snapshotBlocks: 0,
      inheritedBlocks: 0,
      origin: null,
    };
  }

  /** It has no part of its own. */
  override tune(): void {}

  override async resize(): Promise<void> {
    throw new StoreError('STORE_INVALID', `${this.name} is a snapshot, and keeps its size`);
  }

  override async setMarks(): Promise<void> {
    throw new StoreError('STORE_INVALID', `${this.name} is a snapshot, and keeps its marks`);
  }

  override putBlob(
    _key: string,
    _value: Uint8Array | null,
    done: (status: IoStatus) => void,
  ): void {
    done(IoStatus.ReadOnly);
  }

  override getBlob(): Uint8Array | null {
    return null;
  }
}

/** A control call's status for those who know only the data path's. */
function asIoStatus(status: number): IoStatus {
  if (status <= IoStatus.Busy) return status as IoStatus;
  return status === 16 ? IoStatus.Offline : IoStatus.IoError;
}
