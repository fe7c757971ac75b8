// The reservations of one logical unit: RESERVE/RELEASE of SPC-2, and persistent reservations. Answers for each command
// whether it conflicts, and runs the PERSISTENT RESERVE OUTs, one after the other: the next one sees what the one before
// has made durable (SPC-4 §5.13.5: with APTPL, status only after the state is saved).
import { assert, assertNever } from '../../base/index.ts';
import { IoStatus } from '../../block/index.ts';
import { Access } from '../command.ts';
import type { AbortWaiter, Ended, Execution } from '../execution.ts';
import type { ReservationHooks } from '../hooks.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import type { NexusState } from '../nexus-state.ts';
import { Asc, SenseKey } from '../sense.ts';
import { type Nexus, ScsiStatus } from '../task.ts';
import {
  decodeSavedState,
  encodeSavedState,
  MAX_SAVED_BYTES,
  SAVED_STATE_KEY,
} from './saved-state.ts';
import {
  type Changed,
  isExclusiveAccess,
  isHolder,
  isOf,
  type Outcome,
  type PersistentState,
  type PortPair,
  registrationOf,
  sharedByRegistration,
} from './state.ts';
import { canonicalPort } from './transport-id.ts';

/** What a PERSISTENT RESERVE OUT leaves in `execution.scratch` while it waits for its turn. */
interface Change {
  readonly transition: (state: PersistentState, nexus: PortPair) => Outcome;
  /** PREEMPT AND ABORT. */
  readonly abortsTasks: boolean;
}

/** How a nexus stands to the persistent reservation. */
const Standing = { Stranger: 0, Registered: 1, Holder: 2 } as const;
type Standing = (typeof Standing)[keyof typeof Standing];

export class Reservations implements ReservationHooks {
  /** True while someone holds a reservation of either kind. */
  active = false;
  readonly #unit: LogicalUnit;
  #state: PersistentState;
  /** The holder of an SPC-2 reservation. */
  #reservedBy: Nexus | null = null;
  /** Found once for each nexus and state: a reserved unit is asked with every command. */
  readonly #standings = new Map<Nexus, Standing>();
  readonly #waiting: Execution[] = [];
  #saving = false;
  /** Something is kept with the device: it must be taken back when APTPL is. */
  #kept: boolean;

  /** Takes up what APTPL kept. Throws if that cannot be read: then the unit must not be served. */
  constructor(unit: LogicalUnit) {
    this.#unit = unit;
    const saved = unit.device.loadMetadata(SAVED_STATE_KEY);
    this.#kept = saved !== null;
    this.#state = decodeSavedState(saved);
    this.#refresh();
  }

  get state(): PersistentState {
    return this.#state;
  }

  /** True while an SPC-2 reservation is held, by whomever: then no persistent ones are made (SPC-2 §5.5.1). */
  get reserved(): boolean {
    return this.#reservedBy !== null;
  }

