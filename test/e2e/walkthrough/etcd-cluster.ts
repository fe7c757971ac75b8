// Nodes with etcd beside them, as the tests of several nodes begin.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EtcdUnderTest, startEtcd } from '../../support/etcd.ts';
import { Cluster, type ClusterOptions, MANIFESTS } from './cluster.ts';

export class EtcdCluster extends Cluster {
  readonly etcd: EtcdUnderTest;
  readonly #etcdFolder: string;

  private constructor(options: ClusterOptions, etcd: EtcdUnderTest, etcdFolder: string) {
    super({ ...options, etcd: [etcd.endpoint] });
    this.etcd = etcd;
    this.#etcdFolder = etcdFolder;
  }

  /** etcd runs; no node does yet. */
  static async with(options: ClusterOptions): Promise<EtcdCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'ashlar-etcd-'));
    return new EtcdCluster(options, await startEtcd(folder), folder);
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.etcd.stop();
    rmSync(this.#etcdFolder, { recursive: true, force: true });
  }

  /** By `ashlar apply`; rejects with what it says. */
  async apply(...manifests: object[]): Promise<void> {
    const file = join(this.folder, 'manifest.yaml');
    writeFileSync(file, manifests.map((manifest) => JSON.stringify(manifest)).join('\n---\n'));
    const { status, stderr } = await this.ashlar('apply', '-f', file);
    if (status !== 0) throw new Error(stderr);
  }

  /** The walk-through's pools, of one device on each node, its class, and its claim of three replicas. */
  async applyClaim(): Promise<void> {
    const spc = readFileSync(join(MANIFESTS, 'spc.yaml'), 'utf8').replace(/.*blockdevice-2\n/, '');
    const ours = join(this.folder, 'spc.yaml');
    writeFileSync(ours, spc);
    const files = [ours, join(MANIFESTS, 'storageclass.yaml'), join(MANIFESTS, 'cstor-pvc.yaml')];
    const args = files.flatMap((file) => ['-f', file]);
    const { status, stderr } = await this.kubectl('apply', ...args);
    if (status !== 0) throw new Error(stderr);
  }
}
