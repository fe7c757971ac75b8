// The pools of a daemon beside the one of its configuration: made, imported, exported and destroyed while it serves, and
// found again when it starts.
//
// What there is is kept in a list beside the data, a step ahead of the devices: a pool is listed as Making before a device
// is touched, as Exporting before its hosts lose it, as Clearing before a label goes. Whatever a crash cuts short is
// finished or undone at the next start by that step, and what a step has done already it finds done:
//
//   Making       nobody has heard of it: devices that carry its id are cleared, and it is forgotten
//   Importing    nobody has heard of it: opened and served if its devices say that it was exported, or that was not asked
//                for; else another machine may have imported it since, and it is forgotten. It is Serving before hosts see it
//   Serving      opened, by the labels of its devices; one that cannot be is tried again until it can, one that says it was
//                exported is not: that was done on another machine, which may have it
//   Exporting    closed for another machine, and forgotten
//   Destroying   empty when that was asked: looked at again, and served if it is not; else closed for good, and then
//   Clearing     empty, and nobody's any more: its labels are cleared, and it is forgotten
//
// A step that could not be written is not taken, although it may be found in the list after a crash: so none but Clearing
// takes away what cannot be brought back, and a pool that is Clearing is never served again.
//
// The daemon's own pool is listed only once its devices are others than the configuration names.
import type { Clock, Log, Timer } from '../base/index.ts';
import type { ScrubSpec } from '../kinds/index.ts';
import {
  backendAdvice,
  type FoundPool,
  lastUseOf,
  type Pool,
  StoreError,
  withOwnerAdvice,
} from '../store/index.ts';
import { ApiError, invalid, notFound, type StatusCause } from './errors.ts';
import type {
  HeldPool,
  ImportRequest,
  KeptPool,
  OpenOptions,
  PoolList,
  PoolMedia,
  PoolRequest,
  PoolStep,
} from './held-pools.ts';
import { planPool } from './pool-plan.ts';
import { takeUpReturned } from './returning-devices.ts';
import { GROUP, VOLUME_NAME } from './schemas.ts';
import { keepScrubbed, keepWalkRate } from './scrub-schedule.ts';
import type { VolumeController } from './volume-controller.ts';
import { storeFailure } from './volume-parts.ts';

/** Each has a cache of its own for its mappings. */
const MAX_POOLS = 16;
/** A pool whose devices are not there is looked for that often. */
const TRY_AGAIN_MS = 15_000;

export interface PoolHostOptions {
  readonly own: Pool;
  /** What the configuration calls it by. */
  readonly ownPath: string;
  readonly controller: VolumeController;
  readonly media: PoolMedia;
  readonly list: PoolList;
  readonly clock: Clock;
  readonly now: () => Date;
  readonly log: Log;
  /** Of each pool that opens; what it gives is called when the pool is about to leave. */
  readonly onOpen?: (pool: Pool, name: string) => () => void;
}

interface Held {
  kept: KeptPool;
  pool: Pool | null;
  why: string;
  clashes: readonly string[];
  readonly openedAt: Date;
  leave?: () => void;
}