  conflicts(execution: Execution): boolean {
    const command = execution.command;
    assert(command !== null);
    const { nexus } = execution.nexus;
    if (this.#reservedBy !== null && this.#reservedBy !== nexus && command.duringReserve !== true) {
      return true;
    }
    if (this.#state.type === null) return false;
    const access =
      command.accessOf === undefined ? command.access : command.accessOf(execution.cdb);
    return !this.#persistentAllows(nexus, access);
  }

  /** Whether `nexus` may read or write here, for EXTENDED COPY, which reaches a unit without a command of its own. */
  allows(nexus: Nexus, access: Access): boolean {
    if (this.#reservedBy !== null && this.#reservedBy !== nexus) return false;
    return this.#state.type === null || this.#persistentAllows(nexus, access);
  }

  #persistentAllows(nexus: Nexus, access: Access): boolean {
    const { type } = this.#state;
    assert(type !== null);
    if (access === Access.Always) return true;
    if (access === Access.Read && !isExclusiveAccess(type)) return true;
    const standing = this.#standing(nexus);
    if (standing === Standing.Holder) return true;
    return standing === Standing.Registered && sharedByRegistration(type);
  }

  #standing(nexus: Nexus): Standing {
    const known = this.#standings.get(nexus);
    if (known !== undefined) return known;
    const registration = registrationOf(this.#state, portPair(nexus));
    let standing: Standing = Standing.Stranger;
    if (registration !== null) {
      standing = isHolder(this.#state, registration) ? Standing.Holder : Standing.Registered;
    }
    // A nexus that is not attached here (EXTENDED COPY's) would never be forgotten.
    if (this.#unit.nexusState(nexus) !== null) this.#standings.set(nexus, standing);
    return standing;
  }

  nexusLost(nexus: NexusState): void {
    this.#standings.delete(nexus.nexus);
    if (this.#reservedBy === nexus.nexus) this.#reservedBy = null;
    this.#refresh();
  }

  reset(): void {
    this.#reservedBy = null;
    this.#refresh();
  }

  #refresh(): void {
    this.active = this.#reservedBy !== null || this.#state.type !== null;
  }

  // SPC-2.

  /**
   * RESERVE and RELEASE beside persistent reservations (SPC-4 §5.13.3): null when there are none and SPC-2 applies; true:
   * GOOD, and nothing is done; false: RESERVATION CONFLICT.
   */
  compatible(nexus: Nexus): boolean | null {
    // A registration that is being saved counts already: the two kinds never come to stand side by side.
    if (this.#saving) return false;
    if (this.#state.registrations.length === 0) return null;
    const standing = this.#standing(nexus);
    const { type } = this.#state;
    if (standing === Standing.Holder) return true;
    return standing === Standing.Registered && type !== null && sharedByRegistration(type);
  }

  /** RESERVE: false when another nexus has it. */
  reserve(nexus: Nexus): boolean {
    if (this.#reservedBy !== null && this.#reservedBy !== nexus) return false;
    this.#reservedBy = nexus;
    this.#refresh();
    return true;
  }

  /** RELEASE: of no effect from a nexus that has not reserved. */
  release(nexus: Nexus): void {
    if (this.#reservedBy === nexus) this.#reservedBy = null;
    this.#refresh();
  }

  /**
   * Goes on once it is sure that the unit is served from here (E5), for what only this process knows; else the execution ends.
   * ✗ a coordinator that another has replaced, and that nobody wrote through since, tells a host that the unit is its own.
   */
  whenServed(execution: Execution, goOn: () => void): void {
    this.#unit.device.confirmServed((status) => {
      if (execution.aborted) execution.stop();
      else if (status === IoStatus.Ok) goOn();
      else execution.failIo(status);
    });
  }

  // PERSISTENT RESERVE OUT.

  /** Runs a transition in its turn, and ends the execution. */
  change(
    execution: Execution,
    transition: (state: PersistentState, nexus: PortPair) => Outcome,
    abortsTasks = false,
  ): void {
    const change: Change = { transition, abortsTasks };
    execution.scratch = change;
    this.#waiting.push(execution);
    this.#next();
  }

  #next(): void {
    while (!this.#saving) {
      const execution = this.#waiting.shift();
      if (execution === undefined) return;
      if (execution.aborted) execution.stop();
      else this.#begin(execution, execution.scratch as Change);
    }
  }

  #begin(execution: Execution, change: Change): void {
    const outcome = change.transition(this.#state, portPair(execution.nexus.nexus));
    if (outcome.kind !== 'changed') {
      refuse(execution, outcome);
      return;
    }
    if (outcome.state === this.#state) {
      this.whenServed(execution, () => execution.good());
      return;
    }
    const saved = encodeSavedState(outcome.state);
    if (saved !== null && saved.length > MAX_SAVED_BYTES) {
      refuse(execution, { kind: 'noRoom' });
      return;
    }
    this.#saving = true;
    // Until the device answers nobody sees the new state. If it fails the old one stands; the pool has faulted then, and
    // what it kept is read again when it opens.
    const settled = (status: IoStatus): void => {
      assert(this.#saving);
      this.#saving = false;
      if (status === IoStatus.Ok) {
        this.#kept = saved !== null;
        this.#commit(execution, outcome, change.abortsTasks);
      } else {
        execution.failIo(status);
      }
      this.#next();
    };
    const { device } = this.#unit;
    if (saved === null && !this.#kept) device.confirmServed(settled);
    else device.saveMetadata(SAVED_STATE_KEY, saved, settled);
  }

  #commit(execution: Execution, outcome: Changed, abortsTasks: boolean): void {
    this.#state = outcome.state;
    this.#standings.clear();
    this.#refresh();
    const own = execution.nexus;
    for (const { to, code } of outcome.attentions) {
      for (const state of this.#unit.nexuses()) {
        if (state !== own && isOf(to, portPair(state.nexus))) state.attentions.add(code);
      }
    }
    if (outcome.preempted.length === 0) {
      execution.good();
      return;
    }
    // The answer waits until no task of the preempted nexuses can change anything any more (C6). Without ABORT those that
    // have begun come to their end (SPC-4 §5.13.1): whoever hears that the unit is his must not be overwritten by them.
    const waiter = new PreemptWaiter(execution);
    const preempted = (nexus: Nexus): boolean =>
      outcome.preempted.some((gone) => isOf(gone, portPair(nexus)));
    if (!abortsTasks) {
      waiter.expect(this.#unit.awaitChanges(preempted, waiter));
      return;
    }
    const running = this.#unit.abortAndTell(
      (other) => other.nexus !== own && preempted(other.nexus.nexus),
      own,
      waiter,
    );
    waiter.expect(running + this.#unit.evict(preempted, waiter));
  }
}

/** Ends a PREEMPT, with or without ABORT, when the last task that it waits for has. */
class PreemptWaiter implements AbortWaiter {
  readonly #execution: Execution;
  /** Tasks that may end before it is known how many there are: counted down from zero, then up. */
  #left = 0;
  #counted = false;

  constructor(execution: Execution) {
    this.#execution = execution;
  }

  expect(running: number): void {
    this.#left += running;
    this.#counted = true;
    if (this.#left === 0) this.#execution.good();
  }

  onAborted(): void {
    this.#left -= 1;
    if (this.#counted && this.#left === 0) this.#execution.good();
  }
}

/** The nexus as registrations name it. */
export function portPair(nexus: Nexus): PortPair {
  return {
    initiatorPort: canonicalPort(nexus.initiatorPort),
    relativeTargetPort: nexus.relativeTargetPort,
  };
}

function refuse(execution: Execution, outcome: Exclude<Outcome, Changed>): Ended {
  switch (outcome.kind) {
    case 'conflict':
      return execution.endWith(ScsiStatus.ReservationConflict);
    case 'badRelease':
      return execution.failWith(SenseKey.IllegalRequest, Asc.InvalidReleaseOfPersistentReservation);
    case 'noRoom':
      return execution.failWith(SenseKey.IllegalRequest, Asc.InsufficientRegistrationResources);
    case 'badField':
      return execution.failField(outcome.byte, outcome.bit);
    case 'badParameter':
      return execution.failParameter(outcome.byte, outcome.bit);
    default:
      return assertNever(outcome);
  }
}

/** The reservations plugged into a unit. */
export function reservationsOf(unit: LogicalUnit): Reservations {
  const { reservations } = unit;
  assert(reservations instanceof Reservations, 'the unit was made without reservations');
  return reservations;
}
