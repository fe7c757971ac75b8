// Goal: latencies come out as the histogram that Prometheus defines: cumulative buckets in seconds, their sum and count.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { busyMetrics } from './busy.ts';

test('a direction with operations has cumulative buckets, a sum and a count; one without has no lines', async () => {
  const lines = (await busyMetrics()).split('\n');
  const latency = lines.filter((line) => line.startsWith('ashlar_volume_latency_seconds'));
  const bucket = (le: string): string | undefined =>
    latency.find((line) => line.includes(`le="${le}"`))?.split(' ')[1];
  assert.equal(bucket('0.0001'), '2', 'a bound counts what is equal to it');
  assert.equal(bucket('0.00025'), '2');
  assert.equal(bucket('0.0005'), '3');
  assert.equal(bucket('0.01'), '4');
  assert.equal(bucket('30'), '4');
  assert.equal(bucket('+Inf'), '5');
  const value = (name: string): number =>
    Number(
      latency
        .find((line) => line.startsWith(`ashlar_volume_latency_seconds_${name}{`))
        ?.split(' ')[1],
    );
  assert.equal(value('count'), 5);
  assert.ok(Math.abs(value('sum') - 60.00745) < 1e-9);
  assert.ok(lines.includes('# TYPE ashlar_volume_latency_seconds histogram'));
  assert.ok(latency.every((line) => line.includes('direction="read"')));
});