export class PoolHost {
  readonly #options: PoolHostOptions;
  readonly #held = new Map<string, Held>();
  readonly #own: Held;
  /** Changes of the set of pools happen one after the other. */
  #tail: Promise<unknown> = Promise.resolve();
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: PoolHostOptions) {
    this.#options = options;
    const { own, list, now } = options;
    const paths = own.devices.list().map(({ path }) => path);
    const known = list.read().find(({ id }) => id === own.id);
    this.#own = {
      kept: known ?? { name: own.name, id: own.id, paths, step: 'Serving', own: true },
      pool: own,
      why: '',
      clashes: [],
      openedAt: now(),
    };
  }

  /** The daemon's own first. */
  all(): HeldPool[] {
    return [this.#own, ...this.#held.values()].map((held) => this.#show(held));
  }

  find(name: string): HeldPool | null {
    const held = this.#find(name);
    return held === null ? null : this.#show(held);
  }

  #show({ kept, pool, why, clashes, openedAt }: Held): HeldPool {
    const paths = pool === null ? kept.paths : pool.devices.list().map(({ path }) => path);
    const isOwn = kept.id === this.#own.kept.id;
    const { name, id, scrub = null } = kept;
    return { name, id, isOwn, paths, pool, why, clashes, openedAt, scrub };
  }

  #find(name: string): Held | null {
    return name === this.#own.kept.name ? this.#own : (this.#held.get(name) ?? null);
  }

  /** Never rejects for what one pool is like: the others are served, and it is tried again. */
  async start(): Promise<void> {
    await this.#exclusively(async () => {
      for (const kept of this.#options.list.read()) {
        if (kept.id === this.#own.kept.id) continue;
        await this.#takeUp(kept);
      }
      if (this.#own.pool !== null) {
        keepWalkRate(this.#own.pool, this.#own.kept.scrub);
        await this.#keepPaths(this.#own, []);
      }
    });
    this.#tryAgainLater();
  }

  /** No more changes; what is under way ends first. */
  async rest(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#tail;
  }

  /** Nobody uses a volume any more. */
  async close(): Promise<void> {
    await this.rest();
    for (const { kept, pool, leave } of this.#held.values()) {
      leave?.();
      try {
        await pool?.close();
      } catch (error) {
        this.#options.log.error({ pool: kept.name, err: error }, 'a pool could not be closed');
      }
    }
  }

  /** Goes on with a line of the list. */
  async #takeUp(kept: KeptPool): Promise<void> {
    const { log, media, now } = this.#options;
    const held: Held = { kept, pool: null, why: '', clashes: [], openedAt: now() };
    this.#held.set(kept.name, held);
    try {
      switch (kept.step) {
        case 'Making':
          await this.#unmake(held);
          log.info({ pool: kept.name }, 'a pool whose creation never finished was undone');
          return;
        case 'Importing':
          await this.#goOnImporting(held);
          return;
        case 'Serving':
          await this.#open(held);
          return;
        case 'Exporting': {
          const found = await this.#locate(kept);
          if (found !== null && !found.exported) {
            const pool = await withOwnerAdvice(media.open(found.paths), ownerAdvice(kept.name));
            await pool.exportPool();
          }
          await this.#forget(held);
          log.info({ pool: kept.name }, 'a pool is exported');
          return;
        }
        case 'Destroying':
          await this.#lookAndClear(held);
          return;
        case 'Clearing':
          await this.#clear(held);
          return;
      }
    } catch (error) {
      // What is wrong with one pool must not keep the others from their hosts.
      held.why = (error as Error).message;
      log.error({ pool: kept.name, step: kept.step, err: error }, 'a pool is not there');
    }
  }

  #tryAgainLater(): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.schedule(TRY_AGAIN_MS, () => {
      const waiting = [...this.#held.values()].filter(({ pool }) => pool === null);
      void this.#exclusively(async () => {
        for (const { kept } of waiting) {
          if (!this.#closed && this.#held.get(kept.name)?.pool === null) await this.#takeUp(kept);
        }
        for (const held of [this.#own, ...this.#held.values()]) {
          if (this.#closed || held.pool === null) continue;
          await this.#welcome(held, held.pool);
          await this.#scrubWhenDue(held, held.pool);
        }
      }).finally(() => this.#tryAgainLater());
    });
  }

  /**
   * A device that was not there when the pool was opened, and is now where it was: one that is slow to appear when the
   * machine starts, or whose cable was out. One that failed is its operator's to bring back.
   */
  async #welcome({ kept }: Held, pool: Pool): Promise<void> {
    const taken = await takeUpReturned(pool, kept.paths, (places) => this.#findIn(places));
    for (const path of taken) {
      this.#options.log.info(
        { pool: kept.name, path },
        'a device is back, and gets what it missed',
      );
    }
  }

  /** Makes a pool and serves it. Throws with every field that is wrong. */
  async create(name: string, request: PoolRequest, dryRun: boolean): Promise<HeldPool> {
    return await this.#exclusively(async () => {
      const { media } = this.#options;
      const causes = this.#nameFaults(name);
      const plan = await planPool(name, request, { media, causes, owners: this.#identities() });
      if (dryRun) {
        const paths = plan.vdevs.flat();
        const openedAt = this.#options.now();
        const shown = { name, id: plan.id, isOwn: false, paths, pool: null, clashes: [], openedAt };
        return { ...shown, why: 'it is not made: a dry run', scrub: null };
      }
      const { log } = this.#options;
      const made: string[] = [];
      for (const path of plan.vdevs.flat()) {
        if ((await media.examine(path)).kind === 'Missing') made.push(path);
      }
      const paths = plan.vdevs.flat();
      const held: Held = {
        kept: { name, id: plan.id, paths, step: 'Making', made },
        pool: null,
        why: '',
        clashes: [],
        openedAt: this.#options.now(),
      };
      this.#held.set(name, held);
      await this.#keep();
      try {
        await media.create(plan);
        await this.#step(held, 'Serving');
        await this.#open(held);
      } catch (error) {
        if (held.pool === null) {
          await this.#unmake(held).catch((cause: unknown) => {
            held.why = 'its creation failed, and could not be undone yet';
            log.error({ pool: name, err: cause }, 'a half-made pool could not be undone');
          });
        }
        throw translate(name, error);
      }
      log.info({ pool: name, id: plan.id, paths }, 'a pool is made');
      return this.#show(held);
    });
  }

  /** The devices of open pools: whose they are. */
  #identities(): Map<string, string> {
    const { media } = this.#options;
    const identities = new Map<string, string>();
    for (const { kept, pool } of [this.#own, ...this.#held.values()]) {
      for (const { path } of pool?.devices.list() ?? []) {
        identities.set(media.identity(path), kept.name);
      }
    }
    return identities;
  }

  #nameFaults(name: string): StatusCause[] {
    const causes: StatusCause[] = [];
    const field = 'metadata.name';
    if (!VOLUME_NAME.test(name)) {
      const message = `'${name.slice(0, 80)}' cannot name a pool; use lower-case letters, digits and '-', at most 63`;
      causes.push({ reason: 'FieldValueInvalid', field, message });
    } else if (this.#find(name) !== null) {
      throw new ApiError('AlreadyExists', `pools "${name}" already exists`, {
        name,
        group: GROUP,
        kind: 'pools',
      });
    }
    if (this.#held.size >= MAX_POOLS) {
      causes.push({
        reason: 'FieldValueInvalid',
        field,
        message: `this daemon has ${MAX_POOLS} pools beside its own, which is its limit`,
      });
    }
    return causes;
  }

  /** Pools on devices that are here and not ours. */
  async importable(places: readonly string[] | null): Promise<readonly FoundPool[]> {
    const found = await this.#findIn(places ?? this.#options.media.everywhere());
    const ours = new Set([this.#own, ...this.#held.values()].map(({ kept }) => kept.id));
    return found.filter(({ id }) => !ours.has(id));
  }

  async import(name: string, request: ImportRequest, dryRun: boolean): Promise<HeldPool> {
    return await this.#exclusively(async () => {
      const causes = this.#nameFaults(name);
      if (causes.length > 0) throw invalid('Pool', name, causes);
      const { log, now } = this.#options;
      const chosen = await this.#choose(name, request);
      if (!chosen.exported && !request.force) {
        throw conflict(
          name,
          `pool ${chosen.name} (${chosen.id}) was not exported: ${lastUseOf(chosen.owner, chosen.otherOwners)}, and two that write to it destroy it. Export it there (ashlar export pool ${chosen.name}), or stop that machine for good and import it with --force`,
        );
      }
      const { id, paths } = chosen;
      const { force } = request;
      const kept: KeptPool = { name, id, paths, step: 'Importing', ...(force && { force }) };
      const held: Held = { kept, pool: null, why: '', clashes: [], openedAt: now() };
      if (dryRun) return { ...this.#show(held), why: 'it is not imported: a dry run' };
      this.#held.set(name, held);
      try {
        await this.#keep();
        await this.#open(held, chosen);
      } catch (error) {
        if (held.pool === null) await this.#forget(held);
        throw translate(name, error);
      }
      log.info({ pool: name, id, paths }, 'a pool is imported');
      return this.#show(held);
    });
  }

  /** What a crash cut short: whoever asked for it was told nothing, or that it failed. */
  async #goOnImporting(held: Held): Promise<void> {
    const { log } = this.#options;
    const { name, id, force = false } = held.kept;
    const found = await this.#locate(held.kept);
    if (found !== null && !found.exported && !force) {
      await this.#forget(held);
      log.warn({ pool: name, id }, 'an import did not end, and another machine may have the pool');
      return;
    }
    try {
      await this.#open(held, found ?? undefined);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      await this.#forget(held);
      log.warn({ pool: name, id, err: error }, 'an import did not end, and cannot be gone on with');
    }
  }

  async #choose(name: string, { pool, places }: ImportRequest): Promise<FoundPool> {
    const found = await this.importable(places);
    const wanted = pool ?? name;
    const fits = found.filter((one) => one.id === wanted || one.name === wanted);
    const [only, ...more] = fits;
    if (only !== undefined && more.length === 0) return only;
    const shown = (pools: readonly FoundPool[]): string =>
      pools.map((one) => `${one.name} (${one.id}; ${one.paths.join(', ')})`).join('; ');
    const message =
      only !== undefined
        ? `several pools are called '${wanted}'; name one by its id: ${shown(fits)}`
        : `there is no pool '${wanted}' on ${places === null ? 'the devices of this machine' : places.join(', ')}; ${found.length === 0 ? 'there is none that could be imported: files are looked for where --device says' : `there are ${shown(found)}`}`;
    throw invalid('Pool', name, [
      { reason: 'FieldValueNotFound', field: 'spec.import.pool', message },
    ]);
  }

  /** Hosts lose it, and its devices say that another machine may open it. */
  async export(name: string, { force }: { force: boolean }): Promise<void> {
    await this.#exclusively(async () => {
      const { controller, log } = this.#options;
      const held = this.#foreign(name, 'exported');
      if (held.pool === null) {
        if (!force) {
          throw conflict(
            name,
            `pool ${name} is not open (${held.why}): its devices cannot be told that it was exported. --force forgets it here; it is imported elsewhere with --force`,
          );
        }
        await this.#forget(held);
        return;
      }
      const users = [...controller.usersOf(name)];
      if (users.length > 0 && !force) {
        const who = users.map(([volume, by]) => `${by.join(', ')} to ${volume}`).join('; ');
        throw conflict(
          name,
          `pool ${name} is in use: logged in are ${who}. Log out there first (iscsiadm -m node -T … --logout), or --force ends the sessions`,
        );
      }
      const faulted = held.pool.stats().state === 'Faulted';
      if (faulted && !force) {
        throw conflict(
          name,
          `pool ${name} is faulted, and its devices cannot be told that it was exported. --force closes it; it is imported elsewhere with --force`,
        );
      }
      await this.#step(held, 'Exporting');
      held.leave?.();
      await controller.detach(name);
      try {
        await (faulted ? closeAnyhow(held.pool) : held.pool.exportPool());
      } catch (error) {
        held.pool = null;
        held.why = (error as Error).message;
        throw translate(name, error);
      }
      await this.#forget(held);
      log.info({ pool: name }, 'a pool is exported');
    });
  }

  /** Throws where it would be refused. */
  assertDestroyable(name: string): void {
    const { pool, why } = this.#foreign(name, 'destroyed');
    if (pool === null) {
      throw conflict(
        name,
        `pool ${name} is not open (${why}), so nobody knows what it holds. Bring its devices back; or forget it here with ashlar export pool ${name} --force`,
      );
    }
    const volumes = pool.volumes().map((volume) => volume.name);
    if (volumes.length === 0) return;
    const shown = volumes.length > 8 ? [...volumes.slice(0, 8), '…'] : volumes;
    throw conflict(
      name,
      `pool ${name} holds ${volumes.length} volumes: ${shown.join(', ')}. Delete them first (ashlar delete volume ${volumes[0]})`,
    );
  }

  async destroy(name: string): Promise<void> {
    await this.#exclusively(async () => {
      this.assertDestroyable(name);
      const { controller } = this.#options;
      const held = this.#foreign(name, 'destroyed');
      await this.#step(held, 'Destroying');
      await controller.detach(name);
      // Between the look above and this nothing new could begin there, and what had begun has ended.
      if (held.pool!.volumes().length > 0) {
        held.clashes = await controller.attach(name, held.pool!);
        await this.#step(held, 'Serving');
        this.assertDestroyable(name);
      }
      held.leave?.();
      const pool = held.pool!;
      held.pool = null;
      try {
        await closeAnyhow(pool);
        await this.#step(held, 'Clearing');
        await this.#clear(held);
      } catch (error) {
        held.why = `it is being destroyed: ${(error as Error).message}`;
        throw translate(name, error);
      }
    });
  }

  /**
   * Changes the devices of a pool. Where its devices are is kept before and afterwards: a start that follows a crash at
   * any moment looks in both places.
   */
  async changeDevices(
    name: string,
    joining: readonly string[],
    change: (pool: Pool) => Promise<void>,
  ): Promise<void> {
    await this.#exclusively(async () => {
      const held = this.#find(name);
      if (held === null) throw notFound('pools', name);
      const { pool } = held;
      if (pool === null) throw conflict(name, `pool ${name} is not open: ${held.why}`);
      if (joining.length > 0) await this.#keepPaths(held, joining);
      try {
        await change(pool);
      } catch (error) {
        throw translate(name, error);
      } finally {
        await this.#keepPaths(held, []);
      }
    });
  }

  /** Null: no schedule, and the standard pace. Kept with the list, and effective at once. */
  async setScrub(name: string, scrub: ScrubSpec | null): Promise<void> {
    await this.#exclusively(async () => {
      const held = this.#find(name);
      if (held === null) throw notFound('pools', name);
      const { scrub: _, ...kept } = held.kept;
      held.kept = scrub === null ? kept : { ...kept, scrub };
      await this.#keep();
      if (held.pool === null) return;
      keepWalkRate(held.pool, scrub);
      await this.#scrubWhenDue(held, held.pool);
    });
  }

  async #scrubWhenDue({ kept }: Held, pool: Pool): Promise<void> {
    const { log, now } = this.#options;
    try {
      const begun = await keepScrubbed(pool, kept.scrub, now());
      if (begun) log.info({ pool: kept.name }, 'a scrub begins by itself');
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      log.warn({ pool: kept.name, err: error }, 'a scrub is due and cannot begin; trying again');
    }
  }

  #foreign(name: string, what: string): Held {
    const held = this.#find(name);
    if (held === null) throw notFound('pools', name);
    if (held === this.#own) {
      throw conflict(
        name,
        `pool ${name} is the daemon's own (pool.path of its configuration), and cannot be ${what} while it serves`,
      );
    }
    return held;
  }

  /** Opens it, by its labels, and serves what it holds. */
  async #open(held: Held, seen?: FoundPool): Promise<void> {
    const { controller, onOpen, log } = this.#options;
    const { name, id } = held.kept;
    const found = seen ?? (await this.#locate(held.kept));
    const isImporting = held.kept.step === 'Importing';
    const accept = (candidate: Pool): void => this.#assertNoClashes(name, candidate);
    const pool = await this.#reopen(held.kept, found, isImporting ? { accept } : {});
    if (isImporting) {
      try {
        accept(pool); // Once more: a volume may have been made elsewhere meanwhile.
        await this.#step(held, 'Serving');
      } catch (error) {
        // As it was found: mark and owner went with the opening.
        await pool.giveBack().catch((cause: unknown) => {
          log.warn({ pool: name, err: cause }, 'a pool that was not imported names this machine');
        });
        throw error;
      }
    }
    held.pool = pool;
    held.why = '';
    keepWalkRate(pool, held.kept.scrub);
    const leave = onOpen?.(pool, name);
    if (leave !== undefined) held.leave = leave;
    held.clashes = await controller.attach(name, pool);
    await this.#keepPaths(held, []);
    const { backend } = pool;
    log.info({ pool: name, id, paths: held.kept.paths, backend }, 'a pool is open');
    const slow = backendAdvice(pool);
    if (slow !== '') log.warn({ pool: name }, slow);
  }

  #assertNoClashes(name: string, pool: Pool): void {
    const clashes = this.#options.controller.clashes(pool);
    if (clashes.length === 0) return;
    throw conflict(
      name,
      `pool ${name} has volumes of names that are taken here: ${clashes.join(', ')}. Two targets cannot have one name: send or delete one of each, then import it`,
    );
  }

  /** Nobody uses it yet. `found`: where it is, null for nowhere. */
  async #reopen(
    { name, id, paths, step, force = false }: KeptPool,
    found: FoundPool | null,
    options: OpenOptions = {},
  ): Promise<Pool> {
    if (found === null) {
      throw new StoreError(
        'STORE_NOT_FOUND',
        `none of its devices is there: ${paths.join(', ')}. Connect them; it is opened by itself`,
      );
    }
    // Opened, it would lose the mark, and whoever imports it elsewhere would not be alone with it.
    if (step !== 'Importing' && found.exported) {
      throw new StoreError(
        'STORE_IN_USE',
        `its devices say that it was exported, which was not done here: another machine may have it. Forget it here (ashlar export pool ${name} --force), and import it where it belongs`,
      );
    }
    const takeOver = step === 'Importing' && force;
    const pool = await withOwnerAdvice(
      this.#options.media.open(found.paths, { ...options, takeOver }),
      ownerAdvice(name),
    );
    if (pool.id !== id) {
      await pool.close();
      throw new StoreError('STORE_FOREIGN_DEVICE', `opened pool ${pool.id}, not ${id}`);
    }
    return pool;
  }

  /** Where it was; else anywhere on this machine, or beside where its files were. */
  async #locate({ id, paths }: KeptPool): Promise<FoundPool | null> {
    const here = (await this.#findIn(paths)).find((found) => found.id === id);
    if (here !== undefined && here.paths.length >= here.devices) return here;
    const folders = [...new Set(paths.map((path) => path.slice(0, path.lastIndexOf('/')) || '/'))];
    const near = folders.filter((folder) => !`${folder}/`.startsWith('/dev/'));
    const all = await this.#findIn([...paths, ...near, ...this.#options.media.everywhere()]);
    return all.find((found) => found.id === id) ?? null;
  }

  /** What is open here is in use, and would only be waited for. */
  #findIn(places: readonly string[]): Promise<readonly FoundPool[]> {
    return this.#options.media.find(places, { without: new Set(this.#identities().keys()) });
  }

  /** A pool that nobody has heard of. */
  async #unmake(held: Held): Promise<void> {
    const { media } = this.#options;
    const found = (await this.#findIn(held.kept.paths)).find(({ id }) => id === held.kept.id);
    if (found !== undefined) await media.wipe(found.paths);
    for (const path of held.kept.made ?? []) {
      await media.removeFile(`${path}.creating`); // As it was called until it was whole.
      if (found?.paths.includes(path) === true) await media.removeFile(path);
    }
    await this.#forget(held);
  }

  /**
   * Goes on with a destruction of which no label is gone yet. It may have been refused: what was made there since, or ended
   * before the crash, was acknowledged. Throws while the pool cannot be looked into.
   */
  async #lookAndClear(held: Held): Promise<void> {
    const { log } = this.#options;
    const pool = await this.#reopen(held.kept, await this.#locate(held.kept));
    const volumes = pool.volumes().length;
    await closeAnyhow(pool);
    if (volumes === 0) {
      await this.#step(held, 'Clearing');
      await this.#clear(held);
      return;
    }
    await this.#step(held, 'Serving');
    log.warn({ pool: held.kept.name, volumes }, 'a pool is not destroyed: it holds volumes');
    await this.#open(held);
  }

  async #clear(held: Held): Promise<void> {
    const { media, log } = this.#options;
    const found = await this.#locate(held.kept);
    if (found !== null) await media.wipe(found.paths);
    await this.#forget(held);
    log.info({ pool: held.kept.name }, 'a pool is destroyed');
  }

  async #forget(held: Held): Promise<void> {
    this.#held.delete(held.kept.name);
    await this.#keep();
  }

  /** Rejects where it cannot be kept: the pool is then at the step that it was at, for the next write too. */
  async #step(held: Held, step: PoolStep): Promise<void> {
    const before = held.kept;
    const { made: _, force: _force, ...kept } = before;
    held.kept = { ...kept, step };
    try {
      await this.#keep();
    } catch (error) {
      held.kept = before;
      throw error;
    }
  }

  async #keepPaths(held: Held, joining: readonly string[]): Promise<void> {
    const devices = held.pool?.devices.list() ?? [];
    const before = held.kept.paths;
    // Where one that is missing was last seen is known here alone.
    const seen = devices.some(({ state }) => state === 'Missing') ? before : [];
    const all = [...new Set([...devices.map(({ path }) => path), ...joining, ...seen])];
    if (JSON.stringify(all) === JSON.stringify(before)) return;
    held.kept = { ...held.kept, paths: all };
    await this.#keep();
  }

  async #keep(): Promise<void> {
    const { kept } = this.#own;
    const [first, ...more] = kept.paths;
    const isAsConfigured = first === this.#options.ownPath && more.length === 0;
    const own = isAsConfigured && kept.scrub === undefined ? [] : [kept];
    await this.#options.list.write([...own, ...[...this.#held.values()].map((held) => held.kept)]);
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#tail.then(work, work);
    this.#tail = run.catch(() => {});
    return run;
  }
}

/** A close that fails lets the devices go all the same. What the pool held is given up, or was lost before. */
async function closeAnyhow(pool: Pool): Promise<void> {
  try {
    await pool.close();
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
  }
}

function conflict(name: string, message: string): ApiError {
  const causes: StatusCause[] = [{ reason: 'Busy', field: 'metadata.name', message }];
  return new ApiError('Conflict', message, { name, group: GROUP, kind: 'pools', causes });
}

function translate(name: string, error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  return storeFailure(name, error.code, error.message, error, 'pools');
}

/** What to do about a pool that another machine has had since. */
function ownerAdvice(name: string): string {
  return `Forget it here (ashlar export pool ${name} --force); to have it back, stop that machine for good and import it with --force`;
}
