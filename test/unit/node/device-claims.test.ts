// Goal: a device is had by a pool only as it is now, also one that the pool has claimed before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockDevice, Pool } from '../../../src/kinds/index.ts';
import { DeviceClaims } from '../../../src/node/agent/device-claims.ts';

test('a device that was claimed before is refused when it is gone or in use, else had without a write', async () => {
  const pool = { metadata: { name: 'tank', uid: 'u' }, spec: { nodeName: 'n' } } as Pool;
  const claim = async (status: object): Promise<readonly BlockDevice[]> => {
    const device = {
      metadata: { name: 'd' },
      spec: { nodeName: 'n', deviceName: 'd', path: '/dev/sdb', claimRef: { pool: 'tank' } },
      status,
    };
    const claims = new DeviceClaims({
      nodeName: 'n',
      client: { list: async () => ({ items: [device] }) },
      catalog: {},
      writer: { update: () => assert.fail('it is written') },
      rescan: async () => {},
    } as never);
    return await claims.claim(pool, ['d'], { force: true });
  };
  await assert.rejects(claim({ state: 'Inactive' }), /d is Inactive/);
  await assert.rejects(claim({ state: 'Active', inUse: 'mounted at /mnt' }), /d is in use/);
  assert.equal((await claim({ state: 'Active', inUse: '', contents: 'ashlar pool' })).length, 1);
});
