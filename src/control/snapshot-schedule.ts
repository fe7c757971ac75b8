// Snapshots by the clock: how a volume's owner asks for them, and who takes them and lets the old ones go.
//
// Nothing is remembered but the snapshots themselves: the newest one that a schedule made says when the next is due, so a
// daemon that was down takes one when it is back, and not all that it missed. Those that people took are not touched.
import { kubeTime } from '../apiserver/index.ts';
import { type Clock, type Log, periodMs, type Timer } from '../base/index.ts';
import type { SnapshotSchedule } from '../kinds/index.ts';
import type { KeptSnapshot } from './kept-snapshots.ts';
import type { VolumeController } from './volume-controller.ts';

export type { SnapshotSchedule };

/** What a schedule made is named `auto-20261127t210000z`. */
const PREFIX = 'auto-';
const MADE = /^auto-\d{8}t\d{6}z$/;
const LOOK_MS = 15_000;

export function checkSchedule(
  schedule: SnapshotSchedule | null | undefined,
  bad: (field: string, message: string) => void,
): SnapshotSchedule | null {
  if (schedule === null || schedule === undefined) return null;
  if (periodMs(schedule.every) === null) {
    bad('spec.snapshots.every', `'${schedule.every}' is not a period; write it like 15m, 1h or 1d`);
  }
  return schedule;
}

export interface SnapshotSchedulerOptions {
  readonly controller: VolumeController;
  readonly clock: Clock;
  readonly now: () => Date;
  readonly log: Log;
}

export class SnapshotScheduler {
  readonly #options: SnapshotSchedulerOptions;
  #timer: Timer | null = null;
  #round: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: SnapshotSchedulerOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.schedule(LOOK_MS, () => {
      this.#round = this.look().finally(() => this.start());
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#round;
  }

  /** Takes what is due and lets go what is too old. Never rejects: what failed is tried at the next look. */
  async look(): Promise<void> {
    const { controller, log } = this.#options;
    for (const { name, schedule } of controller.snapshots.scheduled()) {
      if (this.#closed) return;
      try {
        await this.#tend(name, schedule);
      } catch (error) {
        log.warn({ volume: name, err: error }, 'the schedule of snapshots could not be kept');
      }
    }
  }

  async #tend(volume: string, { every, keep }: SnapshotSchedule): Promise<void> {
    const { controller, now, log } = this.#options;
    const made = controller.snapshots.of(volume).filter(({ name }) => MADE.test(name));
    const nowMs = now().getTime();
    const newestMs = Math.max(...made.map(({ createdMs }) => createdMs));
    const everyMs = periodMs(every) ?? Number.POSITIVE_INFINITY;
    // A clock that was set back must not stop the schedule until it has caught up.
    if (made.length === 0 || nowMs - newestMs >= everyMs || newestMs > nowMs + everyMs) {
      const name = `${PREFIX}${kubeTime(now()).replaceAll(/[-:]/g, '').toLowerCase()}`;
      const taken = await controller.snapshots.take([volume], name);
      log.info({ volume, snapshot: name }, 'a snapshot by the clock');
      made.push(...taken);
    }
    for (const old of made.slice(0, Math.max(0, made.length - keep))) await this.#letGo(old);
  }

  /** One with clones stays until they are gone, one that hosts see until they do not. */
  async #letGo({ volume, name, usage }: KeptSnapshot): Promise<void> {
    const { controller, log } = this.#options;
    if (usage !== null && usage.clones.length > 0) return;
    if (controller.snapshots.exposure(`${volume}@${name}`) !== null) return;
    await controller.snapshots.delete(`${volume}@${name}`);
    log.info({ snapshot: `${volume}@${name}` }, 'a snapshot was old enough to go');
  }
}
