// What does not go down to the store as it came: operations on parts of a block (512e) and read-modify-write. Rare, so
// written for clarity: promises and a copy are fine here. The caller holds the range by admission all the while.
import { assert } from '../base/index.ts';
import {
  type BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  type BlockOpPool,
  type DataBuffer,
  type DataBufferPool,
  IoStatus,
} from '../block/index.ts';
import { STORE_BLOCK_BYTES } from '../store/types.ts';
import { BOUNCE_BYTES, BounceBuffers } from './bounce-buffers.ts';

export interface SlowPathOptions {
  readonly ratio: number;
  readonly logicalBlockBytes: number;
  readonly ops: BlockOpPool;
  readonly buffers: DataBufferPool;
  /** To the store, in store blocks; completion goes to `op.lower`. */
  submit(op: BlockOp): void;
}

/** A run of whole store blocks that covers a part of a range, and where that part lies in it. */
interface Chunk {
  readonly startBlock: number;
  readonly blocks: number;
  /** Offset of the wanted bytes in the cover, and how many they are. */
  readonly skipBytes: number;
  readonly bytes: number;
}

export class SlowPath {
  readonly #options: SlowPathOptions;
  readonly #bounce: BounceBuffers;

  constructor(options: SlowPathOptions) {
    this.#options = options;
    this.#bounce = BounceBuffers.of(options.buffers);
  }

