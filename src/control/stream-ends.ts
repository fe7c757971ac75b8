// The two ends of a stream on this node: a snapshot of the pool that is read, a volume that is written.
import type { Turn } from '../base/index.ts';
import {
  type BlockDevice,
  BlockOp,
  BlockOpKind,
  type DataBuffer,
  IoStatus,
} from '../block/index.ts';
import {
  BlockKind,
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreSnapshot,
  type StoreVolume,
} from '../store/index.ts';
import type {
  ChangedRange,
  StreamDescription,
  StreamSource,
  StreamTarget,
} from '../stream/index.ts';

/** A range wants at least this much of the map looked at in one call. */
const MAP_EXTENTS = 512;
/** UNMAPs are cut so that hosts' operations come between. */
const MAX_UNMAP_BLOCKS = 2 ** 20;

/** What a snapshot holds, or what changed in it since an earlier one of the same volume. */
export class SnapshotSource implements StreamSource {
  readonly description: StreamDescription;
  readonly #snapshot: StoreSnapshot;
  readonly #from: StoreSnapshot | null;

  constructor(snapshot: StoreSnapshot, from: StoreSnapshot | null, logicalBlockBytes: number) {
    this.#snapshot = snapshot;
    this.#from = from;
    const info = snapshot.snapshotInfo();
    this.description = {
      volume: info.volume,
      volumeId: snapshot.id,
      snapshot: snapshot.shortName,
      snapshotId: info.id,
      from: from === null ? null : { name: from.shortName, id: from.snapshotInfo().id },
      sizeBlocks: info.sizeBlocks,
      logicalBlockBytes,
      createdAt: new Date(info.createdMs).toISOString(),
    };
  }

  async changes(lba: number, most: number): Promise<readonly ChangedRange[]> {
    const { sizeBlocks } = this.description;
    for (let at = lba; at < sizeBlocks; ) {
      const step =
        this.#from === null ? await this.#mapped(at, most) : await this.#changed(at, most);
      if (step.ranges.length > 0) return step.ranges;
      at = step.nextLba;
    }
    return [];
  }

  async read(lba: number, blocks: number, data: DataBuffer): Promise<void> {
    await submitTo(
      (op) => {
        op.lower = op.owner;
        this.#snapshot.submit(op, 0, 0);
      },
      (op, owner) => op.begin(BlockOpKind.Read, lba, blocks, data, 0, false, owner),
      `${this.#snapshot.name}`,
    );
  }

  async #mapped(lba: number, most: number): Promise<{ ranges: ChangedRange[]; nextLba: number }> {
    const extents = await mapOf(this.#snapshot, lba, most * 2);
    const last = extents.at(-1);
    return {
      ranges: extents
        .filter(({ mapped }) => mapped)
        .map((extent) => ({ lba: extent.lba, blocks: extent.blocks, hole: false })),
      nextLba: last === undefined ? this.description.sizeBlocks : last.lba + last.blocks,
    };
  }

