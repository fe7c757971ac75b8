// What one member has and another lacks, copied: every block once, in as few copies as may be.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IoStatus } from '../../../src/block/index.ts';
import {
  BlockSync,
  type CopyDecision,
  type Segment,
} from '../../../src/volume/coordinator/block-sync.ts';
import {
  BlockKind,
  type CoordinatorMessage,
  type CopyRead,
  InstallMode,
  type ListChanged,
  MessageType,
} from '../../../src/wire/messages.ts';
import { ALL_RULES } from '../../../src/wire/rules.ts';

const SOURCE = 1;
const OTHER = 2;
const TARGET = 3;

/** Runs of a listing: first block, blocks, kind; each run with an op of its own. */
type Run = readonly [lba: number, blocks: number, kind: number];

/** Copies all of `runs`; what was asked of the source, copy by copy, and the holes that were told to the target. */
function copiesOf(
  sizeBlocks: number,
  runs: readonly Run[],
  sourcesOf: (segment: Segment) => readonly number[],
): {
  read: (readonly [number, number, number])[];
  holes: (readonly [number, number])[];
  done: boolean;
} {
  const read: (readonly [number, number, number])[] = [];
  const holes: (readonly [number, number])[] = [];
  const queue: [number, CoordinatorMessage][] = [];
  let done = false;
  let id = 1;
  const sync = new BlockSync({
    fromLba: 0,
    sizeBlocks,
    epoch: 1,
    rules: ALL_RULES,
    since: { epoch: 0, op: 0 },
    listers: [SOURCE],
    mode: InstallMode.Rebuild,
    join: { epoch: 9, op: 0 },
    windowBytes: 8 << 20,
    decide: (segment): CopyDecision => ({
      hole: segment.kinds[0] === BlockKind.Hole,
      epoch: segment.epochs[0]!,
      op: segment.ops[0]!,
      sources: sourcesOf(segment),
      targets: [TARGET],
    }),
    send: (peer, message) => queue.push([peer, message]),
    nextId: () => id++,
    mayCopy: () => true,
    onDone: () => {
      done = true;
    },
    onFailed: (_, why) => assert.fail(why),
    onLost: (lba) => assert.fail(`block ${lba} is lost`),
  });
  sync.start();
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const [peer, message] = next;
    switch (message.type) {
      case MessageType.ListChanged:
        sync.onChanged(peer, {
          type: MessageType.Changed,
          epoch: 1,
          id: message.id,
          status: IoStatus.Ok,
          nextLba: sizeBlocks,
          runs: {
            lbas: Float64Array.from(runs.map(([lba]) => lba)),
            counts: Float64Array.from(runs.map(([, blocks]) => blocks)),
            kinds: Uint8Array.from(runs.map(([, , kind]) => kind)),
            epochs: Uint32Array.from(runs.map(() => 1)),
            ops: Float64Array.from(runs.map((_, index) => index + 1)),
          },
        });
        break;
      case MessageType.CopyRead: {
        const { lba, blocks } = message as CopyRead;
        read.push([peer, lba, blocks]);
        sync.onCopyData(peer, {
          type: MessageType.CopyData,
          epoch: 1,
          id: message.id,
          status: IoStatus.Ok,
          copy: {
            lba,
            blocks,
            kinds: new Uint8Array(blocks).fill(BlockKind.Data),
            epochs: new Uint32Array(blocks).fill(1),
            ops: new Float64Array(blocks).fill(1),
            crcs: new Uint32Array(blocks),
            data: null,
          },
        });
        break;
      }
      case MessageType.Install:
        if (message.copy.kinds[0] === BlockKind.Hole)
          holes.push([message.copy.lba, message.copy.blocks]);
        sync.onInstalled(peer, {
          type: MessageType.Installed,
          epoch: 1,
          id: message.id,
          status: IoStatus.Ok,
        });
        break;
      default:
        assert.fail(`a message of type ${message.type}`);
    }
  }
  return { read, holes, done };
}

