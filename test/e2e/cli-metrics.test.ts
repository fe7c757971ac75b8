// Goal: Prometheus' own checker finds nothing to say about /metrics.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { debianTool } from '../support/debian-tools.ts';
import { aDaemon } from '../unit/daemon/a-daemon.ts';
import { busyMetrics } from '../unit/metrics/busy.ts';

let promtool = '';
let missing = '';
try {
  promtool = debianTool('prometheus', 'usr/bin/promtool');
} catch (error) {
  missing = (error as Error).message;
}

test('promtool check metrics', {
  skip: missing === '' || process.env['CI'] === 'true' ? false : missing,
}, async () => {
  assert.equal(missing, '');
  const { daemon, api } = await aDaemon();
  try {
    const text = await (await fetch(`http://${api}/metrics`)).text();
    assert.match(text, /^ashlar_volume_read_ops_total\{/m);
    // And with every metric that only some traffic brings forth.
    for (const input of [text, await busyMetrics()]) {
      const checked = spawnSync(promtool, ['check', 'metrics'], { input, encoding: 'utf8' });
      assert.equal(checked.status, 0, checked.stderr);
      assert.equal(checked.stderr + checked.stdout, '');
    }
  } finally {
    await daemon.stop();
  }
});
