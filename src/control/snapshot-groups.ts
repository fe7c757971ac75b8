// P5: snapshots of several volumes on replicas at one instant, all or none, whatever comes in between. Each volume's record
// names its own, one after the other: who dies in between leaves some, which nobody was told of, and which look like one.
//
//   the group is kept in the pool -> all cuts, between two events -> each record names its own -> the group is forgotten
//
// What must hold: while a group is kept nobody was told that it is there. One that is found at the start, or could not be
// undone at once, is settled as soon as its volumes are served: if each has its own it is whole, else those that do lose it.
import { randomUUID } from 'node:crypto';
import type { Timer } from '../base/index.ts';
import { ApiError } from './errors.ts';
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
  /** Volume by name and id, and the id of its snapshot. */
  readonly cuts: readonly (readonly [name: string, volumeId: string, snapshotId: string])[];
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

  /**
   * All cuts are made in one go, between two events: no host hears of a change in one volume and makes another in the next
   * before that is cut. A cut that cannot be kept as it is takes the others along. Rejects with ApiError.
   */
  async take(names: readonly string[], short: string): Promise<void> {
    const { clock } = this.#options;
    let why = 'their replicas are being changed';
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const group: Group = {
        short,
        cuts: names.map((name) => [name, this.#table.find(name).store.id, randomUUID()]),
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
    const taken = cuts.map(([name, , id]) => {
      const { replicated } = this.#table.find(name);
      const snapshot = { id, name: short, createdMs };
      return replicated?.serving === true ? replicated.takeSnapshotNow(snapshot) : null;
    });
    const ended = await Promise.allSettled(
      taken.map((one) => one ?? Promise.reject(new Error(unless))),
    );
    const failed = ended.find(({ status }) => status === 'rejected');
    if (failed === undefined) return null;
    return String((failed as PromiseRejectedResult).reason?.message ?? unless);
  }

  /**
   * Every volume is asked, whatever it said before: a record that was under way when its coordinator began anew may be in force
   * since. False: not now.
   */
  async #undo({ short, cuts }: Group): Promise<boolean> {
    let isUndone = true;
    for (const [name, volumeId, id] of cuts) {
      const handle = this.#handle(name, volumeId);
      try {
        if (handle === null) isUndone = false;
        else await handle.deleteSnapshot(id);
      } catch (error) {
        if (handle?.serving === true && !handle.snapshots().some((one) => one.id === id)) continue;
        isUndone = false;
        this.#options.log.warn({ volume: name, snapshot: short, err: error }, 'it stays for now');
      }
    }
    return isUndone;
  }

  /** Null: it is not served, or not there. */
  #handle(name: string, volumeId: string): ReplicatedHandle | null {
    const hosted = this.#table.get(name);
    const { replicated = null } = hosted?.store.id === volumeId ? hosted : {};
    return replicated?.serving === true ? replicated : null;
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
      const handles = cuts.map(([name, volumeId]) => this.#handle(name, volumeId));
      if (handles.includes(null)) continue;
      const isWhole = cuts.every(([, , id], at) =>
        handles[at]!.snapshots().some((one) => one.id === id),
      );
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
