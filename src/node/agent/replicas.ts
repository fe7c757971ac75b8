// The replicas of this node: a volume of a pool for each, made, grown and deleted as their objects say.
import { randomUUID } from 'node:crypto';
import { type KindDefinition, setCondition } from '../../apiserver/index.ts';
import {
  type Controller,
  Finalizer,
  hasFinalizer,
  isDeleting,
  type Writer,
} from '../../controllers/index.ts';
import { POOL, quantityBytes, REPLICA, type Replica, VOLUME } from '../../kinds/index.ts';
import { STORE_BLOCK_BYTES, StoreError, type Pool as StorePool } from '../../store/index.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';

/** Which volumes this node serves: their replicas here are in sync, and in use. */
export interface Serving {
  isServed(volumeName: string): boolean;
}

const TRY_AGAIN_MS = 1000;

export class ReplicaKeeper implements Controller {
  readonly name = 'node-replicas';
  readonly kind = REPLICA as unknown as KindDefinition;
  readonly triggers;
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  readonly #serving: Serving;

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer, serving: Serving) {
    this.#around = around;
    this.#open = open;
    this.#writer = writer;
    this.#serving = serving;
    const { catalog, nodeName } = around;
    const mine = () => catalog.all(REPLICA).filter(({ spec }) => spec.nodeName === nodeName);
    this.triggers = [
      {
        kind: POOL as unknown as KindDefinition,
        keys: ({ metadata }: { metadata: { name: string } }) =>
          mine()
            .filter(({ spec }) => spec.poolName === metadata.name)
            .map((replica) => replica.metadata.name),
      },
      {
        kind: VOLUME as unknown as KindDefinition,
        keys: ({ metadata }: { metadata: { name: string } }) =>
          mine()
            .filter(({ spec }) => spec.volumeName === metadata.name)
            .map((replica) => replica.metadata.name),
      },
    ];
  }

  async reconcile(key: string): Promise<number | undefined> {
    const { catalog, nodeName } = this.#around;
    const replica = catalog.get(REPLICA, key);
    if (replica === null || replica.spec.nodeName !== nodeName) return undefined;
    const pool = this.#open.get(replica.spec.poolName);
    if (pool === null) return TRY_AGAIN_MS; // Its pool is not open yet, or is gone from here for a while.
    try {
      if (isDeleting(replica)) return await this.#tearDown(replica, pool);
      await this.#bringUp(replica, pool);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      await this.#fails(replica, error.code, error.message);
      return TRY_AGAIN_MS * 10;
    }
    await this.report(key);
    return undefined;
  }

  async #bringUp(replica: Replica, pool: StorePool): Promise<void> {
    const { catalog, log, events } = this.#around;
    const { volumeName, size } = replica.spec;
    if (pool.volume(volumeName) !== null) return;
    // Once made it is never made anew: an empty replica must not pass for the one that was lost.
    if (replica.status?.storeId !== undefined) {
      throw new StoreError(
        'STORE_NOT_FOUND',
        `its data is gone from pool ${replica.spec.poolName}`,
      );
    }
    const bytes = quantityBytes(catalog.get(VOLUME, volumeName)?.spec.size ?? size) ?? 0;
    await pool.createVolume({
      id: randomUUID(),
      name: volumeName,
      sizeBlocks: Math.ceil(bytes / STORE_BLOCK_BYTES),
    });
    log.info({ volume: volumeName, pool: replica.spec.poolName }, 'a replica is made');
    events.record(replica, 'Normal', 'ReplicaMade', `in pool ${replica.spec.poolName}`);
  }

  async report(key: string): Promise<void> {
    const { catalog, now } = this.#around;
    const replica = catalog.get(REPLICA, key);
    if (replica === null || isDeleting(replica)) return;
    const { volumeName, poolName } = replica.spec;
    const store = this.#open.get(poolName)?.volume(volumeName) ?? null;
    if (store === null) return;
    const info = store.info();
    const isServed = this.#serving.isServed(volumeName);
    await this.#writer.status(REPLICA, replica, (status) => {
      status.phase = isServed ? 'Healthy' : 'Offline';
      status.storeId = store.id;
      status.sizeBytes = info.sizeBlocks * STORE_BLOCK_BYTES;
      status.usedBytes = info.mappedBlocks * STORE_BLOCK_BYTES;
      status.allocatedBytes = info.mappedBlocks * STORE_BLOCK_BYTES;
      status.conditions ??= [];
      const message = isServed ? 'in sync' : 'its volume is not served';
      const is = isServed ? 'True' : 'False';
      setCondition(
        status.conditions,
        { type: 'Ready', status: is, reason: isServed ? 'InSync' : 'NotServed', message },
        now(),
      );
    });
  }

  async #tearDown(replica: Replica, pool: StorePool): Promise<number | undefined> {
    const { log } = this.#around;
    if (!hasFinalizer(replica, Finalizer.Replica)) return undefined;
    const { volumeName } = replica.spec;
    if (this.#serving.isServed(volumeName)) return TRY_AGAIN_MS / 10;
    if (pool.volume(volumeName) !== null) {
      await pool.deleteVolume(volumeName);
      log.info({ volume: volumeName, pool: replica.spec.poolName }, 'a replica is deleted');
    }
    await this.#writer.removeFinalizer(REPLICA, replica, Finalizer.Replica);
    return undefined;
  }

  async #fails(replica: Replica, reason: string, message: string): Promise<void> {
    const { events, now } = this.#around;
    const said = await this.#writer.status(REPLICA, replica, (status) => {
      status.phase = 'Failed';
      status.conditions ??= [];
      setCondition(status.conditions, { type: 'Ready', status: 'False', reason, message }, now());
    });
    if (said !== replica) events.record(replica, 'Warning', 'ReplicaFailed', message);
  }
}
