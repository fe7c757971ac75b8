// What reservations and SANITIZE show to the logical unit. They live in files of their own and are plugged in when the
// unit is made; a unit without them behaves as if nothing were ever reserved or sanitized.
import type { Execution } from './execution.ts';
import type { NexusState } from './nexus-state.ts';
import type { Sense } from './sense.ts';

export interface ReservationHooks {
  /** False while nobody holds anything: then `conflicts` is not asked. Read for each command. */
  readonly active: boolean;
  /** True when `execution.command` (never null) must end with RESERVATION CONFLICT for `execution.nexus`. */
  conflicts(execution: Execution): boolean;
  /** The nexus is gone: its RESERVE(6) is released. Persistent registrations stay. */
  nexusLost(nexus: NexusState): void;
  /** LOGICAL UNIT RESET, target reset: RESERVE(6) is released. Persistent reservations stay. */
  reset(): void;
}

export interface SanitizeHooks {
  /** True while an operation goes on or has failed: then only commands with `duringSanitize` run. Read for each command. */
  readonly active: boolean;
  /** 02h/04h/1Bh with progress, or 03h/31h/03h: for the commands refused, and for REQUEST SENSE. */
  sense(): Sense;
}

export const nothingReserved: ReservationHooks = {
  active: false,
  conflicts: () => false,
  nexusLost() {},
  reset() {},
};

export const nothingSanitized: SanitizeHooks = {
  active: false,
  sense() {
    throw new Error('no sanitize operation');
  },
};
