// B9: rebuilds are fast while hosts want nothing, leave them most of what they had while they do, and end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockOp } from '../../../src/block/index.ts';
import type { Core } from '../../../src/volume/coordinator/core.ts';
import { Flushes } from '../../../src/volume/coordinator/flushes.ts';
import { LEAST_REBUILD_BYTES_PER_SECOND } from '../../../src/volume/coordinator/limits.ts';
import { RebuildPace } from '../../../src/volume/coordinator/rebuild-pace.ts';
import { type Rebuild, Rebuilds } from '../../../src/volume/coordinator/rebuilds.ts';

const COPY = 512 * 1024;
const INFINITE = Number.POSITIVE_INFINITY;

/**
 * Seconds of a rebuild beside hosts whose operations take 1 ms, and longer in proportion to what was copied in the same 10 ms:
 * twice as long at `halfAt` bytes a second. Returns what was copied in each second, and how long operations took on average.
 */
function run(
  pace: RebuildPace,
  { seconds, halfAt, ceiling = INFINITE, hosts = () => true, opsATick = 10, startMs = 0 }: Run,
): { copied: number[]; tookMs: number[] } {
  const copied: number[] = [];
  const tookMs: number[] = [];
  for (let second = 0; second < seconds; second += 1) {
    let bytes = 0;
    let sum = 0;
    for (let tick = 0; tick < 100; tick += 1) {
      const nowMs = startMs + second * 1000 + tick * 10;
      let burst = 0;
      // The path itself carries 1 GiB/s.
      while (burst < 10 * 1024 * 1024 && pace.take(nowMs, COPY, ceiling)) burst += COPY;
      const took = 1 + (burst * 100) / halfAt;
      if (hosts(nowMs)) for (let op = 0; op < opsATick; op += 1) pace.note(took);
      pace.step(nowMs, hosts(nowMs) ? took : -1, ceiling);
      bytes += burst;
      sum += took;
    }
    copied.push(bytes);
    tookMs.push(sum / 100);
  }
  return { copied, tookMs };
}

interface Run {
  readonly seconds: number;
  readonly halfAt: number;
  readonly ceiling?: number;
  readonly hosts?: (nowMs: number) => boolean;
  readonly opsATick?: number;
  readonly startMs?: number;
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

test('without hosts nothing holds a rebuild back', () => {
  const { copied } = run(new RebuildPace(), { seconds: 2, halfAt: 1e9, hosts: () => false });
  assert.ok(mean(copied) > 900 * 1024 * 1024, `${mean(copied)} bytes a second`);
});

test('beside hosts it takes what costs them little, and no more', () => {
  const halfAt = 400 * 1024 * 1024;
  const { copied, tookMs } = run(new RebuildPace(), { seconds: 30, halfAt });
  const late = tookMs.slice(5);
  assert.ok(mean(late) < 1.4, `operations take ${mean(late)} ms instead of 1`);
  assert.ok(mean(copied.slice(5)) > 60 * 1024 * 1024, `${mean(copied.slice(5))} bytes a second`);
});

test('hosts that are slowed down by other things do not stop it: there is a floor', () => {
  const { copied } = run(new RebuildPace(), { seconds: 20, halfAt: 1024 * 1024 });
  // Less the moments in which hosts are measured alone.
  assert.ok(mean(copied.slice(5)) > LEAST_REBUILD_BYTES_PER_SECOND * 0.85, `${mean(copied)}`);
});

test('a rate that is configured is kept, with hosts and without, and below the floor', () => {
  for (const ceiling of [1024 * 1024, 100 * 1024 * 1024]) {
    for (const hosts of [() => true, () => false]) {
      const { copied } = run(new RebuildPace(), { seconds: 20, halfAt: 1e12, ceiling, hosts });
      assert.ok(mean(copied) < ceiling * 1.05, `${mean(copied)} of ${ceiling}`);
      assert.ok(mean(copied) > ceiling * 0.5, `${mean(copied)} of ${ceiling}`);
    }
  }
});

test('when hosts go away it is fast again, and when they come back it is not for long', () => {
  const pace = new RebuildPace();
  const halfAt = 400 * 1024 * 1024; // Of which the guaranteed tenth of 1 GiB/s costs a quarter.
  run(pace, { seconds: 10, halfAt });
  const alone = run(pace, { seconds: 2, halfAt, hosts: () => false, startMs: 10_000 });
  assert.ok(alone.copied[1]! > 900 * 1024 * 1024);
  const back = run(pace, { seconds: 10, halfAt, startMs: 12_000 });
  assert.ok(mean(back.tookMs.slice(1)) < 1.4, `${mean(back.tookMs.slice(1))} ms`);
});

test('a host that asks now and then does not stop it', () => {
  const hosts = (nowMs: number): boolean => nowMs % 200 === 0;
  const { copied } = run(new RebuildPace(), { seconds: 10, halfAt: 1e12, hosts, opsATick: 1 });
  assert.ok(mean(copied) > 900 * 1024 * 1024, `${mean(copied)} bytes a second`);
});

test('a flush counts as an operation of a host: when it has ended, and while it is under way', () => {
  const noted: number[] = [];
  const oldest: number[] = [];
  let answered = 0;
  const core = {
    nowMs: 0,
    nextId: 1,
    peers: [],
    rules: { W5_quorumFlushed: true },
    config: { rebuildBytesPerSecond: INFINITE },
    writes: { ackable: () => true, enough: () => true },
    ring: { first: 1, next: 1 },
    reads: { table: { liveCount: 0, slots: [] } },
    missed: { running: null },
    answer: () => {
      answered += 1;
    },
  } as unknown as Core;
  const flushes = new Flushes(core);
  const rebuilds = new Rebuilds(core);
  Object.assign(core, { flushes, rebuilds });
  rebuilds.running.set(0, { sync: null } as Rebuild);
  rebuilds.pace.note = (tookMs) => noted.push(tookMs);
  rebuilds.pace.step = (_nowMs, oldestMs) => oldest.push(oldestMs);
  rebuilds.tick(1000);
  flushes.start(1000, new BlockOp());
  flushes.start(1100, new BlockOp());
  rebuilds.tick(1250);
  core.nowMs = 1300;
  flushes.tryEnd(flushes.pending[0]!);
  rebuilds.tick(1300);
  assert.deepEqual(oldest, [-1, 250, 200]);
  assert.deepEqual(noted, [300]);
  assert.equal(answered, 1);
});

test('looks that all come late end in a rate that leaves hosts most of what they had', () => {
  const pace = new RebuildPace();
  const rates: number[] = [];
  for (let look = 0; look < 120; look += 1) {
    const nowMs = look * 500;
    let bytes = 0;
    while (bytes < 512 * 1024 * 1024 && pace.take(nowMs, COPY, INFINITE)) bytes += COPY;
    // Twice as long at 64 MiB in such a time.
    const took = 1 + bytes / (64 * 1024 * 1024);
    for (let op = 0; op < 200; op += 1) pace.note(took);
    pace.step(nowMs, took, INFINITE);
    rates.push(pace.rate);
  }
  const late = rates.slice(20);
  assert.ok(
    late.some((rate) => rate > 0),
    'it copies',
  );
  assert.ok(
    late.some((rate) => rate === 0),
    'and measures',
  );
  assert.ok(late.every((rate) => rate < INFINITE));
});
