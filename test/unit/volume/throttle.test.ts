// Goal: a limit holds, whatever the depth; it is shared, keeps order, and goes the moment it is lifted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock, Turn } from '../../../src/base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  DataBufferPool,
  IoStatus,
  MAX_BUFFER_BYTES,
  MemoryDevice,
} from '../../../src/block/index.ts';
import { NO_LIMITS, Throttle, type VolumeLimits } from '../../../src/volume/index.ts';

const BLOCK_BYTES = 4096;

function setUp(limits: Partial<VolumeLimits>) {
  const clock = new ManualClock();
  const device = new MemoryDevice({ bytes: 1 << 20 });
  const throttle = new Throttle({
    device,
    clock,
    turn: new Turn(),
    limits: { ...NO_LIMITS, ...limits },
  });
  const buffers = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES * 4));
  const data = buffers.allocate(1 << 20)!;
  /** Keeps `depth` operations going for `ms`, each `latencyMs` at the device; returns how many ended. */
  const load = (
    depth: number,
    ms: number,
    options: { kind?: BlockOpKind; blocks?: number } = {},
  ) => {
    const endMs = clock.nowMs() + ms;
    let ended = 0;
    const issue = (op: BlockOp): void => {
      const kind = options.kind ?? BlockOpKind.Read;
      throttle.submit(op.begin(kind, 0, options.blocks ?? 1, data, 0, false, owner));
    };
    const owner = {
      onBlockDone(op: BlockOp, status: IoStatus): void {
        assert.equal(status, IoStatus.Ok);
        ended += 1;
        // The device takes a tenth of a millisecond; an unlimited loop must not spin inside submit.
        clock.schedule(0.1, () => {
          if (clock.nowMs() < endMs) issue(op);
        });
      },
    };
    for (let index = 0; index < depth; index += 1) issue(new BlockOp());
    return {
      ended: () => ended,
      /** Moves in steps as a timer would: rounded up to a millisecond, then late. */
      run: (stepMs = 0.7) => {
        while (clock.nowMs() < endMs) clock.advance(stepMs);
      },
    };
  };
  return { clock, device, throttle, data, load };
}

for (const depth of [1, 32, 128]) {
  test(`1,000 IOPS hold within 5 % over 10 s at depth ${depth}`, () => {
    const { load } = setUp({ iops: 1000 });
    const running = load(depth, 10_000);
    running.run();
    const { ended } = running;
    assert.ok(ended() >= 9_500 && ended() <= 10_500, `${ended()} operations in 10 s`);
  });
}

test('a process that is not scheduled for a while loses nothing that was waiting, and no idle time is saved up', () => {
  const { clock, load } = setUp({ iops: 1000 });
  const running = load(128, 10_000);
  running.run(700);
  assert.ok(running.ended() >= 9_500 && running.ended() <= 10_500, `${running.ended()}`);
  clock.advance(5_000);
  const again = load(128, 1_000);
  again.run();
  // A second's worth, and the burst of a quarter.
  assert.ok(again.ended() <= 1_300, `${again.ended()}`);
});

test('at depth 1 a host that is late, and timers that are, cost nothing as long as the host can catch up', () => {
  const { clock, throttle } = setUp({ iops: 1000 });
  const data = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES)).allocate(4096)!;
  let ended = 0;
  // Each operation takes 0.4 ms on its way; now and then the host, the path or the process stands still for 150 ms.
  const owner = {
    onBlockDone(op: BlockOp): void {
      ended += 1;
      clock.schedule(ended % 700 === 0 ? 150 : 0.4, () => issue(op));
    },
  };
  const issue = (op: BlockOp): void => {
    throttle.submit(op.begin(BlockOpKind.Read, 0, 1, data, 0, false, owner));
  };
  issue(new BlockOp());
  const steps = [0.3, 1, 0.3, 2, 0.3, 7, 0.3, 0.3];
  for (let step = 0; clock.nowMs() < 10_000; step += 1) clock.advance(steps[step % steps.length]!);
  assert.ok(ended >= 9_500 && ended <= 10_500, `${ended} operations in 10 s`);
});

