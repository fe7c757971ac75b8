// Calls of a member to its store that have no answer yet, by the token that the answer brings.
import { assert } from '../base/index.ts';

export const PendingKind = {
  SavePromise: 1,
  FlushForRecord: 2,
  SaveRecord: 3,
  Snapshot: 4,
  Marker: 5,
  Read: 6,
  List: 7,
  CopyRead: 8,
  Install: 9,
  Digest: 10,
  Branch: 11,
  Seal: 12,
} as const;
export type PendingKind = (typeof PendingKind)[keyof typeof PendingKind];

/** A call to the store that has not been answered. Pooled: its place in the table is the token. */
export interface Pending {
  kind: PendingKind;
  session: number;
  epoch: number;
  id: number;
  live: boolean;
}

export class PendingCalls {
  readonly #all: Pending[] = [];
  readonly #free: number[] = [];

  /** The token of a call that is about to be made. */
  begin(kind: PendingKind, session: number, epoch: number, id: number): number {
    const free = this.#free.pop();
    if (free === undefined) {
      this.#all.push({ kind, session, epoch, id, live: true });
      return this.#all.length - 1;
    }
    const pending = this.#all[free]!;
    pending.kind = kind;
    pending.session = session;
    pending.epoch = epoch;
    pending.id = id;
    pending.live = true;
    return free;
  }

  /** The entry stays readable until the next `begin`. */
  end(token: number): Pending {
    const pending = this.#all[token];
    assert(pending?.live === true);
    pending.live = false;
    this.#free.push(token);
    return pending;
  }
}