test('blocks that were each written by another operation go in copies of 128', () => {
  const runs = Array.from({ length: 300 }, (_, lba): Run => [lba, 1, BlockKind.Data]);
  const { read, done } = copiesOf(300, runs, () => [SOURCE]);
  assert.deepEqual(read, [
    [SOURCE, 0, 128],
    [SOURCE, 128, 128],
    [SOURCE, 256, 44],
  ]);
  assert.ok(done);
});

test('a long run fills up the copy before it, and goes on in its own', () => {
  const runs: Run[] = [
    [0, 100, BlockKind.Data],
    [100, 200, BlockKind.Data],
  ];
  const { read } = copiesOf(300, runs, () => [SOURCE]);
  assert.deepEqual(read, [
    [SOURCE, 0, 128],
    [SOURCE, 128, 128],
    [SOURCE, 256, 44],
  ]);
});

test('a gap, a hole, and a block that another source has part two copies', () => {
  const runs: Run[] = [
    [0, 2, BlockKind.Data],
    [2, 1, BlockKind.Hole],
    [3, 2, BlockKind.Data],
    [6, 1, BlockKind.Data],
    [7, 1, BlockKind.Data],
    [8, 1, BlockKind.Data],
  ];
  const { read, holes, done } = copiesOf(16, runs, ({ lba }) => (lba === 7 ? [OTHER] : [SOURCE]));
  assert.deepEqual(read, [
    [SOURCE, 0, 2],
    [SOURCE, 3, 2],
    [SOURCE, 6, 1],
    [OTHER, 7, 1],
    [SOURCE, 8, 1],
  ]);
  assert.deepEqual(holes, [[2, 1]]);
  assert.ok(done);
});

test('listings that take longer than a tick are asked for once, and the copying comes to its end', () => {
  const sizeBlocks = 256;
  const windowBlocks = 64;
  const asked: { peer: number; message: CoordinatorMessage; atMs: number }[] = [];
  const sent: ListChanged[] = [];
  const copied: number[] = [];
  let isDone = false;
  let mayCopy = true;
  let nowMs = 0;
  let id = 1;
  const sync = new BlockSync({
    fromLba: 0,
    sizeBlocks,
    epoch: 1,
    rules: ALL_RULES,
    since: { epoch: 0, op: 0 },
    listers: [SOURCE, TARGET],
    mode: InstallMode.Rebuild,
    join: { epoch: 9, op: 0 },
    windowBytes: 8 << 20,
    decide: ({ kinds, epochs, ops }): CopyDecision | null =>
      kinds[0] === BlockKind.Hole
        ? { hole: true, epoch: epochs[0]!, op: ops[0]!, sources: [SOURCE], targets: [TARGET] }
        : null,
    send: (peer, message) => {
      if (message.type === MessageType.ListChanged) sent.push(message);
      asked.push({ peer, message, atMs: nowMs });
    },
    nextId: () => id++,
    mayCopy: () => mayCopy,
    onDone: () => {
      isDone = true;
    },
    onFailed: (_, why) => assert.fail(why),
    onLost: (lba) => assert.fail(`block ${lba} is lost`),
  });
  const outstanding = (peer: number): number =>
    asked.filter((one) => one.peer === peer && one.message.type === MessageType.ListChanged).length;
  sync.start();
  for (; nowMs < 2000 && !isDone; nowMs += 10) {
    mayCopy = nowMs % 40 === 0;
    if (nowMs % 20 === 0) sync.resume();
    for (const peer of [SOURCE, TARGET]) assert.ok(outstanding(peer) <= 1, `at ${nowMs} ms`);
    while (asked.length > 0 && nowMs - asked[0]!.atMs >= 150) {
      const { peer, message } = asked.shift()!;
      if (message.type === MessageType.ListChanged) {
        const runs = peer === SOURCE ? [message.fromLba] : [];
        sync.onChanged(peer, {
          type: MessageType.Changed,
          epoch: 1,
          id: message.id,
          status: IoStatus.Ok,
          nextLba: Math.min(sizeBlocks, message.fromLba + windowBlocks),
          runs: {
            lbas: Float64Array.from(runs),
            counts: Float64Array.from(runs.map(() => 2)),
            kinds: Uint8Array.from(runs.map(() => BlockKind.Hole)),
            epochs: Uint32Array.from(runs.map(() => 1)),
            ops: Float64Array.from(runs.map(() => 1)),
          },
        });
      } else if (message.type === MessageType.Install) {
        copied.push(message.copy.lba);
        sync.onInstalled(peer, {
          type: MessageType.Installed,
          epoch: 1,
          id: message.id,
          status: IoStatus.Ok,
        });
      } else assert.fail(`a message of type ${message.type}`);
    }
  }
  assert.ok(isDone);
  assert.deepEqual(copied, [0, 64, 128, 192]);
  assert.equal(sent.length, 2 * (sizeBlocks / windowBlocks));
});

