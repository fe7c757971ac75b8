// P5: snapshots of several volumes on replicas at one instant, all or none, whatever comes in between. Each volume's record
// names its own, one after the other: who dies in between leaves some, which nobody was told of, and which look like one.
//
//   the group is kept in the pool -> all cuts, between two events -> each record names its own -> the group is forgotten
//
// What must hold: while a group is kept nobody was told that it is there. One that is found at the start, or could not be
// undone at once, is settled as soon as its volumes are served: if each has its own it is whole, else those that do lose it. A
// volume that was deleted has none.
import { randomUUID } from 'node:crypto';
import type { Timer } from '../base/index.ts';
import { ApiError } from './errors.ts';
import { cutTogether, takeBack } from './group-cuts.ts';
import { type HostedVolumes, translated, type VolumeControllerOptions } from './hosted-volumes.ts';
import { receivingOf } from './receiving-mark.ts';
import type { ReplicatedHandle } from './replication.ts';

const GROUPS_KEY = 'ashlar.snapshot-groups';
/** How often a snapshot of several volumes is tried, and what is between two tries. */
const ATTEMPTS = 20;
const PAUSE_MS = 100;
/** How often it is looked whether the volumes of a group that is to be settled are served. */
const SETTLE_PAUSE_MS = 1000;

/** As it is kept, in JSON. */
interface Group {
  /** What its snapshots are called in each volume. */
  readonly short: string;
  /** Volume by name and id, the id of its snapshot, and of the pool that keeps the volume's manifest (absent: the daemon's own). */
  readonly cuts: readonly (readonly [
    name: string,
    volumeId: string,
    snapshotId: string,
    poolId?: string,
  ])[];
}

export class SnapshotGroups {
  readonly #options: VolumeControllerOptions;
  readonly #table: HostedVolumes;
  #kept: Group[] = [];
  /** Those that are being taken now. */
  readonly #running = new Set<Group>();
  /** The pool has one list at a time. */
  #tail: Promise<unknown> = Promise.resolve();
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: VolumeControllerOptions, table: HostedVolumes) {
    this.#options = options;
    this.#table = table;
  }

  /** What was kept by another life is settled when its volumes are served. */
  start(): void {
    const bytes = this.#table.own.pool.getBlob(GROUPS_KEY);
    if (bytes === null) return;
    this.#kept = JSON.parse(Buffer.from(bytes).toString()) as Group[];
    this.#settleSoon();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** A cut that cannot be kept as it is takes the others along. Rejects with ApiError. */
  async take(names: readonly string[], short: string): Promise<void> {
    const { clock } = this.#options;
    let why = 'their replicas are being changed';
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const group: Group = {
        short,
        cuts: names.map((name) => {
          const { store, place } = this.#table.find(name);
          return [name, store.id, randomUUID(), place.pool.id];
        }),
      };
      this.#running.add(group);
      try {
        await this.#keep([...this.#kept, group]);
        const failure = await this.#cut(group, why);
        if (failure === null || (await this.#undo(group))) {
          await this.#keep(this.#kept.filter((other) => other !== group));
        }
        if (failure === null) return;
        why = failure;
      } finally {
        this.#running.delete(group);
        if (this.#kept.includes(group)) this.#settleSoon();
      }
      await new Promise<void>((resolve) => clock.schedule(PAUSE_MS, resolve));
    }
    throw new ApiError('Conflict', `snapshots "${short}" cannot be taken now: ${why}`);
  }

  /** Null: all of them are there. */
  async #cut({ short, cuts }: Group, unless: string): Promise<string | null> {
    const createdMs = this.#options.now().getTime();
    // Since it was asked for, or tried last, a stream may have begun.
    const received = cuts.find(([name]) => receivingOf(this.#table.find(name).store) !== null);
    if (received !== undefined) return `volumes "${received[0]}" is being received`;
    const parts = cuts.map(([name, , id]) => {
      const { replicated } = this.#table.find(name);
      return { handle: replicated, snapshot: { id, name: short, createdMs } };
    });
    return await cutTogether(parts, unless);
  }

  /** False: not now. */
  async #undo(group: Group): Promise<boolean> {
    const { short, cuts } = group;
    let isUndone = true;
    for (const cut of cuts) {
      if (this.#isGone(cut)) continue;
      const [name, , id] = cut;
      const why = await takeBack(this.#handle(cut), id);
      if (why === null) continue;
      isUndone = false;
      this.#options.log.warn({ volume: name, snapshot: short, why }, 'it stays for now');
    }
    return isUndone;
  }

  /** Null: it is not served now, or is gone. */
  #handle([name, volumeId]: Group['cuts'][number]): ReplicatedHandle | null {
    const hosted = this.#table.get(name);
    const { replicated = null } = hosted?.store.id === volumeId ? hosted : {};
    return replicated?.serving === true ? replicated : null;
  }

  /** The volume was deleted. Of a pool that is away nobody knows. */
  #isGone([name, volumeId, , poolId = this.#table.own.pool.id]: Group['cuts'][number]): boolean {
    const place = this.#table.places().find(({ pool }) => pool.id === poolId);
    return place !== undefined && place.pool.volume(name)?.id !== volumeId;
  }

  #settleSoon(): void {
    if (this.#closed || this.#timer !== null) return;
    this.#timer = this.#options.clock.schedule(SETTLE_PAUSE_MS, () => {
      this.#timer = null;
      void this.#settle().catch((error: unknown) => {
        this.#options.log.warn({ err: error }, 'snapshots of several volumes are not settled');
        this.#settleSoon();
      });
    });
  }

  async #settle(): Promise<void> {
    const { log } = this.#options;
    const open = this.#kept.filter((group) => !this.#running.has(group));
    for (const group of open) {
      const { short, cuts } = group;
      const isWaiting = cuts.some((cut) => !this.#isGone(cut) && this.#handle(cut) === null);
      if (isWaiting) continue;
      const isWhole = cuts.every((cut) => {
        const all = this.#handle(cut)?.snapshots() ?? [];
        return all.some(({ id }) => id === cut[2]);
      });
      if (!isWhole && !(await this.#undo(group))) continue;
      await this.#keep(this.#kept.filter((other) => other !== group));
      const volumes = cuts.map(([name]) => name);
      const became = isWhole ? 'are all there' : 'were not taken of all, and are gone';
      log.info({ volumes, snapshot: short }, `the snapshots of one instant ${became}`);
    }
    if (this.#kept.some((group) => !this.#running.has(group))) this.#settleSoon();
  }

  #keep(groups: Group[]): Promise<void> {
    this.#kept = groups;
    const run = this.#tail.then(() => {
      const bytes = Buffer.from(JSON.stringify(this.#kept));
      const value = this.#kept.length === 0 ? null : bytes;
      return translated('', () => this.#table.own.pool.putBlob(GROUPS_KEY, value));
    });
    this.#tail = run.catch(() => {});
    return run;
  }
}
