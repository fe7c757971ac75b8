import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COPY_RUN_BYTES, decodeCopyRuns, encodeCopyRuns } from '../../../src/wire/copy-runs.ts';
import { MAX_DATA_BLOCKS } from '../../../src/wire/limits.ts';
import { BlockKind } from '../../../src/wire/messages.ts';
import { MAX_EPOCH, MAX_OP_NUMBER } from '../../../src/wire/version.ts';

function run(blocks: number, kind: number, epoch: number, op: number): Buffer {
  const b = Buffer.alloc(COPY_RUN_BYTES);
  b.writeUInt32LE(blocks, 0);
  b.writeUInt32LE(kind, 4);
  b.writeUInt32LE(epoch, 8);
  b.writeBigUInt64LE(BigInt(op), 12);
  return b;
}

test('copies in runs say what copies one by one say, with no more entries than there are runs', () => {
  const block = fc.record({
    kind: fc.constantFrom(...Object.values(BlockKind)),
    epoch: fc.constantFrom(0, 7, MAX_EPOCH),
    op: fc.constantFrom(0, 2 ** 33 + 5, MAX_OP_NUMBER),
  });
  fc.assert(
    fc.property(fc.array(block, { minLength: 1, maxLength: 40 }), (all) => {
      const copy = {
        lba: 5,
        blocks: all.length,
        kinds: Uint8Array.from(all, ({ kind }) => kind),
        epochs: Uint32Array.from(all, ({ epoch }) => epoch),
        ops: Float64Array.from(all, ({ op }) => op),
        crcs: new Uint32Array(all.length),
        data: null,
      };
      const b = encodeCopyRuns(copy);
      const { kinds, epochs, ops, blocks } = copy;
      const dataBlocks = all.filter(({ kind }) => kind === BlockKind.Data).length;
      assert.deepEqual(decodeCopyRuns(b), { blocks, kinds, epochs, ops, dataBlocks });
      const runs = all.filter((one, at) => {
        const before = all[at - 1];
        return one.kind !== before?.kind || one.epoch !== before.epoch || one.op !== before.op;
      });
      assert.equal(b.length, runs.length * COPY_RUN_BYTES);
    }),
  );
  const whole = decodeCopyRuns(run(MAX_DATA_BLOCKS, BlockKind.Data, 3, 4));
  assert.equal(whole?.dataBlocks, MAX_DATA_BLOCKS);
});

test('runs that cannot be are refused, however many blocks they speak of', () => {
  const good = run(2, BlockKind.Data, 3, 4);
  for (const [what, b] of [
    ['nothing', Buffer.alloc(0)],
    ['a part of an entry', good.subarray(0, COPY_RUN_BYTES - 1)],
    ['more than an entry', Buffer.concat([good, Buffer.alloc(1)])],
    ['a run of no blocks', run(0, BlockKind.Data, 3, 4)],
    ['an unknown kind', run(1, BlockKind.Damaged + 1, 3, 4)],
    ['an epoch that cannot be', run(1, BlockKind.Data, MAX_EPOCH + 1, 4)],
    ['an op that cannot be', run(1, BlockKind.Data, 3, MAX_OP_NUMBER + 1)],
    ['an op beyond 2^53', run(1, BlockKind.Data, 3, 2 ** 60)],
    ['more blocks than a frame has', run(MAX_DATA_BLOCKS + 1, BlockKind.Hole, 3, 4)],
    ['4 billion blocks', run(2 ** 32 - 1, BlockKind.Hole, 3, 4)],
    ['more blocks in all', Buffer.concat([good, run(MAX_DATA_BLOCKS - 1, 1, 3, 4)])],
  ] as const) {
    assert.equal(decodeCopyRuns(b), null, what);
  }
});
