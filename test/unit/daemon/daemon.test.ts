import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StartError } from '../../../src/daemon/ports.ts';
import { renderActivity, StatusLine } from '../../../src/daemon/status-line.ts';
import { aDaemon } from './a-daemon.ts';

async function getJson(url: string): Promise<Record<string, never>> {
  const answer = await fetch(url);
  return (await answer.json()) as Record<string, never>;
}

test('it starts with a first volume, is ready, shows metrics, and stops', async () => {
  const { daemon, api, portal, pool } = await aDaemon();
  try {
    const list = (await getJson(`http://${api}/apis/ashlar.io/v1/volumes`)) as unknown as {
      items: { metadata: { name: string }; status: { portals: string[]; capacityBytes: number } }[];
    };
    assert.deepEqual(
      list.items.map((item) => item.metadata.name),
      ['demo'],
    );
    assert.deepEqual(list.items[0]?.status.portals, [portal]);
    assert.equal(list.items[0]?.status.capacityBytes, 2 ** 30);
    assert.equal((await fetch(`http://${api}/readyz`)).status, 200);
    const metrics = await (await fetch(`http://${api}/metrics`)).text();
    assert.match(metrics, /^ashlar_pool_state\{pool="pool",state="Online"\} 1$/m);
    assert.match(metrics, /^ashlar_volume_capacity_bytes\{volume="demo"\} 1073741824$/m);
    assert.match(metrics, /^ashlar_volume_read_ops_total\{volume="demo"\} 0$/m);
    assert.equal(await daemon.proveLife(), true);
  } finally {
    await daemon.stop();
  }
  assert.equal(pool.stats().state, 'Closed');
  await assert.rejects(fetch(`http://${api}/livez`));
});

test('a port in use is told by its number, the flag, and who may hold it; nothing stays open', async () => {
  const first = await aDaemon();
  try {
    await assert.rejects(aDaemon({ portal: [first.portal] }), (error: Error) => {
      assert.ok(error instanceof StartError);
      assert.match(error.message, new RegExp(`portal ${first.portal} is in use`));
      assert.match(error.message, /tgtd/);
      assert.match(error.message, /--portal/);
      return true;
    });
    await assert.rejects(aDaemon({ api: first.api }), /API address .* is in use.*--api/);
  } finally {
    await first.daemon.stop();
  }
});

test('a faulted pool is not ready, and refuses logins', async () => {
  const { daemon, api, pool } = await aDaemon();
  try {
    pool.fault('fdatasync: EIO');
    const answer = await fetch(`http://${api}/readyz`);
    assert.equal(answer.status, 503);
    assert.match(await answer.text(), /fdatasync: EIO/);
    assert.equal(daemon.activity().fault, 'fdatasync: EIO');
  } finally {
    await daemon.stop();
  }
});

const QUIET = {
  sessions: 1,
  operations: 0,
  bytes: 0,
  dataBytes: 2 ** 20,
  usableBytes: 2 ** 30,
  fault: '',
};

test('the status line shows rates since the line before', () => {
  const busy = { ...QUIET, operations: 3000, bytes: 12_288_000 };
  assert.equal(
    renderActivity(QUIET, busy, 2),
    '1 session | 1500 IOPS | 6.1 MB/s | 1Mi of 1Gi used',
  );
  assert.match(renderActivity(QUIET, { ...busy, fault: 'EIO' }, 1), /^POOL FAULTED: EIO \| /);
});

test('lines for people go above the status line', () => {
  let written = '';
  const output = { isTTY: false, write: (text: string) => (written += text) };
  const line = new StatusLine(
    output,
    () => QUIET,
    () => {},
  );
  line.print('hello');
  line.stop();
  assert.equal(written, 'hello\n');
});
