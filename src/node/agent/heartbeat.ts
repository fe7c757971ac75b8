// A node's sign of life: a lease that it renews every second. Who sees that it was not renewed gives its work to others,
// by his own clock.
import {
  kubeMicroTime,
  LEASES,
  type LeaseObject,
  type ObjectClient,
} from '../../apiserver/index.ts';
import type { Clock, Log, Timer } from '../../base/index.ts';
import { hasReason } from '../../controllers/index.ts';
import { nodeLeaseName, OPENEBS_NAMESPACE } from '../../kinds/index.ts';

export const RENEW_MS = 1000;

export interface HeartbeatOptions {
  readonly client: ObjectClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly now: () => Date;
  readonly nodeName: string;
  /** Unique to this process. */
  readonly identity: string;
  readonly durationMs: number;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #timer: Timer | null = null;
  #lease: LeaseObject | null = null;
  #closed = false;
  #failures = 0;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** Resolves after the first renewal. */
  async start(): Promise<void> {
    await this.#beat();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #beat(): Promise<void> {
    const { clock, log, nodeName } = this.#options;
    try {
      await this.#renew();
      if (this.#failures > 0) log.info({ node: nodeName }, 'the node lease is renewed again');
      this.#failures = 0;
    } catch (error) {
      this.#lease = null;
      this.#failures += 1;
      // Once, and then now and then: the store may be away for long.
      if (this.#failures % 60 === 1) {
        log.warn({ node: nodeName, err: error }, 'the node lease could not be renewed');
      }
    }
    if (this.#closed) return;
    this.#timer = clock.schedule(RENEW_MS, () => void this.#beat());
  }

  async #renew(): Promise<void> {
    const { client, nodeName, identity, durationMs, now } = this.#options;
    const name = nodeLeaseName(nodeName);
    // Others judge it by when they saw it change, and an update that changes nothing is none: not even a wall clock that
    // was set back, or stands still, may make a running node look silent.
    const specAfter = (lastMs: number) => ({
      holderIdentity: identity,
      leaseDurationSeconds: Math.max(1, Math.round(durationMs / 1000)),
      renewTime: kubeMicroTime(new Date(Math.max(now().getTime(), lastMs + 1))),
    });
    try {
      this.#lease ??= await client.get<LeaseObject>(LEASES, OPENEBS_NAMESPACE, name);
      const spec = specAfter(Date.parse(this.#lease.spec?.renewTime ?? '') || 0);
      this.#lease = await client.update<LeaseObject>(LEASES, { ...this.#lease, spec });
    } catch (error) {
      if (!hasReason(error, 'NotFound')) throw error;
      this.#lease = await client.create<LeaseObject>(LEASES, {
        metadata: { name, namespace: OPENEBS_NAMESPACE },
        spec: specAfter(0),
      });
    }
  }
}
