// Goal: a client library that is not kubectl, Kubernetes' own for JavaScript, works a claim's whole life on one node:
// its generated types decode what the API answers, its informer follows, its three kinds of patch are taken.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as k8s from '@kubernetes/client-node';
import { Cluster } from './cluster.ts';

let cluster: Cluster;
let config: k8s.KubeConfig;
before(async () => {
  cluster = new Cluster({ nodes: 1 });
  await cluster.start();
  config = new k8s.KubeConfig();
  config.loadFromFile(`${cluster.folder}/kubeconfig`);
});
after(() => cluster.stop());

const NAMESPACE = 'library';

function aClaim(name: string): k8s.V1PersistentVolumeClaim {
  return {
    metadata: { name },
    spec: {
      storageClassName: 'of-a-library',
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '1Gi' } },
    },
  };
}

test('a claim is made, followed, labelled three ways, grown and deleted through @kubernetes/client-node', async () => {
  const core = config.makeApiClient(k8s.CoreV1Api);
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  await core.createNamespace({ body: { metadata: { name: NAMESPACE } } });
  await config.makeApiClient(k8s.StorageV1Api).createStorageClass({
    body: {
      metadata: { name: 'of-a-library', annotations: { 'openebs.io/cas-type': 'jiva' } },
      provisioner: 'openebs.io/provisioner-iscsi',
      allowVolumeExpansion: true,
    },
  });

  const seen: string[] = [];
  const informer = k8s.makeInformer(
    config,
    `/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims`,
    () => core.listNamespacedPersistentVolumeClaim({ namespace: NAMESPACE }),
  );
  for (const verb of ['add', 'update', 'delete'] as const) {
    informer.on(verb, (claim) => seen.push(`${verb} ${claim.status?.phase ?? ''}`));
  }
  informer.on('error', (error) => seen.push(`error ${String(error)}`));
  await informer.start();
  const which = { name: 'c', namespace: NAMESPACE };
  const read = (): Promise<k8s.V1PersistentVolumeClaim> =>
    core.readNamespacedPersistentVolumeClaim(which);
  try {
    await core.createNamespacedPersistentVolumeClaim({ namespace: NAMESPACE, body: aClaim('c') });
    await cluster.until('the claim is bound', async () => (await read()).status?.phase === 'Bound');
    const volume = (await read()).spec?.volumeName ?? '';
    const persistent = await core.readPersistentVolume({ name: volume });
    assert.match(persistent.spec?.iscsi?.iqn ?? '', /^iqn\./);
    assert.equal(persistent.spec?.claimRef?.name, 'c');

    const target = { apiVersion: 'v1', kind: 'PersistentVolumeClaim' };
    await core.patchNamespacedPersistentVolumeClaim({
      ...which,
      body: [{ op: 'add', path: '/metadata/labels', value: { json: 'patch' } }],
    });
    await objects.patch({ ...target, metadata: { ...which, labels: { strategic: 'merge' } } });
    const applied = { ...target, metadata: { ...which, labels: { applied: 'by-server' } } };
    const { ServerSideApply } = k8s.PatchStrategy;
    await objects.patch(applied, undefined, undefined, 'a-library', true, ServerSideApply);
    assert.deepEqual((await read()).metadata?.labels, {
      json: 'patch',
      strategic: 'merge',
      applied: 'by-server',
    });

    await core.patchNamespacedPersistentVolumeClaim({
      ...which,
      body: [{ op: 'replace', path: '/spec/resources/requests/storage', value: '2Gi' }],
    });
    await cluster.until('it has grown', async () => {
      return (await read()).status?.capacity?.['storage'] === '2Gi';
    });
    const events = await core.listNamespacedEvent({ namespace: NAMESPACE });
    assert.ok(events.items.some((event) => event.involvedObject.name === 'c'));

    await core.deleteNamespacedPersistentVolumeClaim(which);
    await cluster.until('its volume is gone', async () => {
      return (await core.listPersistentVolume()).items.length === 0;
    });
    await assert.rejects(read(), (error: unknown) => {
      return error instanceof k8s.ApiException && error.code === 404;
    });
    await cluster.until('the informer saw it go', () =>
      Promise.resolve(seen.includes('delete Bound')),
    );
    assert.equal(seen[0], 'add ');
    assert.ok(seen.includes('update Bound'), seen.join(', '));
    assert.ok(!seen.some((line) => line.startsWith('error')), seen.join(', '));
  } finally {
    await informer.stop();
  }
});
