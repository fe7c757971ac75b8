// One block operation, pooled and reused: no closure, Promise or array per I/O on the hot path.
import { assert } from '../base/index.ts';
import type { DataBuffer } from './data-buffer.ts';
import type { IoStatus } from './status.ts';

export const BlockOpKind = {
  /** Device to `data`. Holes read as zeros. */
  Read: 1,
  /** `data` to device. */
  Write: 2,
  /** Gives the range's space back; it reads as zeros from then on. No `data`. */
  Unmap: 3,
  /** Everything acknowledged before reaches stable storage (C3). No range, no `data`. */
  Flush: 4,
  /**
   * Read, change, write, with the range held exclusively: the owner's `onUpdateRead` sees the range's bytes in `data`,
   * changes them in place, and says whether to write. COMPARE AND WRITE, ORWRITE.
   */
  Update: 5,
  /** Reads and checks the range, delivers nothing: VERIFY with BYTCHK=0, PRE-FETCH. No `data`. */
  Verify: 6,
} as const;
export type BlockOpKind = (typeof BlockOpKind)[keyof typeof BlockOpKind];

/** Who hears of the end of an operation. Called once for each submit, inside a turn, perhaps inside `submit` itself. */
export interface BlockOpOwner {
  onBlockDone(op: BlockOp, status: IoStatus): void;
  /** Update only: `op.data` holds the current bytes; return true to write what it holds afterwards. */
  onUpdateRead?(op: BlockOp): boolean;
}

const nobody: BlockOpOwner = {
  onBlockDone() {
    assert(false, 'a block operation without an owner completed');
  },
};

export class BlockOp {
  kind: BlockOpKind = BlockOpKind.Flush;
  /** First logical block: an index in the device's logical block size. */
  lba = 0;
  /** A count of logical blocks. */
  blocks = 0;
  /** Force unit access: on stable storage before `onBlockDone`. Writes, unmaps and updates. */
  fua = false;
  /**
   * Write: a crash leaves all of it or nothing of it. For at most `Geometry.atomicWriteBytes`, of whole physical blocks.
   * Set after `begin`, which clears it.
   */
  atomic = false;
  /** The bytes, or null. Must stay owned by the submitter and untouched from submit to onBlockDone. */
  data: DataBuffer | null = null;
  /** Where in `data` the range begins, in bytes; a multiple of 512. */
  dataByteOffset = 0;
  owner: BlockOpOwner = nobody;
  /** With IoStatus.Damaged: the first bad logical block. */
  failedLba = 0;

  // The lower rooms' own: the volume's place for its links while it holds the operation, the store's tag.
  lower: BlockOpOwner = nobody;
  next: BlockOp | null = null;
  tag = 0;
  /** The volume's: where its range stands among the admitted ones, -1 when it does not. */
  admitted = -1;
  /** The volume's: when it came, by a monotonic clock. */
  submittedMs = 0;

  /** Sets every field a submitter sets: a reused operation carries nothing over. */
  begin(
    kind: BlockOpKind,
    lba: number,
    blocks: number,
    data: DataBuffer | null,
    dataByteOffset: number,
    fua: boolean,
    owner: BlockOpOwner,
  ): this {
    assert(Number.isSafeInteger(lba) && lba >= 0);
    assert(Number.isSafeInteger(blocks) && blocks >= 0);
    this.kind = kind;
    this.lba = lba;
    this.blocks = blocks;
    this.data = data;
    this.dataByteOffset = dataByteOffset;
    this.fua = fua;
    this.atomic = false;
    this.owner = owner;
    this.failedLba = 0;
    this.next = null;
    return this;
  }
}

/** Operations are reused; the pool grows to the deepest queue ever seen, which the transport's windows bound. */
export class BlockOpPool {
  #free: BlockOp | null = null;

  take(): BlockOp {
    const op = this.#free;
    if (op === null) return new BlockOp();
    this.#free = op.next;
    op.next = null;
    return op;
  }

  give(op: BlockOp): void {
    op.data = null;
    op.owner = nobody;
    op.lower = nobody;
    op.next = this.#free;
    this.#free = op;
  }
}
