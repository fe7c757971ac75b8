// The kinds and versions of copied blocks in runs of blocks that are alike: what hosts write at once has one version, so a few
// entries say what an entry for each block would say. An entry, little-endian:
//
//   blocks u32 | kind u32 | epoch u32 | op u64
import { get32, get64, put32, put64 } from './bytes.ts';
import { MAX_DATA_BLOCKS } from './limits.ts';
import { type BlockCopies, BlockKind } from './messages.ts';
import { MAX_EPOCH, MAX_OP_NUMBER } from './version.ts';

export const COPY_RUN_BYTES = 20;

/** What runs say: entry i of each array belongs to block i. */
export interface CopyRuns {
  readonly blocks: number;
  readonly kinds: Uint8Array;
  readonly epochs: Uint32Array;
  readonly ops: Float64Array;
  /** How many are of kind Data. */
  readonly dataBlocks: number;
}

/** At most as many entries as there are blocks. */
export function encodeCopyRuns({ blocks, kinds, epochs, ops }: BlockCopies): Uint8Array {
  let runs = 1;
  for (let at = 1; at < blocks; at += 1) {
    const same =
      kinds[at] === kinds[at - 1] && epochs[at] === epochs[at - 1] && ops[at] === ops[at - 1];
    if (!same) runs += 1;
  }
  const b = new Uint8Array(runs * COPY_RUN_BYTES);
  let entry = 0;
  for (let from = 0; from < blocks; entry += COPY_RUN_BYTES) {
    let to = from + 1;
    while (
      to < blocks &&
      kinds[to] === kinds[from] &&
      epochs[to] === epochs[from] &&
      ops[to] === ops[from]
    ) {
      to += 1;
    }
    put32(b, entry, to - from);
    put32(b, entry + 4, kinds[from]!);
    put32(b, entry + 8, epochs[from]!);
    put64(b, entry + 12, ops[from]!);
    from = to;
  }
  return b;
}

/** Null: bytes that say what cannot be. */
export function decodeCopyRuns(b: Uint8Array): CopyRuns | null {
  if (b.length === 0 || b.length % COPY_RUN_BYTES !== 0) return null;
  let blocks = 0;
  let dataBlocks = 0;
  for (let at = 0; at < b.length; at += COPY_RUN_BYTES) {
    const count = get32(b, at);
    const kind = get32(b, at + 4);
    if (count === 0 || kind > BlockKind.Damaged) return null;
    if (get32(b, at + 8) > MAX_EPOCH || get64(b, at + 12) > MAX_OP_NUMBER) return null;
    blocks += count;
    if (kind === BlockKind.Data) dataBlocks += count;
    if (blocks > MAX_DATA_BLOCKS) return null; // Before memory is taken for what a peer says.
  }
  const kinds = new Uint8Array(blocks);
  const epochs = new Uint32Array(blocks);
  const ops = new Float64Array(blocks);
  let from = 0;
  for (let at = 0; at < b.length; at += COPY_RUN_BYTES) {
    const to = from + get32(b, at);
    kinds.fill(get32(b, at + 4), from, to);
    epochs.fill(get32(b, at + 8), from, to);
    ops.fill(get64(b, at + 12), from, to);
    from = to;
  }
  return { blocks, kinds, epochs, ops, dataBlocks };
}
