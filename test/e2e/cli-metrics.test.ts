// Goal: Prometheus' own checker finds nothing to say about /metrics and deploy/alerts.yaml, and these alerts ask for metrics
// that there are.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
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

test('promtool check rules', {
  skip: missing === '' || process.env['CI'] === 'true' ? false : missing,
}, () => {
  assert.equal(missing, '');
  const checked = spawnSync(promtool, ['check', 'rules', 'deploy/alerts.yaml'], {
    encoding: 'utf8',
  });
  assert.equal(checked.status, 0, checked.stderr + checked.stdout);
  assert.match(checked.stdout, /SUCCESS: \d+ rules found/);
});

test('alerts ask for metrics that there are, and name sections that there are', async () => {
  const alerts = readFileSync('deploy/alerts.yaml', 'utf8');
  const { daemon, api } = await aDaemon();
  let served = '';
  try {
    served = `${await (await fetch(`http://${api}/metrics`)).text()}${await busyMetrics()}`;
  } finally {
    await daemon.stop();
  }
  // Those of `ashlar node` alone, and those that TLS brings.
  const code = ['node-metrics', 'host-metrics'].map((name) =>
    readFileSync(`src/daemon/${name}.ts`, 'utf8'),
  );
  const asked = new Set(alerts.match(/\b(ashlar|nodejs)_\w+/g));
  assert.ok(asked.size > 10);
  for (const name of asked) {
    const known = new RegExp(`^# TYPE ${name.replace(/_bucket$/, '')} `, 'm').test(served);
    assert.ok(known || code.some((text) => text.includes(`'${name}'`)), name);
  }
  const docs = readFileSync('docs/operations.md', 'utf8') + readFileSync('docs/nodes.md', 'utf8');
  for (const [, todo = ''] of alerts.matchAll(/todo: '(.*)'$/gm)) {
    const section = /([A-Z][^.;]*?)(?: \(docs\/nodes\.md\))?$/.exec(todo)?.[1] ?? '';
    const isThere = [...docs.matchAll(/^##+ (.*)$/gm)].some(([, title = '']) =>
      title.replaceAll('`', '').includes(section),
    );
    assert.ok(isThere || /on both$|iostat|takes its processor|journalctl/.test(todo), todo);
  }
});
