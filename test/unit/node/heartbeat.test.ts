// Goal: a node that runs is heard of, whatever its wall clock does: stands still, or is set back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  LEASES,
  type LeaseObject,
  LeaseObserver,
  NAMESPACES,
} from '../../../src/apiserver/index.ts';
import { ManualClock, silentLog } from '../../../src/base/index.ts';
import { nodeLeaseName, OPENEBS_NAMESPACE } from '../../../src/kinds/index.ts';
import { Heartbeat } from '../../../src/node/agent/heartbeat.ts';
import { aServer } from '../apiserver/builders.ts';

const hourMs = 3_600_000;
const clocks: readonly [string, (beat: number) => number][] = [
  ['runs', (beat) => beat * 1000],
  ['stands still', () => 0],
  ['is set back', (beat) => (beat < 5 ? beat * 1000 : beat * 1000 - hourMs)],
];

for (const [what, at] of clocks) {
  test(`a node whose wall clock ${what} renews its lease every second`, async () => {
    const { server } = await aServer();
    await server.create(NAMESPACES, { metadata: { name: OPENEBS_NAMESPACE } });
    const clock = new ManualClock();
    const observer = new LeaseObserver(clock);
    const startMs = Date.UTC(2026, 10, 1);
    let beats = 0;
    const heartbeat = new Heartbeat({
      client: server,
      clock,
      log: silentLog,
      now: () => new Date(startMs + at(beats)),
      nodeName: 'node-1',
      identity: 'me',
      durationMs: 4000,
    });
    await heartbeat.start();
    const versions = new Set<string>();
    for (beats = 1; beats <= 10; beats += 1) {
      clock.advance(1000);
      for (let turn = 0; turn < 20; turn += 1) await new Promise((done) => setImmediate(done));
      const name = nodeLeaseName('node-1');
      const lease = await server.get<LeaseObject>(LEASES, OPENEBS_NAMESPACE, name);
      observer.see(lease);
      versions.add(lease.metadata.resourceVersion);
      assert.equal(observer.silenceMs(OPENEBS_NAMESPACE, name), 0, `beat ${beats}`);
    }
    assert.equal(versions.size, 10);
    heartbeat.close();
  });
}
