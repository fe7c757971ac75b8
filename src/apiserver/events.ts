// Events: what a person would ask about, told once, counted when it happens again, forgotten after an hour.
import { createHash } from 'node:crypto';
import type { Log } from '../base/index.ts';
import type { ObjectClient } from './client.ts';
import { ApiError } from './errors.ts';
import { EVENTS, type EventObject } from './kinds/core.ts';
import { type KubeObject, kubeTime } from './meta.ts';

export interface EventRecorderOptions {
  readonly client: ObjectClient;
  readonly log: Log;
  readonly now: () => Date;
  /** Who tells: `provisioner`, `pool-controller`. */
  readonly component: string;
  readonly host: string;
}

/** So much may wait to be written; beyond it events are lost, and that is logged. */
const MAX_WAITING = 1000;

export class EventRecorder {
  readonly #options: EventRecorderOptions;
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** Never fails and never waits: an event that cannot be kept must not stop what it tells of. */
  record(about: KubeObject, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const { log, component } = this.#options;
    const fields = { kind: about.kind, name: about.metadata.name, reason, component };
    if (type === 'Warning') log.warn(fields, message);
    else log.info(fields, message);
    if (this.#waiting >= MAX_WAITING) {
      log.warn(fields, 'too many events wait; this one is not kept');
      return;
    }
    this.#waiting += 1;
    this.#tail = this.#tail
      .then(() => this.#write(about, type, reason, message.slice(0, 4096)))
      .catch((error: unknown) => {
        log.debug({ ...fields, err: error }, 'an event could not be kept');
      })
      .finally(() => {
        this.#waiting -= 1;
      });
  }

  /** Resolves when everything recorded so far is kept, or has failed. */
  async flush(): Promise<void> {
    await this.#tail;
  }

  async #write(about: KubeObject, type: string, reason: string, message: string): Promise<void> {
    const { client, component, host, now } = this.#options;
    const { name, uid } = about.metadata;
    const namespace = about.metadata.namespace ?? 'default';
    // The same thing to the same object has the same name, so it is found again.
    const digest = createHash('sha256')
      .update(JSON.stringify([about.kind, uid, type, reason, message, component]))
      .digest('hex');
    const eventName = `${name.slice(0, 200)}.${digest.slice(0, 16)}`;
    const at = kubeTime(now());
    try {
      const before = await client.get<EventObject>(EVENTS, namespace, eventName);
      await client.update<EventObject>(
        EVENTS,
        { ...before, count: (before.count ?? 1) + 1, lastTimestamp: at },
        { fieldManager: component },
      );
      return;
    } catch (error) {
      if (!(error instanceof ApiError) || error.reason !== 'NotFound') throw error;
    }
    await client.create<EventObject>(
      EVENTS,
      {
        metadata: { name: eventName, namespace },
        involvedObject: {
          apiVersion: about.apiVersion,
          kind: about.kind,
          name,
          ...(about.metadata.namespace === undefined ? {} : { namespace }),
          uid,
          resourceVersion: about.metadata.resourceVersion,
        },
        type,
        reason,
        message,
        source: { component, host },
        reportingComponent: component,
        reportingInstance: host,
        firstTimestamp: at,
        lastTimestamp: at,
        count: 1,
      },
      { fieldManager: component },
    );
  }
}
