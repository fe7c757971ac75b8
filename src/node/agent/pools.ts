// The pools of this node: made or taken in when an object asks for one, opened at every start, closed and given up when it
// goes. What has been made once is only opened from then on, by its identity: labels, never paths.
import { join } from 'node:path';
import { type KindDefinition, setCondition } from '../../apiserver/index.ts';
import { keepScrubbed, keepWalkRate, takeUpReturned } from '../../control/index.ts';
import {
  type Controller,
  Finalizer,
  hasFinalizer,
  isDeleting,
  Label,
  type Writer,
} from '../../controllers/index.ts';
import { layoutOf, POOL, type Pool, REPLICA, VOLUME } from '../../kinds/index.ts';
import {
  backendAdvice,
  type FoundPool,
  lastUseOf,
  StoreError,
  type Pool as StorePool,
  withOwnerAdvice,
} from '../../store/index.ts';
import { type DeviceClaims, pathOf } from './device-claims.ts';
import type { PoolMarks } from './pool-marks.ts';
import { PoolOperations } from './pool-operations.ts';
import { PoolReporter } from './pool-report.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';

const TRY_AGAIN_MS = 10_000;
/** A condition of a pool that is deleted: it was opened, and held nothing. */
const ERASING = 'Erasing';

/** A pool on its devices: what opens it. */
type Place = Pick<FoundPool, 'id' | 'paths' | 'exported'>;

export class PoolKeeper implements Controller {
  readonly name = 'node-pools';
  readonly kind = POOL as unknown as KindDefinition;
  readonly triggers = [];
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  readonly #claims: DeviceClaims;
  readonly #reporter: PoolReporter;
  readonly #operations: PoolOperations;

  constructor(around: NodeSurroundings, open: OpenPools, writer: Writer, claims: DeviceClaims) {
    this.#around = around;
    this.#open = open;
    this.#writer = writer;
    this.#claims = claims;
    this.#reporter = new PoolReporter(around, writer, claims);
    this.#operations = new PoolOperations(around, open, writer, claims);
  }

