// One 4k operation through the store: the turn, the crossing into the engine, the engine, and the way back, on a pool in
// RAM, where everything ends inside the crossing. What is left is our own cost.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Turn } from '../../src/base/index.ts';
import { BlockOp, BlockOpKind, DataBufferPool, IoStatus } from '../../src/block/index.ts';
import { createPoolFile, nativeArena, openPool, type StoreVolume } from '../../src/store/index.ts';
import type { Case } from './harness.ts';

const MIB = 1024 * 1024;
const VOLUME_BLOCKS = 64 * 256;

const turn = new Turn();
const buffers = new DataBufferPool(nativeArena(16 * MIB));

async function openVolume(): Promise<StoreVolume> {
  const directory = mkdtempSync('/dev/shm/ashlar-micro-');
  const path = join(directory, 'pool');
  try {
    await createPoolFile({ path, sizeBytes: 512 * MIB, name: 'micro' });
    const pool = await openPool({ path, turn, buffers });
    const id = '11111111-1111-4111-8111-111111111111';
    return await pool.createVolume({ id, name: 'micro', sizeBlocks: VOLUME_BLOCKS });
  } finally {
    rmSync(directory, { recursive: true }); // Open, it lives on without a name.
  }
}

/** Operations that wait for a checkpoint are replaced, not awaited: a case runs without a break. */
function over(volume: StoreVolume, kind: BlockOpKind, depth: number): (count: number) => unknown {
  let done = 0;
  let version = 0;
  let lba = 1;
  const data = buffers.allocate(4096)!;
  const idle: BlockOp[] = [];
  const owner = {
    onBlockDone(op: BlockOp, status: IoStatus) {
      if (status !== IoStatus.Ok) throw new Error(`the store answered ${status}`);
      done += 1;
      idle.push(op);
    },
  };
  return (count) => {
    for (let started = 0; started < count; ) {
      turn.enter();
      for (let index = 0; index < depth && started < count; index += 1, started += 1) {
        const op = idle.pop() ?? new BlockOp();
        lba = (lba * 16807 + 11) % VOLUME_BLOCKS;
        op.begin(kind, lba, 1, data, 0, false, owner).lower = owner;
        version += 1;
        volume.submit(op, 1, version);
      }
      turn.leave();
    }
    return done;
  };
}

async function make(): Promise<Case[]> {
  if (!existsSync('/dev/shm')) return [];
  const volume = await openVolume();
  const cases: Case[] = [];
  for (const [word, kind] of [
    ['write', BlockOpKind.Write],
    ['read', BlockOpKind.Read],
  ] as const) {
    for (const depth of [1, 32]) {
      cases.push({
        name: `store 4k ${word}, ${depth} a turn`,
        bytes: 4096,
        run: over(volume, kind, depth),
      });
    }
  }
  return cases;
}

export const cases: readonly Case[] = await make();
