// Leases: a node's sign of life, and who leads. Both are Lease objects renewed by compare-and-swap. Whether another's
// lease has run out is judged by one's own clock from when one saw it change: no two clocks need agree.
import type { Clock, Log, Timer } from '../base/index.ts';
import type { ObjectClient } from './client.ts';
import { ApiError } from './errors.ts';
import { LEASES, type LeaseObject } from './kinds/core.ts';
import { type KubeObject, kubeMicroTime } from './meta.ts';

export interface LeaseOptions {
  readonly client: ObjectClient;
  readonly clock: Clock;
  readonly now: () => Date;
  readonly log: Log;
  readonly namespace: string;
  readonly name: string;
  /** Unique to this process, not only to this machine. */
  readonly identity: string;
  /** Without renewal for so long, others may take it. */
  readonly durationMs: number;
}

export interface LeaderHandlers {
  /** `term` rises with every change of leader: it fences what an older leader still does. */
  onLead(term: number): void;
  /** No longer: whatever the leader alone may do must stop before this returns. */
  onLose(why: string): void;
}

/** At most one holder at a time: a holder stops by its own clock before anybody else may begin by his. */
export class LeaderElector {
  readonly #options: LeaseOptions;
  readonly #handlers: LeaderHandlers;
  #timer: Timer | null = null;
  #deadline: Timer | null = null;
  #leading = false;
  #closed = false;
  #working: Promise<void> = Promise.resolve();
  /** What was last seen of the lease, and when by our clock. */
  #seen: { version: string; atMs: number } = { version: '', atMs: 0 };

  constructor(options: LeaseOptions, handlers: LeaderHandlers) {
    this.#options = options;
    this.#handlers = handlers;
  }

  get leading(): boolean {
    return this.#leading;
  }

  start(): void {
    this.#schedule(0);
  }

  /** Gives the lease up, so that the next leader need not wait. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#working;
    if (!this.#leading) return;
    this.#lose('stopping');
    try {
      await this.#release();
    } catch {
      // It runs out by itself.
    }
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.schedule(delayMs, () => {
      this.#working = this.#round();
    });
  }

  async #round(): Promise<void> {
    const { clock, log, durationMs } = this.#options;
    const startedMs = clock.nowMs();
    try {
      const term = await this.#tryToHold();
      if (this.#closed) return;
      if (term !== null) this.#hold(term, startedMs);
      else if (this.#leading) this.#lose('another process holds the lease');
    } catch (error) {
      log.warn({ lease: this.#options.name, err: error }, 'the lease could not be renewed');
    }
    this.#schedule(durationMs / 5);
  }

  /** Counted from before the renewal was sent: the store may have had it at once. */
  #hold(term: number, sinceMs: number): void {
    const { clock, durationMs } = this.#options;
    this.#deadline?.cancel();
    const untilMs = sinceMs + durationMs * (2 / 3);
    if (clock.nowMs() >= untilMs) {
      if (this.#leading) this.#lose('the renewal took too long');
      return;
    }
    this.#deadline = clock.schedule(untilMs - clock.nowMs(), () => {
      if (this.#leading) this.#lose('the lease could not be renewed in time');
    });
    if (!this.#leading) {
      this.#leading = true;
      this.#handlers.onLead(term);
    }
  }

  #lose(why: string): void {
    this.#leading = false;
    this.#deadline?.cancel();
    this.#handlers.onLose(why);
  }

  /** The term where we hold the lease now, null where another does. */
  async #tryToHold(): Promise<number | null> {
    const { client, clock, identity, namespace, name, now, durationMs } = this.#options;
    const seconds = Math.max(1, Math.ceil(durationMs / 1000));
    const at = kubeMicroTime(now());
    let lease: LeaseObject;
    try {
      lease = await client.get<LeaseObject>(LEASES, namespace, name);
    } catch (error) {
      if (!(error instanceof ApiError) || error.reason !== 'NotFound') throw error;
      const spec = {
        holderIdentity: identity,
        leaseDurationSeconds: seconds,
        acquireTime: at,
        renewTime: at,
        leaseTransitions: 1,
      };
      return await this.#written(() =>
        client.create<LeaseObject>(LEASES, { metadata: { name, namespace }, spec }),
      );
    }
    const version = lease.metadata.resourceVersion;
    if (this.#seen.version !== version) this.#seen = { version, atMs: clock.nowMs() };
    const spec = lease.spec ?? {};
    const holder = spec.holderIdentity ?? '';
    const isOurs = holder === identity;
    const ranOut = clock.nowMs() - this.#seen.atMs >= (spec.leaseDurationSeconds ?? seconds) * 1000;
    if (!isOurs && holder !== '' && !ranOut) return null;
    // A renewal that changed nothing would be none: others see it by the new version. Not even a clock that was set back,
    // or stands still, may take that away.
    const last = Date.parse(spec.renewTime ?? '') || 0;
    const renewTime = kubeMicroTime(new Date(Math.max(now().getTime(), last + 1)));
    // Ours, but we had stopped: whoever led meanwhile did so under a term of his own, and so do we from now on.
    const isNewTerm = !isOurs || !this.#leading;
    return await this.#written(() =>
      client.update<LeaseObject>(LEASES, {
        ...lease,
        spec: {
          ...spec,
          holderIdentity: identity,
          leaseDurationSeconds: seconds,
          renewTime,
          ...(isNewTerm ? { acquireTime: renewTime } : {}),
          leaseTransitions: (spec.leaseTransitions ?? 0) + (isNewTerm ? 1 : 0),
        },
      } as LeaseObject),
    );
  }

  async #written(write: () => Promise<LeaseObject>): Promise<number | null> {
    try {
      const lease = await write();
      this.#seen = {
        version: lease.metadata.resourceVersion,
        atMs: this.#options.clock.nowMs(),
      };
      return lease.spec.leaseTransitions ?? 1;
    } catch (error) {
      const isRace =
        error instanceof ApiError &&
        (error.reason === 'Conflict' || error.reason === 'AlreadyExists');
      if (isRace) return null;
      throw error;
    }
  }

  async #release(): Promise<void> {
    const { client, namespace, name, identity } = this.#options;
    const lease = await client.get<LeaseObject>(LEASES, namespace, name);
    if (lease.spec.holderIdentity !== identity) return;
    await client.update<LeaseObject>(LEASES, {
      ...lease,
      spec: { ...lease.spec, holderIdentity: '' },
    } as LeaseObject);
  }
}

