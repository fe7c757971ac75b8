// Goal: controllers that were killed between any two of their steps finish after a restart, and leave nothing behind.
// Method: each operation is done again and again, killed at its first write, its second, and so on, before the write and
// after it; then new controllers finish it, and what exists on the nodes is compared with what is wanted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Finalizer } from '../../../src/controllers/index.ts';
import {
  BLOCK_DEVICE,
  CLAIM,
  EXTERNAL_SNAPSHOT,
  NODE,
  PERSISTENT_VOLUME,
  POOL,
  REPLICA,
  SNAPSHOT,
  STORAGE_CLASS,
  STORAGE_POOL_CLAIM,
  VOLUME,
} from '../../../src/kinds/index.ts';
import { aClaim, restore, spc, storageClass, volumeSnapshot } from './manifests.ts';
import { World } from './world.ts';

interface Operation {
  readonly name: string;
  /** Before the kill. */
  readonly prepare: (world: World) => Promise<void>;
  /** What a user asks for; the controllers are killed while they do it. */
  readonly ask: (world: World) => Promise<void>;
  readonly check: (world: World) => Promise<void>;
}

const nothing = async (): Promise<void> => {};
const aBoundClaim = async (world: World): Promise<void> => {
  await world.server.create(CLAIM, aClaim('cstor-pvc'));
  await world.settle();
};
const claims = async (world: World, names: readonly string[]): Promise<void> => {
  assert.deepEqual((await world.all(CLAIM)).map(({ metadata }) => metadata.name).sort(), names);
  for (const name of names) {
    const claim = await world.get(CLAIM, name, 'default');
    assert.equal(claim?.status?.phase, 'Bound', `${name}: ${JSON.stringify(claim?.status)}`);
  }
};

const aVolumeWithSnapshot = async (world: World): Promise<void> => {
  await aBoundClaim(world);
  await world.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
  await world.settle();
};
const askToRollBack = async (world: World): Promise<void> => {
  const [volume] = await world.all(VOLUME);
  const [snapshot] = await world.all(SNAPSHOT);
  const body = { spec: { rollback: { to: snapshot!.metadata.name, request: 'asked' } } };
  await world.server.patch(VOLUME, null, volume!.metadata.name, { type: 'merge', body });
};
/** Done, once, and nothing of it is taken back: what hosts have written since must not go. */
const rolledBackOnce = async (world: World): Promise<void> => {
  const [volume] = await world.all(VOLUME);
  const [snapshot, ...others] = await world.all(SNAPSHOT);
  assert.equal(others.length, 0);
  assert.equal(volume?.status?.rollback?.phase, 'Done');
  assert.equal(volume.status.rollback.request, 'asked');
  const { name } = volume.metadata;
  assert.deepEqual(world.rolledBack, [`${name} to ${snapshot?.metadata.name}, asked`]);
  await claims(world, ['cstor-pvc']);
};

/** All nodes but the first. */
async function cordon(world: World, unschedulable: boolean): Promise<void> {
  for (const name of ['node-2', 'node-3']) {
    await world.server.patch(NODE, null, name, {
      type: 'merge',
      body: { spec: { unschedulable } },
    });
  }
}

