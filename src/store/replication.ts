// What replication asks of a store beside reads and writes: versions and checksums of single blocks, installs, and what
// changed. The rules are those of docs/consistency.md.
import { assert } from '../base/index.ts';
import { BlockOp, type DataBuffer } from '../block/index.ts';

/** E1: (epoch:24 | op:40), as two safe integers. */
export interface StoreVersion {
  readonly epoch: number;
  readonly op: number;
}

export const BlockKind = {
  /** Never written, or a hole whose version was dropped (B7). Its version is zero. */
  Empty: 0,
  Data: 1,
  /** Unmapped by the op of its version (W6). */
  Hole: 2,
  /**
   * In `changedSince`: the map page is damaged, anything may be there (H6). In an install by WriteGuard.Join, with a version: no copy
   * can deliver the block, it is to be damaged here too until it is overwritten (W9).
   */
  Unknown: 3,
} as const;
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind];

/** Blocks of one kind and version that follow each other. */
export interface ChangedRun {
  readonly lba: number;
  readonly blocks: number;
  readonly kind: BlockKind;
  readonly epoch: number;
  readonly op: number;
}

export const WriteGuard = {
  /** W2: a block changes only if its version is not above the op's. */
  Newer: 0,
  /**
   * B4: a block is replaced by the tag's version iff its own is below `j`, which is what submitTagged is given, or below
   * the tag's. It may go back to an older version; one of the same version is left alone. With `j` zero: iff lower (V4).
   */
  Join: 1,
  /** H3: iff the block is data of exactly the tag's version; of what a clone has from its snapshot, the one it shows. */
  Exact: 2,
} as const;
export type WriteGuard = (typeof WriteGuard)[keyof typeof WriteGuard];

/** Beside the kinds of BlockOpKind: the tags of a range, without its data. */
export const STORE_OP_TAGS = 7;

export const BLOCK_TAG_BYTES = 16;

/**
 * The tags of a range of blocks, 16 bytes each, in a data buffer of the arena:
 *
 *   0 op, low 32 bits   4 op, high 8 bits   5 epoch, 24 bits   8 CRC32C   12 kind   13 result   14-15 zero
 */
export class BlockTags {
  readonly buffer: DataBuffer;
  /** Where the first tag is, in bytes; a multiple of 16. */
  readonly byteOffset: number;
  readonly #bytes: Buffer;

  constructor(buffer: DataBuffer, byteOffset = 0) {
    assert(byteOffset % BLOCK_TAG_BYTES === 0);
    this.buffer = buffer;
    this.byteOffset = byteOffset;
    // Made for every read of a replica: without a view of its own where it can be.
    this.#bytes = byteOffset === 0 ? buffer.bytes : (buffer.bytes.subarray(byteOffset) as Buffer);
  }

  set(index: number, kind: BlockKind, epoch: number, op: number, crc: number): void {
    const bytes = this.#bytes;
    const at = index * BLOCK_TAG_BYTES;
    bytes.writeUInt32LE(op % 2 ** 32, at);
    bytes.writeUInt32LE(((epoch << 8) | (op / 2 ** 32)) >>> 0, at + 4);
    bytes.writeUInt32LE(crc, at + 8);
    bytes.writeUInt32LE(kind, at + 12);
  }

  kind(index: number): BlockKind {
    return this.#bytes[index * BLOCK_TAG_BYTES + 12] as BlockKind;
  }
  epoch(index: number): number {
    return this.#bytes.readUInt32LE(index * BLOCK_TAG_BYTES + 4) >>> 8;
  }
  op(index: number): number {
    const at = index * BLOCK_TAG_BYTES;
    return this.#bytes.readUInt32LE(at) + this.#bytes[at + 4]! * 2 ** 32;
  }
  /** Of data; zero for the others. */
  crc(index: number): number {
    return this.#bytes.readUInt32LE(index * BLOCK_TAG_BYTES + 8);
  }
  /** After an install: this block was replaced. */
  installed(index: number): boolean {
    return this.#bytes[index * BLOCK_TAG_BYTES + 13] === 1;
  }
  /** After a read that ended Damaged: this block is one of those (W9); its bytes are zeros, its version still stands. */
  damaged(index: number): boolean {
    return this.#bytes[index * BLOCK_TAG_BYTES + 13] === 2;
  }
  /** For a store: what became of a block. */
  setResult(index: number, result: 0 | 1 | 2): void {
    this.#bytes[index * BLOCK_TAG_BYTES + 13] = result;
  }
}

/** A block operation with tags. For `submitTagged`; begin it as any other, then set these. */
export class StoreOp extends BlockOp {
  tags: BlockTags | null = null;
  guard: WriteGuard = WriteGuard.Newer;
  /** Sets the kind to STORE_OP_TAGS: reads the tags alone. */
  tagsOnly = false;
  /**
   * H3: a Read whose data brings what the blocks are to be. One that is damaged is rewritten in its place, for the volume and every
   * snapshot that share it, where these are the bytes that its checksum is of; else it ends as Damaged.
   */
  offers = false;
}
