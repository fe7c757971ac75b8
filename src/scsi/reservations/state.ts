// Persistent reservations as values (SPC-4 §5.13): who is registered with which key, who holds what, and what each
// PERSISTENT RESERVE OUT makes of it. Pure: a transition takes a state and gives the next one, or a refusal.
import { assert } from '../../base/index.ts';
import { Asc } from '../sense.ts';

/** SPC-4 §6.14.3.4, the TYPE field. */
export const ReservationType = {
  WriteExclusive: 0x1,
  ExclusiveAccess: 0x3,
  WriteExclusiveRegistrantsOnly: 0x5,
  ExclusiveAccessRegistrantsOnly: 0x6,
  WriteExclusiveAllRegistrants: 0x7,
  ExclusiveAccessAllRegistrants: 0x8,
} as const;
export type ReservationType = (typeof ReservationType)[keyof typeof ReservationType];

/** A registration by way of all target ports (ALL_TG_PT). Ports are numbered from 1. */
export const ALL_TARGET_PORTS = 0;
/** Registrations of one unit: a cluster of 64 hosts with four paths each. */
export const MAX_REGISTRATIONS = 256;

/** An I_T nexus as reservations know it: it outlives the session. */
export interface PortPair {
  readonly initiatorPort: string;
  readonly relativeTargetPort: number;
}

export interface Registration extends PortPair {
  readonly key: bigint;
  /** Holds the reservation. Never set under the All Registrants types, where everyone does. */
  readonly holds: boolean;
}

export interface PersistentState {
  /** PRGENERATION: wraps at 2^32, starts at 0 with each power on. */
  readonly generation: number;
  /** The last APTPL processed: the state is kept over a power cycle. */
  readonly aptpl: boolean;
  readonly registrations: readonly Registration[];
  /** The type of the reservation that is held, or null. */
  readonly type: ReservationType | null;
}

export const NO_RESERVATIONS: PersistentState = {
  generation: 0,
  aptpl: false,
  registrations: [],
  type: null,
};

/** A unit attention that a transition owes to the nexus of a registration. */
export interface OwedAttention {
  readonly to: Registration;
  readonly code: number;
}

export interface Changed {
  readonly kind: 'changed';
  readonly state: PersistentState;
  readonly attentions: readonly OwedAttention[];
  /** Preempted: PREEMPT AND ABORT ends their tasks. Never the nexus that asked. */
  readonly preempted: readonly Registration[];
}

export type Outcome =
  | Changed
  | { readonly kind: 'conflict' }
  | { readonly kind: 'badRelease' }
  | { readonly kind: 'noRoom' }
  | { readonly kind: 'badField'; readonly byte: number; readonly bit: number | null }
  | { readonly kind: 'badParameter'; readonly byte: number; readonly bit: number | null };

const CONFLICT: Outcome = { kind: 'conflict' };

export function isReservationType(value: number): value is ReservationType {
  return value === 1 || value === 3 || (value >= 5 && value <= 8);
}

export function isAllRegistrants(type: ReservationType): boolean {
  return type === 0x7 || type === 0x8;
}

/** Registered nexuses have the holder's rights: the Registrants Only and All Registrants types. */
export function sharedByRegistration(type: ReservationType): boolean {
  return type >= 0x5;
}

export function isExclusiveAccess(type: ReservationType): boolean {
  return type === 0x3 || type === 0x6 || type === 0x8;
}

/** True when the registration is the nexus's. */
export function isOf(registration: PortPair, nexus: PortPair): boolean {
  return (
    registration.initiatorPort === nexus.initiatorPort &&
    (registration.relativeTargetPort === nexus.relativeTargetPort ||
      registration.relativeTargetPort === ALL_TARGET_PORTS)
  );
}

export function registrationOf(state: PersistentState, nexus: PortPair): Registration | null {
  return state.registrations.find((registration) => isOf(registration, nexus)) ?? null;
}

export function isHolder(state: PersistentState, registration: Registration): boolean {
  return state.type !== null && (isAllRegistrants(state.type) || registration.holds);
}

/** What READ RESERVATION reports: zero when all registrants hold (SPC-4 §6.13.3). */
export function holderKey(state: PersistentState): bigint {
  return state.registrations.find((registration) => registration.holds)?.key ?? 0n;
}

function changed(
  state: PersistentState,
  attentions: readonly OwedAttention[] = [],
  preempted: readonly Registration[] = [],
): Changed {
  assert(state.registrations.length <= MAX_REGISTRATIONS);
  const holders = state.registrations.filter((registration) => registration.holds).length;
  assert(holders === (state.type === null || isAllRegistrants(state.type) ? 0 : 1));
  assert(state.type === null || state.registrations.length > 0);
  return { kind: 'changed', state, attentions, preempted };
}

