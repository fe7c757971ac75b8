// Goal: a target is served here, or logins are sent to where it is served, or refused; never two of them at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turn } from '../../../src/base/index.ts';
import { DataBufferPool, MAX_BUFFER_BYTES, MemoryDevice } from '../../../src/block/index.ts';
import type { ExposedVolume } from '../../../src/control/index.ts';
import { Targets } from '../../../src/daemon/targets.ts';

const IQN = 'iqn.2026-11.io.ashlar:db';
const elsewhere = { alias: 'db', initiators: [], portal: '192.0.2.2:3260', otherPortals: [] };

function setUp(): { targets: Targets; exposed: ExposedVolume } {
  const buffers = new DataBufferPool(new ArrayBuffer(MAX_BUFFER_BYTES * 2));
  const targets = new Targets({
    buffers,
    turn: new Turn(),
    portals: [],
    discoveryAuth: { chap: [], mutual: null },
    allowSanitize: true,
  });
  const exposed = {
    iqn: IQN,
    wanted: { metadata: { name: 'db' }, initiators: [], chap: null, mutualChap: null },
    volume: { store: { id: '00000000-0000-4000-8000-000000000001' } },
    device: new MemoryDevice({ bytes: 1 << 20 }),
    otherPortals: ['192.0.2.2:3260'],
  } as unknown as ExposedVolume;
  return { targets, exposed };
}

test('logins to a target that another node serves are sent there; they follow when it moves', () => {
  const { targets } = setUp();
  targets.pointTo(IQN, elsewhere);
  assert.equal(targets.find(IQN)?.movedTo, '192.0.2.2:3260');
  assert.equal(targets.find(IQN)?.state, 'online');
  targets.pointTo(IQN, { ...elsewhere, portal: '192.0.2.3:3260' });
  assert.equal(targets.find(IQN)?.movedTo, '192.0.2.3:3260');
  targets.pointTo(IQN, { ...elsewhere, portal: null });
  assert.equal(targets.find(IQN)?.state, 'offline');
  assert.equal(targets.find(IQN)?.movedTo, undefined);
  targets.forget(IQN);
  assert.equal(targets.find(IQN), null);
});

test('a target that is taken over is served here, and not pointed away until it is withdrawn', async () => {
  const { targets, exposed } = setUp();
  targets.pointTo(IQN, elsewhere);
  targets.expose(exposed);
  assert.equal(targets.find(IQN)?.movedTo, undefined);
  assert.equal(targets.find(IQN)?.state, 'online');
  assert.deepEqual(targets.find(IQN)?.otherPortals, ['192.0.2.2:3260']);
  targets.pointTo(IQN, elsewhere);
  targets.forget(IQN);
  assert.equal(targets.find(IQN)?.movedTo, undefined);
  assert.equal(targets.find(IQN)?.state, 'online');
  await targets.withdraw(IQN);
  targets.pointTo(IQN, elsewhere);
  assert.equal(targets.find(IQN)?.movedTo, '192.0.2.2:3260');
});