test('the next window is listed and copied while the last copies of the one before are under way', () => {
  const sizeBlocks = 192;
  const asked: CoordinatorMessage[] = [];
  let isDone = false;
  let id = 1;
  const sync = new BlockSync({
    fromLba: 0,
    sizeBlocks,
    epoch: 1,
    rules: ALL_RULES,
    since: { epoch: 0, op: 0 },
    listers: [SOURCE],
    mode: InstallMode.Rebuild,
    join: { epoch: 9, op: 0 },
    windowBytes: 8 << 20,
    decide: ({ epochs, ops }): CopyDecision => ({
      hole: true,
      epoch: epochs[0]!,
      op: ops[0]!,
      sources: [SOURCE],
      targets: [TARGET],
    }),
    send: (_, message) => asked.push(message),
    nextId: () => id++,
    mayCopy: () => true,
    onDone: () => {
      isDone = true;
    },
    onFailed: (_, why) => assert.fail(why),
    onLost: (lba) => assert.fail(`block ${lba} is lost`),
  });
  /** Says of the window of 64 blocks asked for last that its first block is a hole. */
  const answerListing = (): void => {
    const at = asked.findIndex(({ type }) => type === MessageType.ListChanged);
    const [message] = asked.splice(at, 1) as ListChanged[];
    sync.onChanged(SOURCE, {
      type: MessageType.Changed,
      epoch: 1,
      id: message!.id,
      status: IoStatus.Ok,
      nextLba: message!.fromLba + 64,
      runs: {
        lbas: Float64Array.of(message!.fromLba),
        counts: Float64Array.of(1),
        kinds: Uint8Array.of(BlockKind.Hole),
        epochs: Uint32Array.of(1),
        ops: Float64Array.of(1),
      },
    });
  };
  const copying = (): number[] =>
    asked.flatMap((one) => (one.type === MessageType.Install ? [one.copy.lba] : []));
  const listing = (): number[] =>
    asked.flatMap((one) => (one.type === MessageType.ListChanged ? [one.fromLba] : []));
  const answerCopy = (lba: number): void => {
    const at = asked.findIndex((one) => one.type === MessageType.Install && one.copy.lba === lba);
    const [message] = asked.splice(at, 1) as { id: number }[];
    const { Installed } = MessageType;
    sync.onInstalled(TARGET, { type: Installed, epoch: 1, id: message!.id, status: IoStatus.Ok });
  };

  sync.start();
  answerListing();
  assert.deepEqual([copying(), listing()], [[0], [64]]);
  answerListing();
  assert.deepEqual([copying(), listing()], [[0, 64], [128]]);
  assert.equal(sync.doneLba, 0, 'a copy that is under way is not done');
  answerCopy(64);
  assert.equal(sync.doneLba, 0);
  answerCopy(0);
  assert.equal(sync.doneLba, 128);
  assert.ok(!isDone, 'the last window is not listed');
  answerListing();
  assert.deepEqual([copying(), listing()], [[128], []]);
  assert.ok(!isDone, 'the last copy is under way');
  answerCopy(128);
  assert.ok(isDone);
});