  /**
   * Blocks of a higher version than the earlier snapshot's cut, found by the walk that skips what is older; and holes
   * where it had data, which a volume that stands alone keeps no versions of: those by comparing the maps.
   */
  async #changed(lba: number, most: number): Promise<{ ranges: ChangedRange[]; nextLba: number }> {
    const from = this.#from!;
    const { sizeBlocks } = this.description;
    const written = await new Promise<{ ranges: ChangedRange[]; nextLba: number }>(
      (resolve, reject) => {
        const cut = from.snapshotInfo();
        this.#snapshot.changedSince(
          { epoch: cut.epoch, op: cut.op },
          lba,
          most,
          (status, runs, nextLba) => {
            if (status !== IoStatus.Ok) {
              reject(failure(status, this.#snapshot.name, lba));
              return;
            }
            const unknown = runs.find(({ kind }) => kind === BlockKind.Unknown);
            if (unknown !== undefined) {
              reject(failure(IoStatus.Damaged, this.#snapshot.name, unknown.lba));
              return;
            }
            const ranges = runs
              .filter(({ kind }) => kind === BlockKind.Data)
              .map((run) => ({ lba: run.lba, blocks: run.blocks, hole: false }));
            resolve({ ranges, nextLba });
          },
        );
      },
    );
    const endLba = Math.min(written.nextLba, sizeBlocks);
    const holes = await this.#newHoles(lba, endLba);
    return { ranges: mergeRanges([...written.ranges, ...holes]), nextLba: endLba };
  }

  async #newHoles(startLba: number, endLba: number): Promise<ChangedRange[]> {
    const from = this.#from!;
    const fromBlocks = Math.min(endLba, from.snapshotInfo().sizeBlocks);
    const holes: ChangedRange[] = [];
    for (let lba = startLba; lba < fromBlocks; ) {
      const [before] = await mapOf(from, lba, 1);
      const [after] = await mapOf(this.#snapshot, lba, 1);
      if (before === undefined || after === undefined) break;
      const end = Math.min(before.lba + before.blocks, after.lba + after.blocks, fromBlocks);
      if (before.mapped && !after.mapped) holes.push({ lba, blocks: end - lba, hole: true });
      lba = end;
    }
    return holes;
  }
}

/** Sorted, neighbours of one kind joined. */
function mergeRanges(ranges: ChangedRange[]): ChangedRange[] {
  const merged: ChangedRange[] = [];
  for (const range of ranges.sort((a, b) => a.lba - b.lba)) {
    const last = merged.at(-1);
    if (last !== undefined && last.hole === range.hole && last.lba + last.blocks === range.lba) {
      merged[merged.length - 1] = { ...last, blocks: last.blocks + range.blocks };
    } else {
      merged.push(range);
    }
  }
  return merged;
}

function mapOf(
  volume: StoreVolume,
  lba: number,
  most: number,
): Promise<readonly { lba: number; blocks: number; mapped: boolean }[]> {
  return new Promise((resolve, reject) => {
    volume.mapStatus(lba, Math.min(most, MAP_EXTENTS), (status, extents) => {
      if (status === IoStatus.Ok) resolve(extents);
      else reject(failure(status, volume.name, lba));
    });
  });
}

export interface VolumeTargetOptions {
  readonly device: BlockDevice;
  readonly name: string;
  /** Of a device that says things at the end of turns only. */
  readonly turn?: Turn;
  /** Durable: all below `lba` is there. */
  readonly keepMark: (lba: number) => Promise<void>;
  readonly finish: () => Promise<void>;
  /** Of a device that may declare acknowledged writes lost, and serve on: how often it has (C8). */
  readonly losses?: () => number;
}

/** A volume that a stream is received into. Ranges come in 4 KiB blocks, the device may count in 512 bytes. */
export class VolumeTarget implements StreamTarget {
  readonly #options: VolumeTargetOptions;
  readonly #ratio: number;
  /** Of the device, when the first change since the last mark began; null: none has. */
  #losses: number | null = null;

  constructor(options: VolumeTargetOptions) {
    this.#options = options;
    this.#ratio = STORE_BLOCK_BYTES / options.device.geometry.logicalBlockBytes;
  }

  async write(lba: number, blocks: number, data: DataBuffer): Promise<void> {
    await this.#do(BlockOpKind.Write, lba, blocks, data);
  }

  async unmap(lba: number, blocks: number): Promise<void> {
    for (let at = lba; at < lba + blocks; at += MAX_UNMAP_BLOCKS) {
      await this.#do(BlockOpKind.Unmap, at, Math.min(MAX_UNMAP_BLOCKS, lba + blocks - at), null);
    }
  }

  async mark(lba: number): Promise<void> {
    await this.#flush();
    await this.#options.keepMark(lba);
  }

  async end(): Promise<void> {
    await this.#flush();
    await this.#options.finish();
  }

  /** Rejects where what was written since the last mark may not all be there: a flush alone does not speak for that (C8). */
  async #flush(): Promise<void> {
    await this.#do(BlockOpKind.Flush, 0, 0, null);
    const before = this.#losses;
    this.#losses = null;
    if (before === null || before === this.#options.losses?.()) return;
    throw new StoreError(
      'STORE_IO',
      `${this.#options.name} lost writes that its replicas had not flushed: send the stream again, it goes on where all is there`,
    );
  }

  #do(kind: BlockOpKind, lba: number, blocks: number, data: DataBuffer | null): Promise<void> {
    const { device, name, turn, losses } = this.#options;
    if (kind !== BlockOpKind.Flush) this.#losses ??= losses?.() ?? null;
    return submitTo(
      (op) => {
        turn?.enter();
        device.submit(op);
        turn?.leave();
      },
      (op, owner) => op.begin(kind, lba * this.#ratio, blocks * this.#ratio, data, 0, false, owner),
      name,
    );
  }
}

function submitTo(
  submit: (op: BlockOp) => void,
  begin: (op: BlockOp, owner: BlockOp['owner']) => void,
  name: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const op = new BlockOp();
    begin(op, {
      onBlockDone: (done, status) => {
        if (status === IoStatus.Ok) resolve();
        else reject(failure(status, name, done.failedLba));
      },
    });
    submit(op);
  });
}

function failure(status: IoStatus, name: string, lba: number): StoreError {
  switch (status) {
    case IoStatus.NoSpace:
      return new StoreError('STORE_NO_SPACE', `the pool has no room for ${name}`);
    case IoStatus.Damaged:
      return new StoreError('STORE_IO', `block ${lba} of ${name} is damaged`);
    case IoStatus.Offline:
      return new StoreError('STORE_CLOSED', `${name} is closed`);
    default:
      return new StoreError('STORE_IO', `an operation on ${name} failed (status ${status})`);
  }
}
