// Goal: a read that finds a copy damaged ends once, with the data of another member or as damaged (W9, H6).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockOpKind, IoStatus } from '../../../src/block/index.ts';
import { MessageType } from '../../../src/wire/messages.ts';
import { type CoordinatorProcess, HostOp } from '../../sim/cluster.ts';
import { Scenario } from '../../sim/scenario.ts';

/** A read that is submitted below the cluster's bookkeeping, any number of times: as an op of a pool. */
class PooledRead {
  readonly op = new HostOp();
  readonly #scenario: Scenario;
  readonly #coordinator: CoordinatorProcess;
  answers: IoStatus[] = [];

  constructor(scenario: Scenario, coordinator: CoordinatorProcess) {
    this.#scenario = scenario;
    this.#coordinator = coordinator;
  }

  run(lba: number, blocks: number): IoStatus {
    const { op } = this;
    this.answers = [];
    op.begin(BlockOpKind.Read, lba, blocks, null, 0, false, op.owner);
    op.lower = { onBlockDone: (_op, status) => this.answers.push(status) };
    const { core, clock } = this.#coordinator;
    this.#coordinator.event(() => core!.submit(clock.now(), op));
    this.#scenario.until('it ends', () => this.answers.length > 0, 5000);
    return this.answers[0]!;
  }
}

test('two parts, each lost at one member and a hole at the other: damaged; and each use of a pooled op is tried anew', () => {
  const scenario = new Scenario({ members: 2, blocks: 8 });
  const coordinator = scenario.activate(0);
  scenario.whole(0);
  const [a, b] = [scenario.member(0).store, scenario.member(1).store];
  const lose = (): void => {
    a.loseMap(0, 4);
    b.loseMap(4, 4);
  };
  let reads = 0;
  let copies = 0;
  let onCopyRead = (): void => {};
  const { network } = scenario.cluster;
  const send = network.send.bind(network);
  network.send = (connection, toMember, message) => {
    if (toMember && message.type === MessageType.Read) reads += 1;
    if (toMember && message.type === MessageType.CopyRead) onCopyRead();
    send(connection, toMember, message);
  };
  const read = new PooledRead(scenario, coordinator);
  const use = (lba: number, blocks: number): [status: IoStatus, reads: number] => {
    reads = 0;
    return [read.run(lba, blocks), reads];
  };
  lose();
  // One part alone is a hole at whoever still has its map.
  assert.equal(use(0, 4)[0], IoStatus.Ok);
  assert.equal(use(4, 4)[0], IoStatus.Ok);
  assert.deepEqual(use(0, 8), [IoStatus.Damaged, 4]);
  assert.deepEqual(use(0, 8), [IoStatus.Damaged, 4]);
  onCopyRead = () => {
    copies += 1;
    if (copies < 2) return; // The first one mends, and no read waits for it.
    a.findMap();
    b.findMap();
  };
  assert.deepEqual(use(0, 8), [IoStatus.Ok, 3]);
  onCopyRead = () => {};
  lose();
  assert.deepEqual(use(0, 8), [IoStatus.Damaged, 4]);
});

test('a hedged read whose first copy is damaged is answered once, by the other member', () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const scenario = new Scenario({ members: 3, blocks: 4, seed, config: { hedgeMs: 3 } });
    const coordinator = scenario.activate(0);
    scenario.whole(0);
    scenario.ok(scenario.write(coordinator, 0, 4));
    scenario.ok(scenario.flush(coordinator));
    scenario.run(1000);
    for (const { store } of scenario.cluster.members) store.latencyMs = 20;
    const { store } = scenario.member(seed % 3);
    const read = new PooledRead(scenario, coordinator);
    for (let n = 0; n < 40; n += 1) {
      store.rot(1);
      assert.equal(read.run(0, 4), IoStatus.Ok);
      scenario.run(100);
      assert.deepEqual(read.answers, [IoStatus.Ok], `seed ${seed}, read ${n}`);
    }
    assert.equal(store.cells[1]!.rotten, null, 'it is mended');
  }
});
