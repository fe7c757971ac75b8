// Snapshots under chaos: taken and deleted while faults come and go, and read at each replica when the volume is Healthy. What
// a snapshot holds was there at one instant between the request and its answer, is the same everywhere, and stays so.

import type { Cluster } from './cluster.ts';
import { IQN_PREFIX } from './cluster.ts';
import { BLOCK_BYTES, CheckCondition, IscsiDisk } from './iscsi-disk.ts';
import type { BlockModel, Look } from './model.ts';

const MOST = 3;
/** A replica that was away has made up for all that it missed so soon after the volume is Healthy. */
const HELD_WITHIN_MS = 60_000;
const STEP_BLOCKS = 32;
const MEDIUM_ERROR = 3;

export class Snapshots {
  readonly #cluster: Cluster;
  readonly #volume: string;
  readonly #model: BlockModel;
  readonly #badNode: number;
  readonly #random: () => number;
  readonly #known = new Map<string, Look>();
  /** Nobody knows whether they are there: they go. */
  readonly #unknown = new Set<string>();
  #running = false;
  #loop: Promise<void> = Promise.resolve();
  #number = 0;
  taken = 0;
  refused = 0;
  /** Snapshots read whole at one replica, and blocks that could not be. */
  reads = 0;
  damaged = 0;
  slowestMs = 0;

  constructor(
    cluster: Cluster,
    volume: string,
    model: BlockModel,
    { badNode, random }: { readonly badNode: number; readonly random: () => number },
  ) {
    this.#cluster = cluster;
    this.#volume = volume;
    this.#model = model;
    this.#badNode = badNode;
    this.#random = random;
  }

  start(): void {
    this.#running = true;
    this.#loop = this.#work();
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#loop;
  }

  async #work(): Promise<void> {
    while (this.#running) {
      await pause(500 + this.#random() * 3000);
      for (const name of this.#unknown) {
        if (await this.#cluster.deleteSnapshot(this.#volume, name)) this.#unknown.delete(name);
      }
      if (this.#known.size < MOST) await this.#take();
    }
  }

  async #take(): Promise<void> {
    this.#number += 1;
    const name = `s-${this.#number}`;
    const look = this.#model.startLook();
    const isTaken = await this.#cluster.takeSnapshot(this.#volume, name);
    this.#model.endLook(look);
    if (isTaken) {
      this.taken += 1;
      this.#known.set(name, look);
    } else {
      this.refused += 1;
      this.#unknown.add(name);
    }
  }

  /** The volume is Healthy, and stays so. The oldest is read at one of the replicas; often it is deleted then. */
  async checkOne(): Promise<void> {
    const [name] = this.#known.keys();
    if (name === undefined) return;
    await this.#check(name, [Math.floor(this.#random() * this.#cluster.replicas.length)]);
    if (this.#random() < 0.3) return; // Once more, later.
    await this.#delete(name);
  }

  /** All of them, at each replica. */
  async checkAll(): Promise<void> {
    for (const name of [...this.#known.keys()]) {
      await this.#check(name, [...this.#cluster.replicas.keys()]);
      await this.#delete(name);
    }
  }

  async #check(name: string, replicas: readonly number[]): Promise<void> {
    await this.#untilHeld(name);
    for (const at of replicas) {
      const address = `127.0.0.1:${this.#cluster.links[at]!.port}`;
      await this.#read(name, this.#known.get(name)!, at + 1, address);
    }
  }

  async #delete(name: string): Promise<void> {
    this.#known.delete(name);
    const isGone = await this.#cluster.deleteSnapshot(this.#volume, name);
    if (!isGone) this.#unknown.add(name);
  }

  async #untilHeld(name: string): Promise<void> {
    const startMs = performance.now();
    let holders: readonly string[] | null = null;
    while (performance.now() - startMs < HELD_WITHIN_MS) {
      holders = await this.#cluster.holdersOf(this.#volume, name);
      if (holders?.length === this.#cluster.replicas.length) {
        this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
        return;
      }
      await pause(200);
    }
    const by = holders === null ? 'nobody' : holders.join(', ');
    throw new Error(`snapshot ${name} is held by ${by} after ${HELD_WITHIN_MS / 1000} s`);
  }

  /** Through a volume of one replica that begins as it. */
  async #read(name: string, look: Look, node: number, address: string): Promise<void> {
    const copy = `look-${name}-${node}`;
    const source = `${this.#volume}@${name}`;
    await this.#cluster.ashlar(
      'create',
      'volume',
      copy,
      '--from-snapshot',
      source,
      '--replica-node',
      address,
    );
    try {
      await this.#cluster.untilState(copy, 'Healthy', 30_000);
      const iqn = `${IQN_PREFIX}:${copy}`;
      const disk = await IscsiDisk.login(this.#cluster.portalPort, iqn, 'iqn.2026-11.test:look');
      for (let lba = 0; lba < this.#model.blocks; lba += STEP_BLOCKS) {
        await this.#readSome(disk, look, lba, STEP_BLOCKS, `${name} at node ${node}`, node);
      }
      disk.close();
      this.reads += 1;
    } finally {
      await this.#cluster.ashlar('delete', 'volume', copy, '--force');
    }
  }

  /** A block that rots on the bad disk is said to be damaged there, and is nothing else. */
  async #readSome(
    disk: IscsiDisk,
    look: Look,
    lba: number,
    count: number,
    where: string,
    node: number,
  ): Promise<void> {
    let data: Buffer;
    try {
      data = await disk.read(lba, count);
    } catch (error) {
      const isDamaged = error instanceof CheckCondition && error.key === MEDIUM_ERROR;
      if (!isDamaged || node !== this.#badNode) throw error;
      if (count === 1) {
        this.damaged += 1;
        return;
      }
      for (let at = lba; at < lba + count; at += 1) {
        await this.#readSome(disk, look, at, 1, where, node);
      }
      return;
    }
    for (let index = 0; index < count; index += 1) {
      const block = data.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
      try {
        look.check(lba + index, block);
      } catch (error) {
        throw new Error(`snapshot ${where}: ${(error as Error).message}`);
      }
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