const operations: readonly Operation[] = [
  {
    name: 'create',
    prepare: nothing,
    ask: async (world) => {
      await world.server.create(CLAIM, aClaim('cstor-pvc'));
    },
    check: (world) => claims(world, ['cstor-pvc']),
  },
  {
    name: 'snapshot and restore',
    prepare: aBoundClaim,
    ask: async (world) => {
      await world.server.create(EXTERNAL_SNAPSHOT, volumeSnapshot);
      await world.server.create(CLAIM, aClaim('cstor-pvc-restore', restore));
    },
    check: async (world) => {
      await claims(world, ['cstor-pvc', 'cstor-pvc-restore']);
      assert.equal((await world.all(SNAPSHOT)).length, 1);
    },
  },
  {
    name: 'grow',
    prepare: aBoundClaim,
    ask: async (world) => {
      const body = { spec: { resources: { requests: { storage: '9Gi' } } } };
      await world.server.patch(CLAIM, 'default', 'cstor-pvc', { type: 'merge', body });
    },
    check: async (world) => {
      await claims(world, ['cstor-pvc']);
      const claim = await world.get(CLAIM, 'cstor-pvc', 'default');
      assert.equal(claim?.status?.capacity?.storage, '9Gi');
    },
  },
  {
    name: 'scale down',
    prepare: aBoundClaim,
    ask: async (world) => {
      const [volume] = await world.all(VOLUME);
      const body = { spec: { replicaCount: 2 } };
      await world.server.patch(VOLUME, null, volume!.metadata.name, { type: 'merge', body });
    },
    check: async (world) => {
      assert.equal((await world.all(REPLICA)).length, 2);
    },
  },
  {
    name: 'places that come later',
    prepare: async (world) => {
      await cordon(world, true);
      await aBoundClaim(world);
      assert.equal((await world.all(REPLICA)).length, 1);
    },
    ask: async (world) => {
      await cordon(world, false);
    },
    check: async (world) => {
      await claims(world, ['cstor-pvc']);
      assert.equal((await world.all(REPLICA)).length, 3);
    },
  },
  {
    name: 'move',
    prepare: async (world) => {
      await world.addNode('node-4');
      await world.settle();
      await aBoundClaim(world);
    },
    ask: async (world) => {
      const [volume] = await world.all(VOLUME);
      const name = volume?.status?.serving?.nodeName ?? '';
      await world.server.patch(NODE, null, name, {
        type: 'merge',
        body: { spec: { drain: true } },
      });
    },
    check: async (world) => {
      await claims(world, ['cstor-pvc']);
      const replicas = await world.all(REPLICA);
      assert.equal(replicas.length, 3);
      const [volume] = await world.all(VOLUME);
      assert.equal(volume?.status?.state, 'Healthy');
    },
  },
  {
    name: 'roll back',
    prepare: aVolumeWithSnapshot,
    ask: askToRollBack,
    check: rolledBackOnce,
  },
  {
    name: 'roll back and move',
    prepare: async (world) => {
      await world.addNode('node-4');
      await world.settle();
      await aVolumeWithSnapshot(world);
    },
    ask: async (world) => {
      await askToRollBack(world);
      const [volume] = await world.all(VOLUME);
      const body = { spec: { drain: true, unschedulable: true } };
      const name = volume?.status?.serving?.nodeName ?? '';
      await world.server.patch(NODE, null, name, { type: 'merge', body });
    },
    check: rolledBackOnce,
  },
  {
    name: 'delete',
    prepare: aBoundClaim,
    ask: async (world) => {
      await world.server.delete(CLAIM, 'default', 'cstor-pvc');
    },
    check: async (world) => {
      await claims(world, []);
      assert.equal((await world.all(VOLUME)).length, 0);
      assert.equal((await world.all(PERSISTENT_VOLUME)).length, 0);
    },
  },
  {
    name: 'delete what was never bound',
    prepare: nothing,
    ask: async (world) => {
      await world.server.create(CLAIM, aClaim('cstor-pvc'));
      await world.pass(500);
      await world.server.delete(CLAIM, 'default', 'cstor-pvc');
    },
    check: async (world) => {
      await claims(world, []);
      assert.equal((await world.all(VOLUME)).length, 0);
    },
  },
  {
    name: 'delete the pools',
    prepare: nothing,
    ask: async (world) => {
      await world.server.delete(STORAGE_POOL_CLAIM, null, 'cstor-disk-pool');
    },
    check: async (world) => {
      assert.equal((await world.all(STORAGE_POOL_CLAIM)).length, 0);
      assert.equal((await world.all(POOL)).length, world.nodes.size);
      for (const { spec } of await world.all(BLOCK_DEVICE)) assert.equal(spec.claimRef, undefined);
    },
  },
];