test('bytes per second hold for large and small operations', () => {
  for (const blocks of [1, 128]) {
    const { load } = setUp({ bytesPerSecond: 8 * 1024 * 1024 });
    const running = load(16, 10_000, { blocks });
    running.run();
    const rate = (running.ended() * blocks * BLOCK_BYTES) / 10;
    assert.ok(Math.abs(rate / (8 * 1024 * 1024) - 1) < 0.05, `${rate} bytes per second`);
  }
});

test('both limits at once: the tighter one governs', () => {
  const { load } = setUp({ iops: 10_000, bytesPerSecond: 4096 * 500 });
  const running = load(8, 10_000);
  running.run();
  assert.ok(Math.abs(running.ended() / 5000 - 1) < 0.05, `${running.ended()}`);
});

test('idle time saves up the burst and no more', () => {
  const { clock, throttle, load } = setUp({ iops: 100, iopsBurst: 50 });
  clock.advance(60_000);
  const running = load(200, 0);
  assert.equal(running.ended(), 51, 'the burst, and the one that falls due now');
  assert.equal(throttle.waitingCount, 149);
  clock.advance(1_000);
  assert.ok(Math.abs(running.ended() - 151) <= 1, `${running.ended()}`);
});

test('lifting a limit frees at once what waits, and leaves no timer behind', () => {
  const { clock, throttle, load } = setUp({ iops: 10, iopsBurst: 1 });
  const running = load(100, 0);
  assert.ok(running.ended() < 5);
  throttle.setLimits(NO_LIMITS);
  assert.equal(running.ended(), 100);
  assert.equal(throttle.waitingCount, 0);
  clock.advance(1);
  assert.equal(clock.pending, 0);
});

test('a raised limit forgives the debt of the lower one', () => {
  const { clock, throttle, load } = setUp({ bytesPerSecond: 4096, burstBytes: 4096 });
  const running = load(4, 0, { blocks: 128 });
  assert.equal(running.ended(), 1, 'one large operation passes and is paid for');
  throttle.setLimits({ ...NO_LIMITS, bytesPerSecond: 512 * 1024 * 1024 });
  clock.advance(5);
  assert.equal(running.ended(), 4);
});

test('operations keep their order, a flush behind its writes', () => {
  const { device, throttle, data, clock } = setUp({ iops: 10, iopsBurst: 1 });
  const ends: string[] = [];
  const send = (name: string, kind: BlockOpKind): void => {
    const blocks = kind === BlockOpKind.Flush ? 0 : 1;
    const owner = { onBlockDone: () => ends.push(name) };
    throttle.submit(
      new BlockOp().begin(kind, 0, blocks, blocks === 0 ? null : data, 0, false, owner),
    );
  };
  for (const name of ['a', 'b', 'c']) send(name, BlockOpKind.Write);
  send('flush', BlockOpKind.Flush);
  assert.equal(device.flushes, 0);
  clock.advance(2_000);
  assert.deepEqual(ends, ['a', 'b', 'c', 'flush']);
});

test('the queue depth bounds what is under way below; the operation gets its owner back', () => {
  const { device, throttle, data } = setUp({ queueDepth: 2 });
  device.hold = true;
  const owners: unknown[] = [];
  const owner = { onBlockDone: (op: BlockOp) => owners.push(op.owner) };
  for (let index = 0; index < 5; index += 1) {
    throttle.submit(new BlockOp().begin(BlockOpKind.Read, index, 1, data, 0, false, owner));
  }
  assert.equal(device.held.length, 2);
  device.release();
  assert.equal(device.held.length, 2);
  device.releaseAll();
  assert.deepEqual(owners, [owner, owner, owner, owner, owner]);
});

test('COMPARE AND WRITE still sees the bytes it compares', () => {
  const { device, throttle, data } = setUp({ queueDepth: 1 });
  device.bytes.fill(7, 0, BLOCK_BYTES);
  let seen = -1;
  let status: IoStatus = IoStatus.Busy;
  throttle.submit(
    new BlockOp().begin(BlockOpKind.Update, 0, 1, data, 0, false, {
      onBlockDone: (_op, ended) => {
        status = ended;
      },
      onUpdateRead: (op) => {
        seen = op.data!.bytes[0]!;
        op.data!.bytes.fill(9, 0, BLOCK_BYTES);
        return true;
      },
    }),
  );
  assert.equal(seen, 7);
  assert.equal(status, IoStatus.Ok);
  assert.equal(device.bytes[0], 9);
});