/** Holders renew every second. Who hears of none of them for longer hears nothing: the store is away, or we were stopped. */
const DEAF_MS = 3000;

/** Tells which leases have run out, by the observer's own clock: feed it every Lease that is seen. */
export class LeaseObserver {
  readonly #clock: Clock;
  /** When anything was heard last, and since when without a pause. */
  #heardMs = Number.NEGATIVE_INFINITY;
  #hearingSinceMs = 0;
  readonly #seen = new Map<string, { version: string; atMs: number; durationMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  see(lease: LeaseObject): void {
    const version = lease.metadata.resourceVersion;
    const key = keyOf(lease);
    if (this.#seen.get(key)?.version === version) return;
    const durationMs = (lease.spec.leaseDurationSeconds ?? 15) * 1000;
    const atMs = this.#clock.nowMs();
    if (atMs - this.#heardMs > DEAF_MS) this.#hearingSinceMs = atMs;
    this.#heardMs = atMs;
    this.#seen.set(key, { version, atMs, durationMs });
  }

  /** Milliseconds for which leases have been heard of without a pause: nobody's silence is known to be longer. */
  hearingMs(): number {
    const nowMs = this.#clock.nowMs();
    return nowMs - this.#heardMs > DEAF_MS ? 0 : nowMs - this.#hearingSinceMs;
  }

  forget(lease: LeaseObject): void {
    this.#seen.delete(keyOf(lease));
  }

  /** Milliseconds since it was renewed as far as we saw; null for one never seen. */
  silenceMs(namespace: string, name: string): number | null {
    const seen = this.#seen.get(`${namespace}/${name}`);
    return seen === undefined ? null : this.#clock.nowMs() - seen.atMs;
  }

  /** Never seen counts as run out. */
  ranOut(namespace: string, name: string): boolean {
    const seen = this.#seen.get(`${namespace}/${name}`);
    return seen === undefined || this.#clock.nowMs() - seen.atMs > seen.durationMs;
  }
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`;
}
