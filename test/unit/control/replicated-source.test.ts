// Goal: a stream of a snapshot on replicas asks them for each block once, and has what they say.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DataBufferPool } from '../../../src/block/index.ts';
import type { ReplicatedHandle } from '../../../src/control/index.ts';
import { ReplicatedSource } from '../../../src/control/replicated-source.ts';
import { BlockKind, nativeStreamReader, nativeStreamWriter } from '../../../src/store/index.ts';
import { receiveStream, sendStream } from '../../../src/stream/index.ts';

const BLOCKS = 8192;
const CUT = { epoch: 1, op: 1000 };

/** Runs of blocks, some of them holes, some changed since the earlier cut. */
function byteAt(lba: number): number {
  if (lba % 700 < 200 || lba % 50 === 7) return 0;
  return 1 + (lba % 250);
}
const isChanged = (lba: number): boolean => lba % 3 > 0;

test('what is sent whole, and as what changed, is asked for once', async () => {
  let askedBlocks = 0;
  const handle = {
    async changedSince(_id: string | null, _at: string, fromLba: number, toLba: number) {
      const end = Math.min(fromLba + 3000, toLba);
      return { runs: [{ lba: fromLba, blocks: end - fromLba, hole: false }], nextLba: end };
    },
    async readSnapshot(_id: string, lba: number, blocks: number) {
      askedBlocks += blocks;
      const lbas = Array.from({ length: blocks }, (_, index) => lba + index);
      const held = lbas.filter((at) => byteAt(at) > 0);
      return {
        kinds: Uint8Array.from(lbas, (at) => (byteAt(at) > 0 ? BlockKind.Data : BlockKind.Empty)),
        epochs: Uint32Array.from(lbas, () => 1),
        ops: Float64Array.from(lbas, (at) => (isChanged(at) ? 2000 : 10)),
        bytes: Buffer.concat(held.map((at) => Buffer.alloc(4096, byteAt(at)))),
      };
    },
  } as unknown as ReplicatedHandle;
  const snapshot = (name: string, op: number) => ({
    id: `00000000-0000-4000-8000-00000000000${name === 'a' ? 1 : 2}`,
    name,
    createdMs: 0,
    sizeBlocks: BLOCKS,
    version: { epoch: 1, op },
    holders: [],
  });
  const buffers = new DataBufferPool(new ArrayBuffer(64 * 2 ** 20));
  for (const from of [null, snapshot('a', CUT.op)]) {
    askedBlocks = 0;
    const source = new ReplicatedSource({
      handle,
      volume: 'v',
      volumeId: '00000000-0000-4000-8000-000000000003',
      snapshot: snapshot('b', 9000),
      from,
      logicalBlockBytes: 4096,
    });
    const found = new Map<number, number>();
    await receiveStream({
      pieces: sendStream({ source, writer: nativeStreamWriter(), buffers }),
      reader: nativeStreamReader(),
      buffers,
      open: async () => ({
        async write(lba, blocks, data) {
          for (let index = 0; index < blocks; index += 1) {
            found.set(lba + index, data.bytes[index * 4096]!);
          }
        },
        async unmap(lba, blocks) {
          for (let index = 0; index < blocks; index += 1) found.set(lba + index, 0);
        },
        async mark() {},
        async end() {},
      }),
    });
    for (let lba = 0; lba < BLOCKS; lba += 1) {
      const isSent = from === null ? byteAt(lba) > 0 : isChanged(lba);
      assert.equal(found.get(lba), isSent ? byteAt(lba) : undefined, `block ${lba}`);
    }
    // The blocks behind the last range of an answer are looked at again, and no others.
    assert.ok(askedBlocks < BLOCKS * 1.1, `${askedBlocks} blocks were asked for, of ${BLOCKS}`);
  }
});
