// P4 on a node: what volumes/NAME/rollback asks of a volume, done once, by who serves it, before any host may look again.
//
// What must hold: that it is done is in the object before the volume is exported again. What is asked for and not said to
// be done is done (again), so what hosts write afterwards must come after that word.
import { isDeleting, type Writer } from '../../controllers/index.ts';
import { SNAPSHOT, type Snapshot, VOLUME, type Volume } from '../../kinds/index.ts';
import type { NodeSurroundings } from './surroundings.ts';

/** Of the volume as it is served here. */
export interface RollbackTarget {
  readonly initiators: readonly string[];
  /** A stream into it is under way or broke off: it goes on from its mark in what is there. */
  readonly receiving: boolean;
  /** Ends its sessions; none begins until it is exported again. */
  takeAway(): Promise<void>;
  /** Resolves when the volume is durably what the snapshot is; done twice it comes out the same. */
  rollBack(snapshot: Snapshot): Promise<void>;
}

export class Rollbacks {
  readonly #around: NodeSurroundings;
  readonly #writer: Writer;
  readonly #running = new Set<string>();
  /** Requests that came to an end here: the catalog may show them a moment longer as they were. */
  readonly #ended = new Map<string, string>();

  constructor(around: NodeSurroundings, writer: Writer) {
    this.#around = around;
    this.#writer = writer;
  }

  /** Is it to be kept from hosts? Begins what is asked for; `nudge` when that has ended. */
  async holds(object: Volume, target: RollbackTarget, nudge: () => void): Promise<boolean> {
    const { name } = object.metadata;
    if (this.#running.has(name)) return true;
    if (!this.isAsked(object)) return false;
    const { rollback } = object.spec;
    const snapshot = this.#around.catalog.get(SNAPSHOT, rollback!.to);
    const hasBegun = object.status?.rollback?.request === rollback!.request;
    const why = this.#refusal(object, snapshot, target, hasBegun);
    if (why !== '') {
      await this.#say(object, 'Refused', why);
      return false;
    }
    this.#running.add(name);
    void this.#run(object, snapshot!, target).finally(() => {
      this.#running.delete(name);
      nudge();
    });
    return true;
  }

  /** Whether one is to be done, or is being done, that did not come to an end. */
  isAsked({ metadata, spec, status }: Volume): boolean {
    const { name } = metadata;
    if (this.#running.has(name)) return true;
    const { rollback } = spec;
    if (rollback === undefined || this.#ended.get(name) === rollback.request) return false;
    const { request: said, phase } = status?.rollback ?? {};
    return said !== rollback.request || phase === 'Running';
  }

  #refusal(
    { metadata, spec }: Volume,
    snapshot: Snapshot | null,
    { initiators, receiving }: RollbackTarget,
    hasBegun: boolean,
  ): string {
    const { rollback } = spec;
    if (snapshot === null || snapshot.spec.volumeName !== metadata.name || isDeleting(snapshot)) {
      return `snapshot ${rollback!.to} is gone`;
    }
    if (snapshot.status?.phase !== 'Ready') return `snapshot ${rollback!.to} is not ready`;
    if (receiving && !hasBegun) {
      return 'a stream is being received into it; finish that, or delete the volume';
    }
    if (initiators.length > 0 && rollback!.force !== true && !hasBegun) {
      const who = [...new Set(initiators)].slice(0, 3).join(', ');
      return `it is in use by ${who}; log out there, or use force`;
    }
    return '';
  }

  async #run(object: Volume, snapshot: Snapshot, target: RollbackTarget): Promise<void> {
    const { log, events } = this.#around;
    const { name } = object.metadata;
    const to = snapshot.metadata.name;
    try {
      await this.#say(object, 'Running', `to ${to}`);
      await target.takeAway();
      await target.rollBack(snapshot);
      await this.#say(object, 'Done', `it is what ${to} holds`);
      log.info({ volume: name, snapshot: to }, 'a volume was rolled back');
      events.record(object, 'Normal', 'RolledBack', `to snapshot ${to}`);
    } catch (error) {
      // Asked for still: it is done again, and not exported before.
      log.warn({ volume: name, snapshot: to, err: error }, 'a rollback waits');
    }
  }

  async #say(seen: Volume, phase: 'Running' | 'Done' | 'Refused', message: string): Promise<void> {
    const { rollback } = seen.spec;
    const { name } = seen.metadata;
    // As it is in the store: others have written to it since.
    const live = await this.#writer.live(VOLUME, null, name);
    if (live === null || live.spec.rollback?.request !== rollback!.request) return;
    await this.#writer.status(VOLUME, live, (status) => {
      status.rollback = { request: rollback!.request, phase, message };
    });
    if (phase !== 'Running') this.#ended.set(name, rollback!.request);
  }

  forget(name: string): void {
    this.#ended.delete(name);
  }
}
