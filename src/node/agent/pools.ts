// The pools of this node: made when an object asks for one, opened at every start, closed and erased when it goes.
// What has been made once is only opened from then on, by its identity: labels, never paths.
import { join } from 'node:path';
import { type KindDefinition, setCondition } from '../../apiserver/index.ts';
import { adviceOf, figuresOf, presentLayout, stateOf } from '../../control/index.ts';
import {
  type Controller,
  Finalizer,
  hasFinalizer,
  isDeleting,
  STANDARD_OVERCOMMIT,
  type Writer,
} from '../../controllers/index.ts';
import { BLOCK_DEVICE, layoutOf, POOL, type Pool, type PoolStatus } from '../../kinds/index.ts';
import { StoreError } from '../../store/index.ts';
import type { PoolPlace } from './media.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';

const TRY_AGAIN_MS = 10_000;

export class PoolKeeper implements Controller {
  readonly name = 'node-pools';
  readonly kind = POOL as unknown as KindDefinition;
  readonly triggers = [];
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer) {
    this.#around = around;
    this.#open = open;
    this.#writer = writer;
  }

  async reconcile(key: string): Promise<number | undefined> {
    const pool = this.#around.catalog.get(POOL, key);
    if (pool === null || pool.spec.nodeName !== this.#around.nodeName) return undefined;
    try {
      if (isDeleting(pool)) return await this.#tearDown(pool);
      if (this.#open.get(key) === null) await this.#bringUp(pool);
      await this.#keepLimit(pool);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      await this.#fails(pool, error.code, error.message);
      return TRY_AGAIN_MS;
    }
    await this.report(key);
    return undefined;
  }

  /** The limit lies in the pool itself; what is not asked for stays as it is there. */
  async #keepLimit({ metadata, spec }: Pool): Promise<void> {
    const { growthLimitPercent } = spec;
    const open = this.#open.get(metadata.name);
    if (growthLimitPercent === undefined || open === null) return;
    if (open.stats().growthLimitPercent === growthLimitPercent) return;
    await open.devices.setGrowthLimit(growthLimitPercent);
    this.#around.log.info({ pool: metadata.name, growthLimitPercent }, 'its growth limit is set');
  }

  /** How it is now, where that differs from what its object says. */
  async report(key: string): Promise<void> {
    const { catalog, now, events } = this.#around;
    const pool = catalog.get(POOL, key);
    const found = this.#open.find(key);
    if (pool === null || found === null || isDeleting(pool)) return;
    const open = found.pool;
    const phase = stateOf(open);
    const serves = phase === 'Online' || phase === 'Degraded';
    const before = pool.status?.phase;
    const figures = figuresOf(open);
    const overcommit = pool.spec.overcommit ?? STANDARD_OVERCOMMIT;
    const advice = adviceOf({ name: key, pool: open, why: '', paths: [], clashes: [] });
    const message = serves ? (advice[0] ?? 'replicas are served') : open.stats().fault;
    const reported = await this.#writer.status(POOL, pool, (status: PoolStatus) => {
      Object.assign(status, figures);
      status.phase = phase;
      status.id = open.id;
      status.layout = presentLayout(open);
      status.advice = advice;
      const { replicaAddress } = found;
      if (replicaAddress === '') delete status.replicaAddress;
      else status.replicaAddress = replicaAddress;
      status.mayProvisionBytes = Math.floor(figures.usableBytes * overcommit);
      status.conditions ??= [];
      const is = serves ? 'True' : 'False';
      setCondition(status.conditions, { type: 'Ready', status: is, reason: phase, message }, now());
    });
    if (reported === pool || phase === before) return;
    if (phase === 'Online') events.record(pool, 'Normal', 'PoolOnline', `pool ${key} is online`);
    else if (phase === 'Degraded') events.record(pool, 'Warning', 'PoolDegraded', message);
    else events.record(pool, 'Warning', 'PoolFaulted', message);
  }

  async #bringUp(pool: Pool): Promise<void> {
    const { media, log } = this.#around;
    const { name } = pool.metadata;
    const place = this.#placeOf(pool);
    const id = pool.status?.id;
    const there = await media.probe(place);
    if (id === undefined) {
      // Of this name: made by us, and the crash came before its identity was kept.
      if (there !== null && there.name !== name) {
        throw new StoreError(
          'STORE_FOREIGN_SIGNATURE',
          `${place.paths.join(', ')} holds pool "${there.name}", which is another one; clear it with wipefs -a if that is not needed`,
        );
      }
      if (there === null) {
        log.info({ pool: name, paths: place.paths }, 'a pool is made');
        await media.create(place);
      }
    } else if (there?.id !== id) {
      throw new StoreError(
        'STORE_NOT_FOUND',
        there === null
          ? `its data is not there: ${place.paths.join(', ')} holds no pool; nothing is made anew over it`
          : `${place.paths.join(', ')} holds pool ${there.id}, not ${id}`,
      );
    }
    const open = await media.open(place);
    if (id !== undefined && open.id !== id) {
      await open.close();
      throw new StoreError('STORE_NOT_FOUND', `opened pool ${open.id}, not ${id}`);
    }
    const served = await this.#around.serveReplicas?.(open);
    this.#open.set(name, {
      pool: open,
      replicas: served?.node ?? null,
      replicaAddress: served?.address ?? '',
    });
    open.onFault((why) => {
      log.error({ pool: name, why }, 'a pool is faulted');
      void this.report(name);
    });
    log.info({ pool: name, id: open.id }, 'a pool is open');
  }

  #placeOf(pool: Pool): PoolPlace {
    const { catalog, directoryPoolBytes } = this.#around;
    const { name } = pool.metadata;
    const { directory, devices = [], cacheBytes } = pool.spec;
    const common = {
      name,
      mirrored: layoutOf(pool.spec) === 'mirror',
      cacheBytes: cacheBytes ?? null,
    };
    if (directory !== undefined) {
      return { ...common, paths: [join(directory, `${name}.img`)], fileBytes: directoryPoolBytes };
    }
    const paths = devices.map((deviceName) => {
      const device = catalog.get(BLOCK_DEVICE, deviceName);
      if (device === null || device.spec.nodeName !== this.#around.nodeName) {
        throw new StoreError('STORE_NOT_FOUND', `block device ${deviceName} is not on this node`);
      }
      if (device.spec.claimRef?.pool !== name) {
        throw new StoreError('STORE_IN_USE', `block device ${deviceName} is not claimed for it`);
      }
      return device.spec.byIdPath ?? device.spec.path;
    });
    return { ...common, paths, fileBytes: null };
  }

  async #tearDown(pool: Pool): Promise<number | undefined> {
    const { media, log } = this.#around;
    const { name } = pool.metadata;
    if (!hasFinalizer(pool, Finalizer.Pool)) return undefined;
    const open = this.#open.get(name);
    const held = open?.volumes().length ?? 0;
    if (held > 0) {
      await this.#fails(pool, 'InUse', `it still holds ${held} replicas`);
      return TRY_AGAIN_MS / 10;
    }
    const place = this.#placeOf(pool);
    const there = open === null ? await media.probe(place) : { id: open.id, name };
    const replicas = this.#open.find(name)?.replicas ?? null;
    this.#open.delete(name);
    replicas?.close();
    await open?.close();
    // Only what is ours is erased.
    if (there !== null && (there.id === pool.status?.id || there.name === name)) {
      await media.erase(place);
      log.info({ pool: name, paths: place.paths }, 'a pool is erased');
    }
    await this.#writer.removeFinalizer(POOL, pool, Finalizer.Pool);
    return undefined;
  }

  async #fails(pool: Pool, reason: string, message: string): Promise<void> {
    const { events, now } = this.#around;
    const said = await this.#writer.status(POOL, pool, (status) => {
      status.phase = status.id === undefined ? 'Pending' : 'Offline';
      status.conditions ??= [];
      setCondition(status.conditions, { type: 'Ready', status: 'False', reason, message }, now());
    });
    if (said !== pool) events.record(pool, 'Warning', 'PoolFailed', message);
  }
}