test('what waits may be taken back, wherever it stands in line; what was let go may not', () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  for (const taken of [['c'], ['f'], ['d', 'e'], ['c', 'd', 'e', 'f'], ['f', 'd', 'c', 'e']]) {
    const { device, throttle, data, clock } = setUp({ iops: 10, iopsBurst: 1 });
    const ends: string[] = [];
    const ops = new Map(
      names.map((name) => {
        const owner = { onBlockDone: () => ends.push(name) };
        return [name, new BlockOp().begin(BlockOpKind.Write, 0, 1, data, 0, false, owner)];
      }),
    );
    device.hold = true;
    for (const op of ops.values()) throttle.submit(op);
    assert.equal(throttle.waitingCount, 4);
    assert.equal(throttle.withdraw(ops.get('a')!), false, 'it is below');
    device.releaseAll();
    for (const name of taken) assert.equal(throttle.withdraw(ops.get(name)!), true);
    for (const name of taken) assert.equal(throttle.withdraw(ops.get(name)!), false);
    assert.equal(throttle.waitingCount, 4 - taken.length);
    clock.advance(1_000);
    const last = new BlockOp().begin(BlockOpKind.Read, 0, 1, data, 0, false, {
      onBlockDone: () => ends.push('last'),
    });
    throttle.submit(last);
    clock.advance(1_000);
    assert.deepEqual(ends, [...names.filter((name) => !taken.includes(name)), 'last']);
    assert.equal(throttle.waitingCount, 0);
  }
});

test('what is taken back from below leaves its place to what waits', async () => {
  const { device, throttle, data } = setUp({ queueDepth: 2 });
  device.hold = true;
  device.givesBack = true;
  const ends: string[] = [];
  const write = (name: string): BlockOp => {
    const owner = { onBlockDone: () => ends.push(name) };
    const op = new BlockOp().begin(BlockOpKind.Write, 0, 1, data, 0, false, owner);
    throttle.submit(op);
    return op;
  };
  const below = ['a', 'b'].map(write);
  write('c');
  assert.equal(throttle.waitingCount, 1);
  for (const op of below) {
    assert.equal(throttle.withdraw(op), true);
    assert.equal(throttle.withdraw(op), false);
  }
  await Promise.resolve();
  assert.equal(throttle.waitingCount, 0);
  write('d');
  device.releaseAll();
  assert.deepEqual(ends, ['c', 'd']);
  // As often as one likes.
  device.hold = true;
  for (let n = 0; n < 5; n += 1) assert.equal(throttle.withdraw(write('e')), true);
  await Promise.resolve();
  device.hold = false;
  write('f');
  assert.deepEqual(ends, ['c', 'd', 'f']);
});

test('what is hastened goes on before all others and beyond every limit, and those behind it pay', () => {
  const { device, throttle, data, clock } = setUp({ iops: 10, iopsBurst: 1, queueDepth: 2 });
  const ends: string[] = [];
  const write = (name: string): BlockOp => {
    const owner = { onBlockDone: () => ends.push(name) };
    const op = new BlockOp().begin(BlockOpKind.Write, 0, 1, data, 0, false, owner);
    throttle.submit(op);
    return op;
  };
  device.hold = true;
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(write) as [BlockOp, BlockOp, BlockOp, BlockOp];
  const below = 4 - throttle.waitingCount;
  throttle.hasten(a); // It is below.
  throttle.hasten(d);
  throttle.hasten(d);
  throttle.hasten(c);
  assert.equal(device.held.length, below + 2);
  device.releaseAll();
  assert.ok(ends.includes('d') && ends.includes('c'));
  const waiting = throttle.waitingCount;
  clock.advance(10_000);
  assert.deepEqual([...ends].sort(), ['a', 'b', 'c', 'd']);
  assert.ok(waiting <= 2 && throttle.waitingCount === 0);
  assert.ok(ends.indexOf('d') < ends.indexOf('c'));
  assert.equal(b.next, null);
});