const nextGeneration = (state: PersistentState): number => (state.generation + 1) >>> 0;

const tell = (registrations: readonly Registration[], code: number): OwedAttention[] =>
  registrations.map((to) => ({ to, code }));

/** The registration a PERSISTENT RESERVE OUT is sent with, or null: then RESERVATION CONFLICT (SPC-4 table 60). */
function authorised(state: PersistentState, nexus: PortPair, key: bigint): Registration | null {
  const own = registrationOf(state, nexus);
  return own !== null && own.key === key ? own : null;
}

export interface RegisterRequest {
  readonly reservationKey: bigint;
  readonly serviceActionKey: bigint;
  /** REGISTER AND IGNORE EXISTING KEY. */
  readonly ignoreExistingKey: boolean;
  readonly allTargetPorts: boolean;
  readonly aptpl: boolean;
  /** SPEC_I_PT: these initiator ports besides the sender's; null without the bit. */
  readonly others: readonly string[] | null;
}

/** REGISTER, REGISTER AND IGNORE EXISTING KEY: SPC-4 §5.13.7. */
export function register(
  state: PersistentState,
  nexus: PortPair,
  request: RegisterRequest,
): Outcome {
  const own = registrationOf(state, nexus);
  if (!request.ignoreExistingKey && (own?.key ?? 0n) !== request.reservationKey) return CONFLICT;
  // SPEC_I_PT is for the first registration only.
  if (own !== null && request.others !== null) return { kind: 'badParameter', byte: 20, bit: 3 };
  if (request.serviceActionKey === 0n) {
    // Taking back what is not there changes nothing, not even PRGENERATION.
    return own === null ? changed(state) : unregister(state, own, request.aptpl);
  }
  const relativeTargetPort = request.allTargetPorts ? ALL_TARGET_PORTS : nexus.relativeTargetPort;
  const ports = [nexus.initiatorPort, ...(request.others ?? [])];
  const key = request.serviceActionKey;
  let registrations = [...state.registrations];
  for (const initiatorPort of new Set(ports)) {
    // By way of all target ports swallows those by way of one.
    const same = registrations.filter(
      (other) =>
        other.initiatorPort === initiatorPort &&
        (request.allTargetPorts || isOf(other, { initiatorPort, relativeTargetPort })),
    );
    const foreign = same.some((other) => other !== own);
    if (foreign && !request.ignoreExistingKey) return CONFLICT;
    const replaced = same[0];
    const registration: Registration = {
      initiatorPort,
      relativeTargetPort:
        replaced?.relativeTargetPort === ALL_TARGET_PORTS ? ALL_TARGET_PORTS : relativeTargetPort,
      key,
      holds: same.some((other) => other.holds),
    };
    if (replaced === undefined) {
      registrations.push(registration);
    } else {
      registrations = registrations
        .map((other) => (other === replaced ? registration : other))
        .filter((other) => !same.includes(other));
    }
  }
  if (registrations.length > MAX_REGISTRATIONS) return { kind: 'noRoom' };
  return changed({
    ...state,
    generation: nextGeneration(state),
    aptpl: request.aptpl,
    registrations,
  });
}

/** SPC-4 §5.13.11.2.3: the reservation goes with its holder. */
function unregister(state: PersistentState, own: Registration, aptpl: boolean): Outcome {
  const registrations = state.registrations.filter((other) => other !== own);
  let { type } = state;
  let attentions: OwedAttention[] = [];
  if (type !== null && own.holds) {
    if (sharedByRegistration(type)) attentions = tell(registrations, Asc.ReservationsReleased);
    type = null;
  } else if (registrations.length === 0) {
    type = null;
  }
  return changed({ generation: nextGeneration(state), aptpl, registrations, type }, attentions);
}

/** RESERVE: SPC-4 §5.13.9. */
export function reserve(
  state: PersistentState,
  nexus: PortPair,
  reservationKey: bigint,
  type: ReservationType,
): Outcome {
  const own = authorised(state, nexus, reservationKey);
  if (own === null) return CONFLICT;
  if (state.type !== null) {
    // Asked again by a holder, with the same type: granted already.
    return isHolder(state, own) && state.type === type ? changed(state) : CONFLICT;
  }
  return changed({ ...state, type, registrations: holding(state.registrations, own, type) });
}

function holding(
  registrations: readonly Registration[],
  holder: Registration,
  type: ReservationType,
): Registration[] {
  return registrations.map((other) => ({
    ...other,
    holds: other === holder && !isAllRegistrants(type),
  }));
}