  async reconcile(key: string): Promise<number | undefined> {
    const pool = this.#around.catalog.get(POOL, key);
    if (pool === null) await this.#close(key); // Forgotten, though the node is there.
    if (pool === null || pool.spec.nodeName !== this.#around.nodeName) return undefined;
    let againMs: number | undefined;
    try {
      if (isDeleting(pool)) return await this.#tearDown(pool);
      if (pool.status?.phase === 'Exported') {
        await this.#leave(pool);
        return undefined;
      }
      if (this.#open.get(key) === null) await this.#bringUp(pool);
      await this.#keepLimit(pool);
      const open = this.#open.get(key);
      if (open !== null) keepWalkRate(open, pool.spec.scrub);
      againMs = await this.#operations.agree(pool);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (this.#open.get(key) === null) await this.#operations.refuse(pool, error.message);
      const why = isDeleting(pool)
        ? `it is erased once it can be opened: ${error.message}. To forget it here and leave its devices as they are: ashlar export pool ${key} --force`
        : error.message;
      await this.#fails(pool, error.code, why);
      return TRY_AGAIN_MS;
    }
    await this.report(key);
    return againMs;
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

  async report(key: string, marks: PoolMarks | null = null): Promise<void> {
    const pool = this.#around.catalog.get(POOL, key);
    const found = this.#open.find(key);
    if (pool !== null && found !== null) await this.#reporter.report(pool, found, marks);
  }

  /** What time alone brings: devices that were missing are back where this node looks; a scrub is due. */
  async tend(key: string): Promise<void> {
    const { catalog, log, now, events } = this.#around;
    const open = this.#open.get(key);
    const object = catalog.get(POOL, key);
    if (open === null || object === null) return;
    try {
      await this.#takeUpReturned(key, open);
      if (await keepScrubbed(open, object.spec.scrub, now())) {
        log.info({ pool: key }, 'a scrub begins by itself');
        const { every } = object.spec.scrub ?? {};
        const why = every === undefined ? 'the last one had found damage' : `every ${every}`;
        events.record(object, 'Normal', 'ScrubStarted', why);
      }
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      log.warn({ pool: key, err: error }, 'a pool could not be looked after; trying again');
    }
  }

  async #takeUpReturned(key: string, open: StorePool): Promise<void> {
    const places = this.#claims.claimedFor(key).map(pathOf);
    const taken = await takeUpReturned(open, places, (paths) => this.#around.media.find(paths));
    for (const path of taken) {
      this.#around.log.info({ pool: key, path }, 'a device is back, and gets what it missed');
    }
  }

  async #bringUp(pool: Pool): Promise<void> {
    const known = pool.status?.id;
    const place = known === undefined ? await this.#obtain(pool) : await this.#locate(pool, known);
    // Opened, it would lose the mark, and whoever imports it elsewhere would not be alone with it.
    if (place.exported && (await this.#operations.endExport(pool))) return;
    if (place.exported) {
      const { name } = pool.metadata;
      throw new StoreError(
        'STORE_IN_USE',
        `its devices say that it was exported, which was not done here: another machine may have it. Forget it here (ashlar export pool ${name} --force), and import it where it belongs`,
      );
    }
    await this.#openAt(pool, place);
  }

  async #openAt(pool: Pool, { id, paths }: Place): Promise<void> {
    const { media, log } = this.#around;
    const { name } = pool.metadata;
    const opening = media.open(paths, { cacheBytes: pool.spec.cacheBytes ?? null });
    const open = await withOwnerAdvice(
      opening,
      'To have it back, stop that machine for good, and start this node once with --take-over',
    );
    if (open.id !== id) {
      await open.close();
      throw new StoreError('STORE_NOT_FOUND', `opened pool ${open.id}, not ${id}`);
    }
    try {
      const served = await this.#around.serveReplicas?.(open);
      this.#open.set(name, {
        pool: open,
        replicas: served?.node ?? null,
        replicaAddress: served?.address ?? '',
      });
    } catch (error) {
      // Open and nobody's, it could not be opened again.
      await open.close();
      throw error;
    }
    open.onFault((why) => {
      log.error({ pool: name, why }, 'a pool is faulted');
      void this.report(name);
    });
    log.info({ pool: name, id: open.id, backend: open.backend }, 'a pool is open');
    const slow = backendAdvice(open);
    if (slow !== '') log.warn({ pool: name }, slow);
  }

  /** Where a pool that has been made is now. */
  async #locate(pool: Pool, id: string): Promise<Place> {
    const paths = this.#pathsOf(pool);
    const found = await this.#around.media.find(paths);
    const ours = found.find((one) => one.id === id);
    if (ours !== undefined) return ours;
    const [other] = found;
    const where = paths.join(', ');
    throw new StoreError(
      'STORE_NOT_FOUND',
      other === undefined
        ? `its data is not there: ${where} holds no pool; nothing is made anew over it`
        : `${where} holds pool ${other.id}, not ${id}`,
    );
  }

