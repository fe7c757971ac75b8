// Goal: a block that rots on the medium in a snapshot's place is delivered by another replica, and is whole on the medium
// afterwards, for the snapshot and for the volume that shares it (W9, H3); so is what only a scrub sees (H4).
// Method: pools of the engine in files, one of them changed beneath it.
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { pieceIn } from '../../../src/replication/rollback.ts';
import { ACluster, BlockOpKind, IoStatus, QUICK, run } from './cluster.ts';
import { contents, write } from './whole.ts';

const BLOCKS = 64;

/** Other bytes than were written, in all these places. */
function damage(path: string, places: readonly number[]): void {
  const file = openSync(path, 'r+');
  for (const at of places) writeSync(file, Buffer.alloc(4096, 0xee), 0, 4096, at);
  closeSync(file);
}

/** Where the block that is filled with `byte` lies in the file. */
function placeOf(path: string, byte: number): number {
  const at = readFileSync(path).indexOf(Buffer.alloc(4096, byte));
  assert.ok(at > 0 && at % 4096 === 0, `${at}`);
  return at;
}

test('what rots in a snapshot on one replica comes from the others, and is mended where it is', async () => {
  const cluster = await new ACluster(3).startOnDisk();
  try {
    await cluster.makeVolume(BLOCKS, 3);
    cluster.open();
    const volume = await cluster.serving();
    await write(cluster, volume, 5, 0xa5);
    await write(cluster, volume, 6, 0xb6);
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null), IoStatus.Ok);
    const { coordinator } = cluster.volume!;
    await coordinator.takeSnapshot({ id: 's', name: 's', createdMs: 0 });
    await write(cluster, volume, 6, 0xc7); // Block 5 is the volume's too, 6 the snapshot's alone.
    await cluster.until('all have it', () =>
      cluster.volume!.status().members.every(({ lagOps }) => lagOps === 0),
    );
    const [bad] = cluster.nodes;
    const path = bad!.pool.devices.list()[0]!.path;
    const places = [0xa5, 0xb6].map((byte) => placeOf(path, byte));
    damage(path, places);

    const question = { kind: 'copy', lba: 5, blocks: 2 } as const;
    for (let round = 0; round < 20; round += 1) {
      const piece = await coordinator.ask('s', question, pieceIn);
      assert.ok(piece !== null, 'another holder has it');
      const { bytes } = piece;
      assert.deepEqual([bytes[0], bytes[4095], bytes[4096], bytes[8191]], [0xa5, 0xa5, 0xb6, 0xb6]);
    }
    const isMended = (): boolean => {
      const now = readFileSync(path);
      return places.every((at, index) => now[at] === [0xa5, 0xb6][index]);
    };
    await cluster.until('it is mended', isMended);
    assert.deepEqual((await contents(bad!, 'v-r1', BLOCKS)).slice(5, 7), [0xa5, 0xc7]);
  } finally {
    await cluster.stop();
  }
});

test("what one replica's scrub finds comes from the others unread, and is off its pool's list", async () => {
  const cluster = await new ACluster(3).startOnDisk();
  try {
    await cluster.makeVolume(BLOCKS, 3);
    cluster.open({ ...QUICK, quietHeartbeatMs: 1000 });
    const volume = await cluster.serving();
    await write(cluster, volume, 5, 0xa5);
    await write(cluster, volume, 6, 0xb6);
    const { coordinator } = cluster.volume!;
    await coordinator.takeSnapshot({ id: 's', name: 's', createdMs: 0 });
    await write(cluster, volume, 6, 0xc7); // Block 5 is the volume's too, 6 the snapshot's alone.
    await write(cluster, volume, 9, 0xd9); // The volume's alone.
    assert.equal(await run(volume, cluster.turn, BlockOpKind.Flush, 0, 0, null), IoStatus.Ok);
    await cluster.until('all have it', () =>
      cluster.volume!.status().members.every(({ lagOps }) => lagOps === 0),
    );
    const [bad] = cluster.nodes;
    const { devices } = bad!.pool;
    const { path } = devices.list()[0]!;
    const shared = [0xa5, 0xb6].map((byte) => placeOf(path, byte));
    damage(path, [...shared, placeOf(path, 0xd9)]);

    await devices.startScrub();
    const list = (): string[] => devices.damage().map(({ volume: name, lba }) => `${name} ${lba}`);
    const all = ['replica/v/v-r1 9', 'replica/v/v-r1@s 5', 'replica/v/v-r1@s 6'];
    await cluster.until('the scrub is done', () => devices.scrubStatus().state === 'Done');
    const atOnce = list();
    assert.ok(atOnce.every((one) => all.includes(one)) && atOnce.length > 0, atOnce.join(', '));
    await cluster.until('nothing is damaged', () => list().length === 0);
    assert.equal(devices.scrubStatus().damagedBlocks, 0);
    const medium = readFileSync(path);
    assert.deepEqual(
      shared.map((at) => medium[at]),
      [0xa5, 0xb6],
    );
    const found = await contents(bad!, 'v-r1', BLOCKS);
    assert.deepEqual([found[5], found[6], found[9]], [0xa5, 0xc7, 0xd9]);
    await devices.startScrub();
    await cluster.until('it was looked at again', () => devices.scrubStatus().state === 'Done');
    assert.deepEqual(list(), []);
  } finally {
    await cluster.stop();
  }
});