  /** Runs a Read, Write, Unmap, Verify or Update of any alignment. Never rejects. */
  async run(op: BlockOp): Promise<IoStatus> {
    assert(!op.atomic, 'what is written in pieces is not atomic');
    switch (op.kind) {
      case BlockOpKind.Read:
        return await this.#read(op);
      case BlockOpKind.Write:
        return await this.#write(op, op.lba, op.blocks, op.dataByteOffset, op.data);
      case BlockOpKind.Verify: {
        const [startBlock, endBlock] = this.#cover(op.lba, op.blocks);
        return await this.#issue(
          op,
          BlockOpKind.Verify,
          startBlock,
          endBlock - startBlock,
          null,
          0,
        );
      }
      case BlockOpKind.Unmap:
        return await this.#unmap(op);
      case BlockOpKind.Update: {
        const read = await this.#read(op);
        if (read !== IoStatus.Ok) return read;
        assert(op.owner.onUpdateRead !== undefined);
        if (!op.owner.onUpdateRead(op)) return IoStatus.Declined;
        return await this.#write(op, op.lba, op.blocks, op.dataByteOffset, op.data);
      }
      default:
        assert(false, 'a flush needs no range');
    }
  }

  flush(): Promise<IoStatus> {
    return this.#issueFlush();
  }

  async #read(op: BlockOp): Promise<IoStatus> {
    const { data } = op;
    assert(data !== null);
    if (this.#direct(op.lba, op.blocks, op.dataByteOffset)) {
      const [startBlock, endBlock] = this.#cover(op.lba, op.blocks);
      const { dataByteOffset } = op;
      return await this.#issue(
        op,
        BlockOpKind.Read,
        startBlock,
        endBlock - startBlock,
        data,
        dataByteOffset,
      );
    }
    const bounce = await this.#bounce.take();
    try {
      let at = op.dataByteOffset;
      for (const chunk of this.#chunks(op.lba, op.blocks)) {
        const { startBlock, blocks } = chunk;
        const status = await this.#issue(op, BlockOpKind.Read, startBlock, blocks, bounce, 0);
        if (status !== IoStatus.Ok) return status;
        bounce.bytes.copy(data.bytes, at, chunk.skipBytes, chunk.skipBytes + chunk.bytes);
        at += chunk.bytes;
      }
      return IoStatus.Ok;
    } finally {
      this.#bounce.give(bounce);
    }
  }

  /** `data` null writes zeros. */
  async #write(
    op: BlockOp,
    lba: number,
    count: number,
    dataByteOffset: number,
    data: DataBuffer | null,
  ): Promise<IoStatus> {
    if (data !== null && this.#direct(lba, count, dataByteOffset)) {
      const [startBlock, endBlock] = this.#cover(lba, count);
      const blocks = endBlock - startBlock;
      return await this.#issue(op, BlockOpKind.Write, startBlock, blocks, data, dataByteOffset);
    }
    const bounce = await this.#bounce.take();
    try {
      let at = dataByteOffset;
      for (const chunk of this.#chunks(lba, count)) {
        const { startBlock, blocks, skipBytes, bytes } = chunk;
        if (bytes !== blocks * STORE_BLOCK_BYTES) {
          const status = await this.#issue(op, BlockOpKind.Read, startBlock, blocks, bounce, 0);
          if (status !== IoStatus.Ok) return status;
        }
        if (data === null) bounce.bytes.fill(0, skipBytes, skipBytes + bytes);
        else data.bytes.copy(bounce.bytes, skipBytes, at, at + bytes);
        const status = await this.#issue(op, BlockOpKind.Write, startBlock, blocks, bounce, 0);
        if (status !== IoStatus.Ok) return status;
        at += bytes;
      }
      return IoStatus.Ok;
    } finally {
      this.#bounce.give(bounce);
    }
  }

  /** Whole blocks give their space back; the parts of blocks at the ends become zeros. */
  async #unmap(op: BlockOp): Promise<IoStatus> {
    const { ratio } = this.#options;
    const end = op.lba + op.blocks;
    const firstWhole = Math.ceil(op.lba / ratio);
    const endWhole = Math.floor(end / ratio);
    if (firstWhole >= endWhole) return await this.#write(op, op.lba, op.blocks, 0, null);
    const head = firstWhole * ratio - op.lba;
    if (head > 0) {
      const status = await this.#write(op, op.lba, head, 0, null);
      if (status !== IoStatus.Ok) return status;
    }
    const tail = end - endWhole * ratio;
    if (tail > 0) {
      const status = await this.#write(op, end - tail, tail, 0, null);
      if (status !== IoStatus.Ok) return status;
    }
    return await this.#issue(op, BlockOpKind.Unmap, firstWhole, endWhole - firstWhole, null, 0);
  }

  #direct(lba: number, blocks: number, dataByteOffset: number): boolean {
    const { ratio } = this.#options;
    if (lba % ratio !== 0 || blocks % ratio !== 0) return false;
    return dataByteOffset % STORE_BLOCK_BYTES === 0;
  }

  #cover(lba: number, blocks: number): [startBlock: number, endBlock: number] {
    const { ratio } = this.#options;
    return [Math.floor(lba / ratio), Math.ceil((lba + blocks) / ratio)];
  }

  *#chunks(lba: number, count: number): Generator<Chunk> {
    const { logicalBlockBytes } = this.#options;
    // Byte arithmetic stays exact: a volume is at most 2^53 - 1 bytes.
    let byte = lba * logicalBlockBytes;
    const endByte = (lba + count) * logicalBlockBytes;
    while (byte < endByte) {
      const startBlock = Math.floor(byte / STORE_BLOCK_BYTES);
      const coverStart = startBlock * STORE_BLOCK_BYTES;
      const skipBytes = byte - coverStart;
      const bytes = Math.min(endByte, coverStart + BOUNCE_BYTES) - byte;
      const blocks = Math.ceil((skipBytes + bytes) / STORE_BLOCK_BYTES);
      yield { startBlock, blocks, skipBytes, bytes };
      byte += bytes;
    }
  }

  #issue(
    outer: BlockOp,
    kind: BlockOpKind,
    startBlock: number,
    blocks: number,
    data: DataBuffer | null,
    dataByteOffset: number,
  ): Promise<IoStatus> {
    const { ops, submit, ratio } = this.#options;
    return new Promise((resolve) => {
      const lower: BlockOpOwner = {
        onBlockDone(inner, status) {
          outer.failedLba = inner.failedLba * ratio;
          ops.give(inner);
          resolve(status);
        },
      };
      const inner = ops
        .take()
        .begin(kind, startBlock, blocks, data, dataByteOffset, outer.fua, lower);
      inner.lower = lower;
      submit(inner);
    });
  }

  #issueFlush(): Promise<IoStatus> {
    const { ops, submit } = this.#options;
    return new Promise((resolve) => {
      const lower: BlockOpOwner = {
        onBlockDone(inner, status) {
          ops.give(inner);
          resolve(status);
        },
      };
      const inner = ops.take().begin(BlockOpKind.Flush, 0, 0, null, 0, false, lower);
      inner.lower = lower;
      submit(inner);
    });
  }
}
