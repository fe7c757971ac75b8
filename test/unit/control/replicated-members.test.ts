// Goal: a replica that a volume lets go of is deleted, and nobody waits for a node that is away to do so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aManifest } from './builders.ts';
import { SIZE, withControl } from './replicated-control.ts';

test('a replica whose node is away is let go of without waiting for that node', async () => {
  await withControl(async (control) => {
    const { controller, cluster } = control;
    const [one = '', two = ''] = control.nodes;
    cluster.nodes[2]?.stop();
    await cluster.until('it is missed', () => controller.get('far').status.state !== 'Healthy');
    const fewer = { ...aManifest('far', { size: SIZE, replicaNodes: [one, two] }) };
    const before = performance.now();
    await controller.update('far', () => fewer, { dryRun: false });
    const tookMs = performance.now() - before;
    assert.ok(tookMs < 2000, `${Math.round(tookMs)} ms`);
  });
});

test('a replica that is let go of is deleted where it was, also when its node gets another one at once', async () => {
  await withControl(async (control) => {
    const { controller, cluster } = control;
    const [one = '', two = '', three = ''] = control.nodes;
    const held = () => cluster.nodes[2]?.pool.volumes().length;
    assert.equal(held(), 1);
    const change = (replicaNodes: string[]) =>
      controller.update('far', () => ({ ...aManifest('far', { size: SIZE, replicaNodes }) }), {
        dryRun: false,
      });
    await change([one, two]);
    await cluster.until('it is deleted', () => held() === 0);
    await change([one, two, three]);
    await control.whole('far');
    await change([one, two]);
    await change([one, two, three]);
    await control.whole('far');
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(held(), 1);
    assert.equal(controller.get('far').status.state, 'Healthy');
  });
});