const released = (registrations: readonly Registration[]): Registration[] =>
  registrations.map((other) => ({ ...other, holds: false }));

/** RELEASE: SPC-4 §5.13.11.2.2. */
export function release(
  state: PersistentState,
  nexus: PortPair,
  reservationKey: bigint,
  type: ReservationType,
): Outcome {
  const own = authorised(state, nexus, reservationKey);
  if (own === null) return CONFLICT;
  if (state.type === null || !isHolder(state, own)) return changed(state);
  if (state.type !== type) return { kind: 'badRelease' };
  const others = state.registrations.filter((other) => other !== own);
  return changed(
    { ...state, type: null, registrations: released(state.registrations) },
    sharedByRegistration(type) ? tell(others, Asc.ReservationsReleased) : [],
  );
}

/** CLEAR: SPC-4 §5.13.11.2.8. */
export function clear(state: PersistentState, nexus: PortPair, reservationKey: bigint): Outcome {
  const own = authorised(state, nexus, reservationKey);
  if (own === null) return CONFLICT;
  const others = state.registrations.filter((other) => other !== own);
  return changed(
    { ...state, generation: nextGeneration(state), registrations: [], type: null },
    tell(others, Asc.ReservationsPreempted),
  );
}

/** PREEMPT, and what PREEMPT AND ABORT has in common with it: SPC-4 §5.13.11.2.4. */
export function preempt(
  state: PersistentState,
  nexus: PortPair,
  request: {
    readonly reservationKey: bigint;
    readonly serviceActionKey: bigint;
    readonly type: ReservationType;
  },
): Outcome {
  const own = authorised(state, nexus, request.reservationKey);
  if (own === null) return CONFLICT;
  const key = request.serviceActionKey;
  const all = state.type !== null && isAllRegistrants(state.type);
  const takesReservation =
    state.type !== null && (all ? key === 0n : key !== 0n && holderKey(state) === key);
  const generation = nextGeneration(state);

  if (!takesReservation) {
    if (key === 0n) return { kind: 'badParameter', byte: 8, bit: null };
    const removed = state.registrations.filter((other) => other.key === key);
    if (removed.length === 0) return CONFLICT;
    const registrations = state.registrations.filter((other) => other.key !== key);
    const preempted = removed.filter((other) => other !== own);
    return changed(
      { ...state, generation, registrations, type: registrations.length === 0 ? null : state.type },
      tell(preempted, Asc.RegistrationsPreempted),
      preempted,
    );
  }

  const preempted = state.registrations.filter(
    (other) => other !== own && (all || other.key === key),
  );
  const remaining = state.registrations.filter((other) => !preempted.includes(other));
  const attentions = tell(preempted, Asc.RegistrationsPreempted);
  if (state.type !== request.type) {
    const others = remaining.filter((other) => other !== own);
    attentions.push(...tell(others, Asc.ReservationsReleased));
  }
  return changed(
    {
      ...state,
      generation,
      registrations: holding(remaining, own, request.type),
      type: request.type,
    },
    attentions,
    preempted,
  );
}

/** REGISTER AND MOVE: SPC-4 §5.13.8. */
export function registerAndMove(
  state: PersistentState,
  nexus: PortPair,
  request: {
    readonly reservationKey: bigint;
    readonly serviceActionKey: bigint;
    readonly unregister: boolean;
    readonly aptpl: boolean;
    readonly to: PortPair;
  },
): Outcome {
  const own = authorised(state, nexus, request.reservationKey);
  if (own === null) return CONFLICT;
  if (state.type === null) return { kind: 'badField', byte: 1, bit: 4 };
  if (isAllRegistrants(state.type) || !own.holds) return CONFLICT;
  if (request.serviceActionKey === 0n) return { kind: 'badParameter', byte: 8, bit: null };
  if (isOf(own, request.to)) return { kind: 'badParameter', byte: 24, bit: null };
  const known = registrationOf(state, request.to);
  const moved: Registration = {
    initiatorPort: request.to.initiatorPort,
    relativeTargetPort: known?.relativeTargetPort ?? request.to.relativeTargetPort,
    key: request.serviceActionKey,
    holds: true,
  };
  const registrations: Registration[] = [];
  for (const other of state.registrations) {
    if (other === own) {
      if (!request.unregister) registrations.push({ ...own, holds: false });
    } else if (other !== known) {
      registrations.push(other);
    }
  }
  registrations.push(moved);
  if (registrations.length > MAX_REGISTRATIONS) return { kind: 'noRoom' };
  return changed({
    ...state,
    generation: nextGeneration(state),
    aptpl: request.aptpl,
    registrations,
  });
}
