// Goal: an operation that waits behind others, or for a quorum, can be taken back; one that anybody may have seen cannot (C6).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turn } from '../../../src/base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  DataBufferPool,
  IoStatus,
  MAX_BUFFER_BYTES,
} from '../../../src/block/index.ts';
import { CoordinatorPhase } from '../../../src/volume/coordinator/interfaces.ts';
import { Volume } from '../../../src/volume/index.ts';
import { Scenario } from '../../sim/scenario.ts';
import { FakeStore } from './fake-store.ts';

const { Read, Write, Flush } = BlockOpKind;
const microtasks = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function setUp(logicalBlockBytes = 4096) {
  const store = new FakeStore(64);
  const buffers = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES * 2));
  const volume = new Volume({ store, buffers, turn: new Turn(), logicalBlockBytes });
  const ends: string[] = [];
  const start = (name: string, kind: BlockOpKind, lba: number, blocks = 1): BlockOp => {
    const data = kind === Flush ? null : buffers.allocate(4096);
    const owner = {
      onBlockDone: () => {
        ends.push(name);
        data?.release();
      },
    };
    const op = new BlockOp().begin(kind, lba, blocks, data, 0, false, owner);
    volume.submit(op);
    return op;
  };
  store.hold = true;
  return { store, volume, ends, start };
}

test('what waits for an overlapping one is taken back, and those behind it go on', async () => {
  const { store, volume, ends, start } = setUp();
  const first = start('read', Read, 3);
  const write = start('write', Write, 3);
  start('later', Read, 3);
  start('other write', Write, 3);
  assert.deepEqual(store.log, ['1:3+1']);
  assert.equal(volume.withdraw(first), false, 'the store has it');
  assert.equal(volume.withdraw(write), true);
  assert.equal(volume.withdraw(write), false);
  assert.equal(store.held.length, 1, 'nothing begins while more may be taken back');
  await microtasks();
  assert.deepEqual(store.log, ['1:3+1', '1:3+1']);
  store.complete();
  store.complete();
  assert.deepEqual(ends, ['read', 'later']);
  store.complete();
  assert.deepEqual(ends, ['read', 'later', 'other write']);
  assert.equal(volume.inFlight, 0);
});

test('all that waits behind one is taken back, in any order, and none of it reaches the store', async () => {
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
  ]) {
    const { store, volume, ends, start } = setUp(512);
    start('write', Write, 8, 8);
    const waiting = [start('a', Read, 8, 4), start('b', Write, 8, 3), start('c', Read, 12, 4)];
    for (const at of order) assert.equal(volume.withdraw(waiting[at]!), true);
    await microtasks();
    assert.deepEqual(store.log, ['2:1+1']);
    store.complete();
    await microtasks();
    assert.deepEqual(ends, ['write']);
    assert.equal(volume.inFlight, 0);
    await volume.close();
  }
});

test('what a store gives back is as it came, and its range is free', async () => {
  const { store, volume, ends, start } = setUp(512);
  const given = new Set<BlockOp>();
  Object.assign(store, {
    withdraw: (op: BlockOp): boolean =>
      given.has(op) && store.held.splice(store.held.indexOf(op), 1)[0] === op,
  });
  const write = start('write', Write, 16, 8);
  const flush = start('flush', Flush, 0, 0);
  start('read', Read, 16, 8);
  assert.equal(volume.withdraw(write), false);
  given.add(write).add(flush);
  assert.equal(volume.withdraw(write), true);
  assert.deepEqual([write.lba, write.blocks], [16, 8]);
  assert.equal(volume.withdraw(flush), true);
  const closed = volume.close();
  await microtasks();
  store.complete();
  assert.deepEqual(ends, ['read']);
  await closed;
});

test('without a quorum new ones are taken back and never take effect, what members may have seen is not', () => {
  const scenario = new Scenario({ members: 3, blocks: 8, config: { holdMs: 300_000 } });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  scenario.ok(scenario.write(coordinator, 0, 8));
  const seen = scenario.write(coordinator, 1);
  for (const index of [1, 2]) scenario.member(index).stop(false);
  scenario.until('there is no quorum', () => coordinator.core!.phase !== CoordinatorPhase.Active);
  const asked = [
    scenario.write(coordinator, 2),
    scenario.unmap(coordinator, 3),
    scenario.flush(coordinator),
    scenario.read(coordinator, 4),
  ];
  const stays = scenario.write(coordinator, 5);
  scenario.run(100);
  const core = coordinator.core!;
  assert.equal(seen.status, null);
  assert.equal(core.withdraw(seen.op), false);
  for (const { op } of asked) assert.equal(core.withdraw(op), true);
  for (const { op } of asked) assert.equal(core.withdraw(op), false);
  for (const index of [1, 2]) scenario.member(index).start();
  scenario.ok(seen);
  scenario.ok(stays);
  scenario.run(5000);
  for (const outcome of asked) assert.equal(outcome.status, null);
  for (const { store } of [0, 1, 2].map((index) => scenario.member(index))) {
    for (const { op } of asked.slice(0, 1)) assert.notEqual(store.cells[2]!.value, op.value);
    assert.notEqual(store.cells[3]!.value, 0);
  }
});

test('a cache that is switched off does not wait for what was taken back before it began', async () => {
  const { store, volume, start } = setUp();
  start('w0', Write, 3);
  const read = start('r', Read, 3);
  const write = start('w1', Write, 3);
  assert.equal(volume.withdraw(read), true);
  let status: IoStatus | null = null;
  volume.setWriteCache(false, (ended) => {
    status = ended;
  });
  assert.equal(volume.withdraw(write), true, 'it was let go, and has not begun');
  for (let n = 0; n < 6; n += 1) {
    await microtasks();
    if (store.held.length > 0) store.complete();
  }
  assert.equal(status, IoStatus.Ok);
});
