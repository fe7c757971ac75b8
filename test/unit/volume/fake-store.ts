// A store volume over a plain Buffer whose completions a test holds back and lets go one by one.
import type { BlockOp, MapExtent } from '../../../src/block/index.ts';
import { BlockOpKind, IoStatus } from '../../../src/block/index.ts';
import {
  NO_USE,
  STORE_BLOCK_BYTES,
  type StoreVolume,
  type StoreVolumeInfo,
  type VolumeUse,
} from '../../../src/store/types.ts';

type ChangedDone = Parameters<StoreVolume['changedSince']>[3];

export class FakeStore implements StoreVolume {
  readonly id = '00000000-0000-4000-8000-000000000001';
  readonly name = 'fake';
  bytes: Buffer;
  /** With `hold` set, operations wait here until the test calls `complete`. */
  hold = false;
  readonly held: BlockOp[] = [];
  readonly versions: [kind: number, epoch: number, op: number, fua: boolean][] = [];
  readonly blobs = new Map<string, Uint8Array>();
  failNext: IoStatus | null = null;
  readonly log: string[] = [];

  constructor(blocks: number) {
    this.bytes = Buffer.alloc(blocks * STORE_BLOCK_BYTES);
  }

  info(): StoreVolumeInfo {
    const sizeBlocks = this.bytes.length / STORE_BLOCK_BYTES;
    return {
      id: this.id,
      name: this.name,
      sizeBlocks,
      mappedBlocks: 0,
      epoch: 4,
      op: 17,
      contig: { epoch: 4, op: 17 },
      durable: { epoch: 4, op: 17 },
      holeFloor: null,
      writtenBlocks: 0,
      snapshotBlocks: 0,
      inheritedBlocks: 0,
      origin: null,
    };
  }

  tune(): void {}

  use(): VolumeUse {
    return NO_USE;
  }

  submit(op: BlockOp, epoch: number, opNumber: number): void {
    this.versions.push([op.kind, epoch, opNumber, op.fua]);
    this.log.push(`${op.kind}:${op.lba}+${op.blocks}`);
    if (this.hold) this.held.push(op);
    else this.#finish(op);
  }

  submitTagged(op: BlockOp, epoch: number, opNumber: number): void {
    this.submit(op, epoch, opNumber);
  }

  changedSince(_since: unknown, _lba: number, _maxRuns: number, done: ChangedDone): void {
    done(IoStatus.Ok, [], this.info().sizeBlocks);
  }

  async setMarks(): Promise<void> {}

  complete(index = 0): void {
    const [op] = this.held.splice(index, 1);
    this.#finish(op!);
  }

  #finish(op: BlockOp): void {
    if (this.failNext !== null) {
      const status = this.failNext;
      this.failNext = null;
      op.failedLba = op.lba;
      op.lower.onBlockDone(op, status);
      return;
    }
    const start = op.lba * STORE_BLOCK_BYTES;
    const end = start + op.blocks * STORE_BLOCK_BYTES;
    if (op.kind === BlockOpKind.Read) {
      this.bytes.copy(op.data!.bytes, op.dataByteOffset, start, end);
    } else if (op.kind === BlockOpKind.Write) {
      op.data!.bytes.copy(this.bytes, start, op.dataByteOffset, op.dataByteOffset + end - start);
    } else if (op.kind === BlockOpKind.Unmap) {
      this.bytes.fill(0, start, end);
    }
    op.lower.onBlockDone(op, IoStatus.Ok);
  }

  async resize(sizeBlocks: number): Promise<void> {
    this.bytes = Buffer.concat([this.bytes], sizeBlocks * STORE_BLOCK_BYTES);
  }

  putBlob(key: string, value: Uint8Array | null, done: (status: IoStatus) => void): void {
    if (value === null) this.blobs.delete(key);
    else this.blobs.set(key, value);
    done(IoStatus.Ok);
  }

  getBlob(key: string): Uint8Array | null {
    return this.blobs.get(key) ?? null;
  }

  mapStatus(
    lba: number,
    _maxExtents: number,
    done: (status: IoStatus, extents: readonly MapExtent[]) => void,
  ): void {
    done(IoStatus.Ok, [
      { lba, blocks: 2, mapped: true },
      { lba: lba + 2, blocks: 5, mapped: false },
    ]);
  }
}