/** What exists on nodes is what objects say, no more and no less. */
async function noLeaks(world: World): Promise<void> {
  const [replicas, volumes, snapshots, pools] = await Promise.all([
    world.all(REPLICA),
    world.all(VOLUME),
    world.all(SNAPSHOT),
    world.all(POOL),
  ]);
  for (const node of world.nodes.values()) {
    const here = replicas.filter(({ spec }) => spec.nodeName === node.name);
    assert.deepEqual(
      [...node.stores].sort(),
      here.map(({ spec }) => `${spec.poolName}/${spec.volumeName}`).sort(),
      'replicas',
    );
    assert.deepEqual(
      [...node.targets.keys()].sort(),
      volumes
        .filter(({ status }) => status?.serving?.nodeName === node.name)
        .map(({ metadata }) => metadata.name)
        .sort(),
      'targets',
    );
    assert.deepEqual(
      [...node.pools].sort(),
      pools
        .filter(({ spec }) => spec.nodeName === node.name)
        .map(({ metadata }) => metadata.name)
        .sort(),
      'pools',
    );
  }
  for (const replica of replicas) {
    assert.ok(
      volumes.some(({ metadata }) => metadata.name === replica.spec.volumeName),
      `${replica.metadata.name} has no volume`,
    );
  }
  for (const snapshot of snapshots) {
    assert.ok(volumes.some(({ metadata }) => metadata.name === snapshot.spec.volumeName));
  }
  for (const volume of volumes) {
    assert.equal(volume.status?.state, 'Healthy', volume.metadata.name);
  }
}

for (const { name, prepare, ask, check } of operations) {
  test(`${name}, killed between any two steps, is finished after the restart`, async () => {
    let kills = 0;
    for (let atWrite = 1; ; atWrite += 1) {
      let wasKilled = false;
      for (const applied of [false, true]) {
        const world = new World();
        await world.start();
        for (const node of ['node-1', 'node-2', 'node-3']) await world.addNode(node);
        await world.server.create(STORAGE_POOL_CLAIM, spc);
        await world.server.create(STORAGE_CLASS, storageClass);
        await world.settle();
        await prepare(world);
        world.stop();
        await world.start({ atWrite, applied });
        await ask(world);
        await world.settle();
        wasKilled = world.killed;
        if (wasKilled) {
          kills += 1;
          await world.start();
          await world.settle();
        }
        await check(world);
        await noLeaks(world);
        world.stop();
      }
      if (!wasKilled) break;
    }
    assert.ok(kills > 0, 'nothing was ever killed');
  });
}

test('a node is forgotten, killed between any two steps, while it comes back: its pools are there whole, or given back', async () => {
  let kills = 0;
  for (let atWrite = 1; ; atWrite += 1) {
    let wasKilled = false;
    for (const applied of [false, true]) {
      const world = new World();
      await world.start();
      for (const name of ['node-1', 'node-2', 'node-3']) await world.addNode(name);
      await world.server.create(STORAGE_POOL_CLAIM, spc);
      await world.settle();
      const node = world.nodes.get('node-2')!;
      node.alive = false;
      await world.pass(70_000);
      world.stop();
      await world.start({ atWrite, applied });
      await world.server.delete(NODE, null, node.name);
      await world.pass(10_000);
      wasKilled = world.killed;
      if (wasKilled) {
        kills += 1;
        // Registered anew, before anybody leads again.
        node.alive = true;
        await world.server.create(NODE, { metadata: { name: node.name }, spec: {} });
        await world.pass(1000);
        await world.start();
      }
      await world.pass(10_000);
      assert.deepEqual(node.erased, [], `write ${atWrite}`);
      for (const { metadata, spec } of await world.all(POOL)) {
        if (spec.nodeName !== node.name) continue;
        assert.deepEqual(metadata.finalizers, [Finalizer.Pool], metadata.name);
        assert.equal(metadata.deletionTimestamp, undefined, metadata.name);
      }
      world.stop();
    }
    if (!wasKilled) break;
  }
  assert.ok(kills > 4, `killed ${kills} times`);
});