  /** In a folder, one file; else the devices that are claimed for it. */
  #pathsOf({ metadata, spec }: Pool): string[] {
    if (spec.directory !== undefined) return [join(spec.directory, `${metadata.name}.img`)];
    return this.#claims.claimedFor(metadata.name).map(pathOf);
  }

  /** Makes it or takes it in. */
  async #obtain(pool: Pool): Promise<Place> {
    return pool.spec.import === undefined ? await this.#make(pool) : await this.#takeIn(pool);
  }

  async #make(pool: Pool): Promise<Place> {
    const { media, log, directoryPoolBytes } = this.#around;
    const { name, uid } = pool.metadata;
    const { spec } = pool;
    const force = spec.force === true;
    const isFile = spec.directory !== undefined;
    const claimed = isFile ? [] : await this.#claims.claim(pool, spec.devices ?? [], { force });
    const paths = isFile ? this.#pathsOf(pool) : claimed.map(pathOf);
    const found = await media.find(paths);
    // Made by us, and the crash came before its identity was kept.
    const ours = found.find((one) => one.id === uid || (isFile && one.name === name));
    if (ours !== undefined) return ours;
    const [other] = found;
    if (other !== undefined && !force) {
      throw new StoreError(
        'STORE_FOREIGN_SIGNATURE',
        `${paths.join(', ')} holds pool "${other.name}", which is another one; clear it with wipefs -a if that is not needed`,
      );
    }
    log.info({ pool: name, paths }, 'a pool is made');
    await media.create({
      id: uid,
      name,
      layout: layoutOf(spec),
      sides: spec.sides,
      paths,
      fileBytes: isFile ? directoryPoolBytes : null,
      force,
      growthLimitPercent: spec.growthLimitPercent,
    });
    return { id: uid, paths, exported: false };
  }

  /** Its devices are claimed and its identity is kept before it is opened: with that goes the mark that it was exported. */
  async #takeIn(pool: Pool): Promise<Place> {
    const { media, log, catalog } = this.#around;
    const { name } = pool.metadata;
    const { pool: named = name, places = [], force = false } = pool.spec.import ?? {};
    const free = this.#claims.here().filter(({ metadata, spec, status }) => {
      if (spec.claimRef !== undefined && spec.claimRef.pool !== name) return false;
      if (status?.state !== 'Active' || (status.inUse ?? '') !== '') return false;
      const names = [metadata.name, spec.deviceName, spec.path, spec.byIdPath ?? spec.path];
      const isAt = (place: string): boolean =>
        names.includes(place) || spec.path.startsWith(`${place.replace(/\/+$/, '')}/`);
      return places.length === 0 || places.some(isAt);
    });
    const found = await media.find(free.map(pathOf));
    const fits = found.filter((one) => one.id === named || one.name === named);
    const [only, ...more] = fits;
    const shown = (pools: readonly FoundPool[]): string =>
      pools.map((one) => `${one.name} (${one.id}; ${one.paths.join(', ')})`).join('; ');
    if (only === undefined) {
      const others = found.length === 0 ? 'there is none' : `there are ${shown(found)}`;
      throw new StoreError(
        'STORE_NOT_FOUND',
        `there is no pool '${named}' on the free block devices of this node; ${others}`,
      );
    }
    if (more.length > 0) {
      throw new StoreError(
        'STORE_INVALID',
        `several pools are called '${named}'; name one by its id: ${shown(fits)}`,
      );
    }
    if (!only.exported && !force) {
      throw new StoreError(
        'STORE_IN_USE',
        `pool ${only.name} (${only.id}) was not exported: ${lastUseOf(only.owner, only.otherOwners)}, and two that write to it destroy it. Export it there, or stop that machine for good and import it with --force`,
      );
    }
    const devices = free.filter((device) => only.paths.includes(pathOf(device)));
    const names = devices.map(({ metadata }) => metadata.name);
    await this.#claims.claim(pool, names, { force: true });
    const cacheBytes = pool.spec.cacheBytes ?? null;
    let strays: readonly string[] = [];
    const accept = (candidate: StorePool): void => {
      strays = candidate.volumes().map((volume) => volume.name);
      const taken = strays.filter((volume) => catalog.get(VOLUME, volume) !== null);
      if (taken.length === 0) return;
      throw new StoreError(
        'STORE_EXISTS',
        `pool ${only.name} holds volumes of names that are taken here: ${taken.join(', ')}`,
      );
    };
    let open: StorePool;
    try {
      open = await media.open(only.paths, { cacheBytes, takeOver: force, accept });
    } catch (error) {
      await this.#claims.release(name, names);
      throw error;
    }
    try {
      await this.#writer.status(POOL, pool, (status) => {
        status.id = only.id;
        status.phase = 'Pending';
        if (strays.length > 0) status.strayVolumes = [...strays];
      });
    } finally {
      // Whoever did not keep its identity finds it as it was. Where nobody can say whether it was kept, it may have been.
      const live = await this.#writer.live<Pool>(POOL, null, name).catch(() => undefined);
      const isKept = live === undefined || live?.status?.id === only.id;
      await (isKept ? open.close() : open.giveBack());
    }
    log.info({ pool: name, id: only.id, paths: only.paths }, 'a pool is taken in');
    return { ...only, exported: false };
  }

  /** It was exported: its devices are nobody's here, and its object goes. */
  async #leave(pool: Pool): Promise<void> {
    await this.#close(pool.metadata.name);
    await this.#giveBack(pool);
    await this.#claims.lookAgain();
    await this.#writer.remove(POOL, pool);
  }

  /** As it is: its devices are not told of it. */
  async #close(name: string): Promise<void> {
    const found = this.#open.find(name);
    if (found === null) return;
    this.#open.delete(name);
    found.replicas?.close();
    await found.pool.close();
  }

  async #giveBack({ metadata: { name } }: Pool): Promise<void> {
    const devices = this.#claims.claimedFor(name).map(({ metadata }) => metadata.name);
    await this.#claims.release(name, devices);
  }

  async #tearDown(pool: Pool): Promise<number | undefined> {
    const { media, log } = this.#around;
    const { metadata, status } = pool;
    const { name } = metadata;
    if (!hasFinalizer(pool, Finalizer.Pool)) return undefined;
    const isErasing = status?.conditions?.some(({ type }) => type === ERASING) === true;
    const isExported = status?.phase === 'Exported';
    const isThere = isExported || isErasing || this.#open.get(name) !== null;
    const there = isThere ? null : await this.#oursAt(pool);
    // Nobody's here, also where it was killed before it said so: another machine may have it.
    if (isExported || there?.exported === true) {
      await this.#close(name);
      await this.#giveBack(pool);
      await this.#writer.removeFinalizer(POOL, pool, Finalizer.Pool);
      return undefined;
    }
    // Null is not empty: what cannot be opened, and its volumes counted, is not erased.
    if (there !== null) await this.#openAt(pool, there);
    const placed = await this.#writer.liveList(REPLICA, Label.Pool, name);
    // Nothing may come into it between this look and its end.
    const open = this.#open.get(name);
    const held = open?.volumes().length ?? 0;
    if (held + placed.length > 0) {
      await this.#fails(pool, 'InUse', `it still holds ${Math.max(held, placed.length)} replicas`);
      return TRY_AGAIN_MS / 10;
    }
    await this.#close(name);
    // With some of its labels cleared it cannot be opened any more, and need not be.
    if (open !== null) await this.#sayErasing(pool);
    // Only what is ours is erased.
    const ours = open === null && !isErasing ? null : await this.#oursAt(pool);
    if (ours !== null) {
      if (pool.spec.directory === undefined) await media.erase(ours.paths);
      else for (const path of ours.paths) await media.removeFile(path);
      log.info({ pool: name, paths: ours.paths }, 'a pool is erased');
    }
    if (pool.spec.storagePoolClaim === undefined) await this.#giveBack(pool);
    await this.#writer.removeFinalizer(POOL, pool, Finalizer.Pool);
    return undefined;
  }

  async #sayErasing({ metadata }: Pool): Promise<void> {
    const live = await this.#writer.live<Pool>(POOL, null, metadata.name);
    if (live === null) return;
    await this.#writer.status(POOL, live, (status) => {
      status.conditions ??= [];
      const condition = { type: ERASING, status: 'True', reason: 'Empty' } as const;
      const message = 'it holds nothing, and its devices are being cleared';
      setCondition(status.conditions, { ...condition, message }, this.#around.now());
    });
  }

  /** Where the data of a pool is that is to go; null: there is none, or it is another's. */
  async #oursAt(pool: Pool): Promise<Place | null> {
    const { metadata, spec, status } = pool;
    const id = status?.id ?? metadata.uid;
    const isFile = spec.directory !== undefined;
    const found = await this.#around.media.find(this.#pathsOf(pool));
    return found.find((one) => one.id === id || (isFile && one.name === metadata.name)) ?? null;
  }

  async #fails(pool: Pool, reason: string, message: string): Promise<void> {
    const { events, now } = this.#around;
    const live = await this.#writer.live<Pool>(POOL, null, pool.metadata.name);
    if (live === null || live.status?.phase === 'Exported') return;
    const said = await this.#writer.status(POOL, live, (status) => {
      status.phase = status.id === undefined ? 'Pending' : 'Offline';
      status.conditions ??= [];
      setCondition(status.conditions, { type: 'Ready', status: 'False', reason, message }, now());
    });
    if (said !== live) events.record(pool, 'Warning', 'PoolFailed', message);
  }
}
