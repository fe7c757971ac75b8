// Goal: the walk-through that cStor's users know runs word for word, with kubectl and with `ashlar` in its place; data
// written before the snapshot is read back unchanged from the restored claim; every column says what is true.
// Method: real node processes with files as disks, Debian's kubectl, and qemu-io as the host.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type EtcdUnderTest, startEtcd } from '../../support/etcd.ts';
import { Cluster, MANIFESTS, type Tool, tableOf } from './cluster.ts';

const AGE = /^(\d+[smhd])+$/;
const SIZE = /^(0|\d+(\.\d+)?(Ki|Mi|Gi|Ti)?)$/;

function walkThrough(nodes: 1 | 3, toolName: 'kubectl' | 'ashlar'): void {
  describe(`${toolName} on ${nodes === 1 ? 'one node' : 'three nodes'}`, () => {
    let cluster: Cluster;
    let etcd: EtcdUnderTest | null = null;
    const folder = mkdtempSync(join(tmpdir(), 'ashlar-etcd-'));
    let tool: Tool;
    before(async () => {
      if (nodes > 1) etcd = await startEtcd(folder);
      cluster = new Cluster({ nodes, ...(etcd === null ? {} : { etcd: [etcd.endpoint] }) });
      await cluster.start();
      tool = cluster[toolName];
    });
    after(async () => {
      await cluster.stop();
      await etcd?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    const must = async (...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await tool(...args);
      assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
      return stdout;
    };
    const apply = (...files: string[]): Promise<string> =>
      must('apply', ...files.flatMap((file) => ['-f', join(MANIFESTS, file)]));
    const bound = (claim: string): Promise<unknown> =>
      cluster.until(`claim ${claim} is bound`, async () => {
        const found = await cluster.get<{ status?: { phase?: string } }>('pvc', claim);
        return found?.status?.phase === 'Bound';
      });

    test('a StoragePoolClaim becomes pools', async () => {
      assert.match(await apply('spc.yaml'), /cstor-disk-pool created/);
      const spc = tableOf(await must('get', 'spc'));
      assert.match(spc.get('cstor-disk-pool')?.['AGE'] ?? '', AGE);
      await cluster.until('its pools are healthy', async () => {
        const csp = tableOf(await must('get', 'csp'));
        const healthy = [...csp.values()].filter((row) => row['STATUS'] === 'Healthy');
        return healthy.length === nodes;
      });
      for (const row of tableOf(await must('get', 'csp')).values()) {
        assert.match(row['NAME'] ?? '', /^cstor-disk-pool-[0-9a-f]{4}$/);
        for (const column of ['ALLOCATED', 'FREE', 'CAPACITY'])
          assert.match(row[column] ?? '', SIZE);
        // Two disks of 4 GiB, less what the engine keeps for itself and for deletes of a full pool.
        const capacity = Number.parseFloat(row['CAPACITY'] ?? '');
        assert.ok(capacity > 6 && capacity < 8, row['CAPACITY']);
        assert.equal(row['READONLY'], 'false');
        assert.equal(row['TYPE'], 'striped');
        assert.match(row['AGE'] ?? '', AGE);
      }
      const described = await must('describe', 'spc', 'cstor-disk-pool');
      assert.match(described, /blockdevice-1/);
      assert.match(described, /memory: 4Gi/);
      assert.match(described, new RegExp(`${nodes} pools are online`));
    });

    test('claims of a class with pools, and of the one without, are bound', async () => {
      assert.match(await apply('storageclass.yaml'), /openebs-cstor-disk created/);
      await apply('cstor-pvc.yaml');
      await apply('jiva-pvc.yaml');
      await bound('cstor-pvc');
      await bound('jiva-pvc');
      const claims = tableOf(await must('get', 'pvc'));
      for (const [name, storageClass] of [
        ['cstor-pvc', 'openebs-cstor-disk'],
        ['jiva-pvc', 'openebs-jiva-default'],
      ] as const) {
        const row = claims.get(name);
        assert.equal(row?.['STATUS'], 'Bound');
        assert.match(row['VOLUME'] ?? '', /^pvc-[0-9a-f-]{36}$/);
        assert.equal(row['CAPACITY'], '5Gi');
        assert.equal(row['STORAGECLASS'], storageClass);
      }
      const described = await must('describe', 'pvc', 'cstor-pvc');
      if (nodes === 1) {
        assert.match(described, /1 of 3 replicas in sync; 2 have no place/);
        assert.match(described, /ReplicaPlacement: pool/);
      } else {
        await cluster.until('both volumes are healthy', async () => {
          const rows = [...tableOf(await must('get', 'cvolume', '-n', 'openebs')).values()];
          return rows.every((row) => row['STATUS'] === 'Healthy');
        });
      }
    });

    test('a snapshot keeps what was written before it, and is restored into a claim', async () => {
      const source = await cluster.urlOf('cstor-pvc');
      await cluster.io(source, 'write -P 0x5a 0 8M', 'write -P 0x11 1G 64k', 'flush');
      assert.match(await apply('snapshot.yaml'), /snapshot-cstor created/);
      await cluster.until('the snapshot is ready', async () => {
        interface Snapshot {
          status?: { conditions?: { type: string; status: string }[] };
        }
        const kind = 'volumesnapshots.volumesnapshot.external-storage.k8s.io';
        const found = await cluster.get<Snapshot>(kind, 'snapshot-cstor');
        return found?.status?.conditions?.some(
          ({ type, status }) => type === 'Ready' && status === 'True',
        );
      });
      await cluster.io(source, 'write -P 0xa5 0 8M', 'discard 1G 64k', 'flush');
      assert.match(await apply('restore.yaml'), /cstor-pvc-restore created/);
      await bound('cstor-pvc-restore');
      const restored = await cluster.urlOf('cstor-pvc-restore');
      await cluster.io(restored, 'read -P 0x5a 0 8M', 'read -P 0x11 1G 64k', 'read -P 0 8M 1M');
      await cluster.io(source, 'read -P 0xa5 0 8M');
      // The restored one is a disk of its own.
      await cluster.io(restored, 'write -P 0x77 4M 1M', 'flush', 'read -P 0x77 4M 1M');
      await cluster.io(source, 'read -P 0xa5 4M 1M');
    });

    test('tables of pools, devices, volumes and replicas hold true values', async () => {
      const csp = tableOf(await must('get', 'csp', '-o', 'wide'));
      assert.equal(csp.size, nodes);
      const devices = tableOf(await must('get', 'blockdevice', '-n', 'openebs'));
      assert.equal(devices.size, nodes * 2);
      for (const row of devices.values()) {
        assert.match(row['NODENAME'] ?? '', /^node-\d$/);
        assert.equal(row['SIZE'], String(4 * 2 ** 30));
        assert.equal(row['CLAIMSTATE'], 'Claimed');
        assert.equal(row['STATUS'], 'Active');
      }
      const volumes = tableOf(await must('get', 'cvolume', '-n', 'openebs'));
      assert.equal(volumes.size, 2, 'the claim and its restored copy; jiva has a kind of its own');
      for (const row of volumes.values()) {
        assert.equal(row['STATUS'], nodes === 1 ? 'Degraded' : 'Healthy');
        assert.equal(row['CAPACITY'], '5Gi');
      }
      const claim = await cluster.get<{ spec: { volumeName: string } }>('pvc', 'cstor-pvc');
      const name = claim?.spec.volumeName ?? '';
      await cluster.until('what was written is counted', async () => {
        const replicas = tableOf(await must('get', 'cvr', '-n', 'openebs'));
        const own = [...replicas.values()].filter((row) => row['NAME']?.startsWith(name));
        return own.length === nodes && own.every((row) => row['USED'] === '8Mi');
      });
      const replicas = tableOf(await must('get', 'cvr', '-n', 'openebs'));
      assert.equal(replicas.size, 3 * nodes, 'three volumes');
      for (const row of replicas.values()) {
        assert.equal(row['STATUS'], 'Healthy');
        assert.match(row['USED'] ?? '', SIZE);
        assert.match(row['ALLOCATED'] ?? '', SIZE);
        assert.match(row['AGE'] ?? '', AGE);
      }
    });

    test('the parts of ashlar are pods, and their logs are served', async () => {
      for (const [component, words] of [
        ['maya-apiserver', /the API is served|a request was answered/],
        ['provisioner', /Successfully provisioned volume pvc-/],
        ['cstor-pool', /a pool is open/],
        ['cstor-target', /a volume is served/],
      ] as const) {
        const label = `openebs.io/component-name=${component}`;
        const logs = await must('logs', '-n', 'openebs', '-l', label, '--tail=-1');
        assert.match(logs, words, component);
      }
      const pods = tableOf(await must('get', 'pods', '-n', 'openebs'));
      for (const row of pods.values()) assert.equal(row['STATUS'], 'Running');
    });

    test('all of it goes without a trace', async () => {
      const snapshots = 'volumesnapshots.volumesnapshot.external-storage.k8s.io';
      await must('delete', 'pvc', 'cstor-pvc-restore', 'jiva-pvc');
      await must('delete', snapshots, 'snapshot-cstor');
      await must('delete', 'pvc', 'cstor-pvc');
      await must('delete', 'spc', 'cstor-disk-pool');
      await cluster.until('nothing is left', async () => {
        const kinds = 'pvc,pv,volumes.ashlar.io,replicas.ashlar.io,snapshots.ashlar.io,csp,spc';
        const { stdout } = await cluster.kubectl('get', kinds, '-A', '-o', 'name');
        return stdout.trim() === '';
      });
      const devices = tableOf(await must('get', 'blockdevice', '-n', 'openebs'));
      for (const row of devices.values()) assert.equal(row['CLAIMSTATE'], 'Unclaimed');
    });
  });
}

walkThrough(1, 'kubectl');
walkThrough(1, 'ashlar');
walkThrough(3, 'kubectl');
walkThrough(3, 'ashlar');
