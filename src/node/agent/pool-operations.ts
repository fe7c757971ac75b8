// What is asked of a pool of this node (spec.operation), done and told (status.operation). It says that it is at it before it
// does anything, so that one who comes after a crash knows that some of it may be done already.
import { ApiError } from '../../apiserver/index.ts';
import { DEVICE_ACTIONS } from '../../control/index.ts';
import { hasReason, Label, type Writer } from '../../controllers/index.ts';
import {
  type ActionBody,
  bodyOf,
  type DeviceActionName,
  isPoolIdle,
  POOL,
  type Pool,
  type PoolOperation,
  type PoolStatus,
  REPLICA,
} from '../../kinds/index.ts';
import { StoreError, type Pool as StorePool } from '../../store/index.ts';
import { type DeviceClaims, isAtOneOf, pathOf } from './device-claims.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';

const LOOK_AGAIN_MS = 500;
const MOST_TRIES = 5;

export class PoolOperations {
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  readonly #claims: DeviceClaims;

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer, claims: DeviceClaims) {
    this.#around = around;
    this.#open = open;
    this.#writer = writer;
    this.#claims = claims;
  }

  /** Of a pool that is open. The value is when to look again. */
  async agree(pool: Pool): Promise<number | undefined> {
    const { operation } = pool.spec;
    const { name } = pool.metadata;
    const open = this.#open.get(name);
    if (operation === undefined || open === null || isPoolIdle(pool)) return undefined;
    if (operation.action === 'export') return await this.#export(pool, operation, open);
    const isResumed = pool.status?.operation?.request === operation.request;
    const { events } = this.#around;
    if (!isResumed) await this.#say(name, operation, 'Running', '');
    try {
      await this.#change(pool, operation.action, operation, open, isResumed);
    } catch (error) {
      if (!(error instanceof StoreError) && !(error instanceof ApiError)) throw error;
      if (hasReason(error, 'Conflict')) throw error; // Somebody else was faster: once more.
      await this.#giveUp(name, operation, open);
      await this.#say(name, operation, 'Refused', error.message);
      events.record(pool, 'Warning', 'PoolActionRefused', `${operation.action}: ${error.message}`);
      return undefined;
    }
    await this.#say(name, operation, 'Done', '');
    events.record(pool, 'Normal', 'PoolAction', said(operation));
    return undefined;
  }

  /** Killed when its devices had been told and nothing was said of it. False: it is not asked for. */
  async endExport(pool: Pool): Promise<boolean> {
    const { operation } = pool.spec;
    if (operation?.action !== 'export' || isPoolIdle(pool)) return false;
    await this.#say(pool.metadata.name, operation, 'Done', '', 'Exported');
    return true;
  }

  /** Of a pool that cannot be opened: nothing can be done with it, but that it is forgotten here. */
  async refuse({ metadata, spec, status }: Pool, why: string): Promise<void> {
    const { operation } = spec;
    if (operation === undefined || isPoolIdle({ spec, ...(status && { status }) })) return;
    if (operation.action === 'export' && operation.force === true) {
      await this.#say(metadata.name, operation, 'Done', '', 'Exported');
      return;
    }
    const forget =
      operation.action === 'export'
        ? '. --force forgets it here; it is imported elsewhere with --force'
        : '';
    await this.#say(metadata.name, operation, 'Refused', `it is not open: ${why}${forget}`);
  }

  async #change(
    pool: Pool,
    action: DeviceActionName,
    operation: PoolOperation,
    open: StorePool,
    isResumed: boolean,
  ): Promise<void> {
    const { force = false, sizeBytes } = operation;
    if (sizeBytes !== undefined) {
      throw new StoreError(
        'STORE_INVALID',
        'sizeBytes: files are not made here; those of devices.sparseFolder stand in for devices',
      );
    }
    const { change, joining, existing, isDone } = DEVICE_ACTIONS[action];
    const body: Record<string, unknown> = { ...bodyOf(operation) };
    for (const field of existing) body[field] = this.#inPool(pool, String(body[field]));
    for (const field of [...joining, ...(body['path'] === undefined ? [] : ['path'])]) {
      const names = [body[field]].flat().map(String);
      const paths = (await this.#claims.claim(pool, names, { force })).map(pathOf);
      body[field] = Array.isArray(body[field]) ? paths : paths[0];
    }
    if (isResumed && isDone(body as ActionBody, open.devices)) return;
    const { media } = this.#around;
    await change(body as ActionBody, open.devices, (path) => media.joining(path, { force }));
  }

  /** A device of the pool by the name of its BlockDevice; else by what the pool itself knows it by. */
  #inPool({ status }: Pool, named: string): string {
    const device = this.#claims.find(named);
    const entry = status?.devices?.find((one) => one.device === device?.metadata.name);
    return device === null || entry === undefined ? named : entry.id;
  }

  /** Devices that were to join and did not. */
  async #giveUp(pool: string, operation: PoolOperation, open: StorePool): Promise<void> {
    if (operation.action === 'export') return;
    const paths = open.devices.list().map(({ path }) => path);
    const live = await this.#writer.live<Pool>(POOL, null, pool);
    const body = bodyOf(operation);
    const names = DEVICE_ACTIONS[operation.action].joining
      .flatMap((field) => body[field] ?? [])
      .map(String);
    for (const named of names) {
      const device = this.#claims.find(named);
      if (device === null || isAtOneOf(paths, device)) continue;
      // Of the pool, and away: that it is asked to join again takes nothing from the pool.
      const { name } = device.metadata;
      if (live?.status?.devices?.some((entry) => entry.device === name) === true) continue;
      await this.#claims.release(pool, [name]);
    }
  }

  async #export(
    pool: Pool,
    operation: PoolOperation,
    open: StorePool,
  ): Promise<number | undefined> {
    const { log, events } = this.#around;
    const { name } = pool.metadata;
    const held = await this.#writer.liveList(REPLICA, Label.Pool, name);
    if (held.length > 0) {
      const volumes = held.map(({ spec }) => spec.volumeName).join(', ');
      if (operation.drain !== true) {
        await this.#say(name, operation, 'Refused', `it holds replicas of ${volumes}`);
        return undefined;
      }
      await this.#say(name, operation, 'Running', `replicas of ${volumes} go elsewhere first`);
      return LOOK_AGAIN_MS;
    }
    const isFaulted = open.stats().state === 'Faulted';
    if (isFaulted && operation.force !== true) {
      const why = 'it is faulted, and its devices cannot be told that it was exported';
      await this.#say(name, operation, 'Refused', `${why}. --force closes it`);
      return undefined;
    }
    const replicas = this.#open.find(name)?.replicas ?? null;
    this.#open.delete(name);
    replicas?.close();
    try {
      await (isFaulted ? open.close() : open.exportPool());
    } catch (error) {
      if (!(error instanceof StoreError) || !isFaulted) throw error;
    }
    log.info({ pool: name, id: open.id }, 'a pool is exported');
    events.record(pool, 'Normal', 'PoolExported', `pool ${name} (${open.id}) is exported`);
    await this.#say(name, operation, 'Done', '', 'Exported');
    return undefined;
  }

  /** Whoever else writes its status: what became of the operation must be told. */
  async #say(
    name: string,
    { request, action }: PoolOperation,
    phase: 'Running' | 'Done' | 'Refused',
    message: string,
    poolPhase?: 'Exported',
  ): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const pool = await this.#writer.live<Pool>(POOL, null, name);
      if (pool === null) return;
      try {
        await this.#writer.status(POOL, pool, (status: PoolStatus) => {
          status.operation = { request, action, phase, message };
          if (poolPhase !== undefined) status.phase = poolPhase;
        });
        return;
      } catch (error) {
        if (!hasReason(error, 'Conflict') || tries >= MOST_TRIES) throw error;
      }
    }
  }
}

function said({ action, walk, device, devices = [], by }: PoolOperation): string {
  const names = [device, ...devices, by].filter((name) => name !== undefined);
  return [action, walk, ...names].filter((word) => word !== undefined).join(' ');
}
