// PERSISTENT RESERVE IN and OUT, SPC-4 §6.13 and §6.14: their bytes. What they mean is in reservations/state.ts.
import { assertNever } from '../../base/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import { MAX_PARAMETER_LIST_BYTES } from '../limits.ts';
import { type Reservations, reservationsOf } from '../reservations/reservations.ts';
import {
  ALL_TARGET_PORTS,
  clear,
  holderKey,
  isHolder,
  isReservationType,
  type PersistentState,
  preempt,
  type ReservationType,
  register,
  registerAndMove,
  release,
  reserve,
} from '../reservations/state.ts';
import {
  canonicalPort,
  decodeTransportId,
  encodeTransportId,
} from '../reservations/transport-id.ts';
import { Asc, SenseKey } from '../sense.ts';
import { ScsiStatus } from '../task.ts';

const PR_IN = 0x5e;
const PR_OUT = 0x5f;

// PERSISTENT RESERVE IN.

function inCommand(
  serviceAction: number,
  name: string,
  data: (reservations: Reservations) => Buffer,
): Command {
  const answer = (execution: Execution, reservations: Reservations): void => {
    // SPC-2 §5.5.1: while RESERVE holds the unit, even for the nexus that sent it.
    if (reservations.reserved) execution.endWith(ScsiStatus.ReservationConflict);
    else execution.reply(data(reservations), execution.cdb.readUInt16BE(7));
  };
  return {
    opcode: PR_IN,
    serviceAction,
    name: `PERSISTENT RESERVE IN: ${name}`,
    usage: [PR_IN, serviceAction, 0, 0, 0, 0, 0, 0xff, 0xff, 0x04],
    access: Access.Always,
    execute(execution) {
      const reservations = reservationsOf(execution.lu);
      reservations.whenServed(execution, () => answer(execution, reservations));
    },
  };
}

/** The header all but REPORT CAPABILITIES share: PRGENERATION and ADDITIONAL LENGTH. */
function withHeader(state: PersistentState, body: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(state.generation, 0);
  header.writeUInt32BE(body.length, 4);
  return Buffer.concat([header, body]);
}

/** SPC-4 §6.13.2. */
function readKeys({ state }: Reservations): Buffer {
  const body = Buffer.alloc(8 * state.registrations.length);
  for (const [index, registration] of state.registrations.entries()) {
    body.writeBigUInt64BE(registration.key, 8 * index);
  }
  return withHeader(state, body);
}

/** SPC-4 §6.13.3. */
function readReservation({ state }: Reservations): Buffer {
  if (state.type === null) return withHeader(state, Buffer.alloc(0));
  const body = Buffer.alloc(16);
  body.writeBigUInt64BE(holderKey(state), 0);
  body[13] = state.type; // SCOPE 0h: the logical unit.
  return withHeader(state, body);
}

/** SPC-4 §6.13.4. */
function reportCapabilities({ state }: Reservations): Buffer {
  const data = Buffer.alloc(8);
  data.writeUInt16BE(8, 0);
  data[2] = 0x10 | 0x08 | 0x04 | 0x01; // CRH, SIP_C, ATP_C, PTPL_C.
  data[3] = 0x80 | (state.aptpl ? 0x01 : 0); // TMV, ALLOW COMMANDS 000b, PTPL_A.
  data[4] = 0x80 | 0x40 | 0x20 | 0x08 | 0x02; // WR_EX_AR, EX_AC_RO, WR_EX_RO, EX_AC, WR_EX.
  data[5] = 0x01; // EX_AC_AR.
  return data;
}

/** SPC-4 §6.13.5. */
function readFullStatus({ state }: Reservations): Buffer {
  const descriptors = state.registrations.map((registration) => {
    const descriptor = Buffer.alloc(24);
    descriptor.writeBigUInt64BE(registration.key, 0);
    const all = registration.relativeTargetPort === ALL_TARGET_PORTS;
    const holds = isHolder(state, registration);
    descriptor[12] = (all ? 0x02 : 0) | (holds ? 0x01 : 0);
    if (holds) descriptor[13] = state.type!;
    if (!all) descriptor.writeUInt16BE(registration.relativeTargetPort, 18);
    const transportId = encodeTransportId(registration.initiatorPort);
    descriptor.writeUInt32BE(transportId.length, 20);
    return Buffer.concat([descriptor, transportId]);
  });
  return withHeader(state, Buffer.concat(descriptors));
}

// PERSISTENT RESERVE OUT.
//
// The parameter list, SPC-4 §6.14.3:
//    0-7 RESERVATION KEY      8-15 SERVICE ACTION RESERVATION KEY      16-19 obsolete
//    20 SPEC_I_PT (bit 3), ALL_TG_PT (bit 2), APTPL (bit 0)            21 reserved    22-23 obsolete
//    24-27 TransportID list length      28 TransportIDs                (SPEC_I_PT only)
// and of REGISTER AND MOVE, SPC-4 §6.14.4:
//    17 UNREG (bit 1), APTPL (bit 0)    18-19 RELATIVE TARGET PORT IDENTIFIER
//    20-23 TransportID length           24 TransportID

const LIST_BYTES = 24;

const OutAction = {
  Register: 0x00,
  Reserve: 0x01,
  Release: 0x02,
  Clear: 0x03,
  Preempt: 0x04,
  PreemptAndAbort: 0x05,
  RegisterAndIgnore: 0x06,
  RegisterAndMove: 0x07,
} as const;
type OutAction = (typeof OutAction)[keyof typeof OutAction];

function outCommand(serviceAction: OutAction, name: string): Command {
  const typed =
    serviceAction === OutAction.Reserve ||
    serviceAction === OutAction.Release ||
    serviceAction === OutAction.Preempt ||
    serviceAction === OutAction.PreemptAndAbort;
  const longList =
    serviceAction === OutAction.Register || serviceAction === OutAction.RegisterAndMove;
  return {
    opcode: PR_OUT,
    serviceAction,
    name: `PERSISTENT RESERVE OUT: ${name}`,
    usage: [PR_OUT, serviceAction, typed ? 0xff : 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x04],
    // A nexus without rights is turned away by the transition itself, as each service action has it.
    access: Access.Always,
    prepare(execution) {
      const { cdb } = execution;
      const bytes = cdb.readUInt32BE(5);
      if (reservationsOf(execution.lu).reserved) {
        execution.endWith(ScsiStatus.ReservationConflict);
      } else if (typed && cdb[2]! >> 4 !== 0) {
        execution.failField(2, 7);
      } else if (typed && !isReservationType(cdb[2]! & 0x0f)) {
        execution.failField(2, 3);
      } else if (
        bytes < LIST_BYTES ||
        (bytes > LIST_BYTES && !longList) ||
        bytes > MAX_PARAMETER_LIST_BYTES
      ) {
        execution.failWith(SenseKey.IllegalRequest, Asc.ParameterListLengthError);
      } else {
        return bytes;
      }
      return ENDED;
    },
    execute(execution) {
      const list = execution.task.dataOut!.bytes.subarray(0, execution.task.dataOutWantedBytes);
      const reservations = reservationsOf(execution.lu);
      if (reservations.reserved) execution.endWith(ScsiStatus.ReservationConflict);
      else if (serviceAction === OutAction.RegisterAndMove) {
        executeRegisterAndMove(execution, reservations, list);
      } else executeOut(execution, reservations, serviceAction, list);
    },
  };
}

function executeOut(
  execution: Execution,
  reservations: Reservations,
  serviceAction: Exclude<OutAction, typeof OutAction.RegisterAndMove>,
  list: Buffer,
): void {
  const reservationKey = list.readBigUInt64BE(0);
  const serviceActionKey = list.readBigUInt64BE(8);
  const type = (execution.cdb[2]! & 0x0f) as ReservationType;
  const specifiesPorts = (list[20]! & 0x08) !== 0;
  if (specifiesPorts && serviceAction !== OutAction.Register) {
    execution.failParameter(20, 3);
    return;
  }
  let others: string[] | null = null;
  if (specifiesPorts) {
    others = specifiedPorts(execution, list);
    if (others === null) return;
  } else if (list.length !== LIST_BYTES) {
    execution.failWith(SenseKey.IllegalRequest, Asc.ParameterListLengthError);
    return;
  }
  const request = {
    reservationKey,
    serviceActionKey,
    type,
    ignoreExistingKey: serviceAction === OutAction.RegisterAndIgnore,
    allTargetPorts: (list[20]! & 0x04) !== 0,
    aptpl: (list[20]! & 0x01) !== 0,
    others,
  };
  reservations.change(
    execution,
    (state, nexus) => {
      switch (serviceAction) {
        case OutAction.Register:
        case OutAction.RegisterAndIgnore:
          return register(state, nexus, request);
        case OutAction.Reserve:
          return reserve(state, nexus, reservationKey, type);
        case OutAction.Release:
          return release(state, nexus, reservationKey, type);
        case OutAction.Clear:
          return clear(state, nexus, reservationKey);
        case OutAction.Preempt:
        case OutAction.PreemptAndAbort:
          return preempt(state, nexus, request);
        default:
          return assertNever(serviceAction);
      }
    },
    serviceAction === OutAction.PreemptAndAbort,
  );
}

/** The initiator ports that SPEC_I_PT lists; null: the execution has ended. */
function specifiedPorts(execution: Execution, list: Buffer): string[] | null {
  if (list.length < 28 || list.readUInt32BE(24) !== list.length - 28) {
    execution.failWith(SenseKey.IllegalRequest, Asc.ParameterListLengthError);
    return null;
  }
  const ports: string[] = [];
  for (let at = 28; at < list.length; ) {
    const transportId = decodeTransportId(list, at);
    if (transportId === null) {
      execution.failParameter(at);
      return null;
    }
    if (transportId.initiatorPort !== null) ports.push(transportId.initiatorPort);
    else ports.push(...knownPorts(execution, transportId.initiatorName));
    at += transportId.bytes;
  }
  return ports;
}

/** A device name stands for all of its ports that are known here (SPC-4 §7.6.4.6). */
function knownPorts(execution: Execution, initiatorName: string): Set<string> {
  const ports = new Set<string>();
  for (const { nexus } of execution.lu.nexuses()) {
    if (nexus.initiatorName === initiatorName) ports.add(canonicalPort(nexus.initiatorPort));
  }
  return ports;
}

function executeRegisterAndMove(
  execution: Execution,
  reservations: Reservations,
  list: Buffer,
): void {
  const transportIdBytes = list.readUInt32BE(20);
  if (transportIdBytes !== list.length - LIST_BYTES) {
    execution.failWith(SenseKey.IllegalRequest, Asc.ParameterListLengthError);
    return;
  }
  const transportId = decodeTransportId(list, LIST_BYTES);
  if (transportId === null || transportId.bytes !== transportIdBytes) {
    execution.failParameter(LIST_BYTES);
    return;
  }
  let { initiatorPort } = transportId;
  if (initiatorPort === null) {
    // A reservation has one holder: a name that stands for several ports, or none, names nobody.
    const ports = [...knownPorts(execution, transportId.initiatorName)];
    if (ports.length !== 1) {
      execution.failParameter(LIST_BYTES);
      return;
    }
    initiatorPort = ports[0]!;
  }
  const relativeTargetPort = list.readUInt16BE(18);
  let portKnown = relativeTargetPort === execution.nexus.nexus.relativeTargetPort;
  for (const { nexus } of execution.lu.nexuses()) {
    portKnown ||= nexus.relativeTargetPort === relativeTargetPort;
  }
  if (!portKnown) {
    execution.failParameter(18);
    return;
  }
  const request = {
    reservationKey: list.readBigUInt64BE(0),
    serviceActionKey: list.readBigUInt64BE(8),
    unregister: (list[17]! & 0x02) !== 0,
    aptpl: (list[17]! & 0x01) !== 0,
    to: { initiatorPort, relativeTargetPort },
  };
  reservations.change(execution, (state, nexus) => registerAndMove(state, nexus, request));
}

export const persistentReserveCommands: readonly Command[] = [
  inCommand(0x00, 'READ KEYS', readKeys),
  inCommand(0x01, 'READ RESERVATION', readReservation),
  inCommand(0x02, 'REPORT CAPABILITIES', reportCapabilities),
  inCommand(0x03, 'READ FULL STATUS', readFullStatus),
  outCommand(OutAction.Register, 'REGISTER'),
  outCommand(OutAction.Reserve, 'RESERVE'),
  outCommand(OutAction.Release, 'RELEASE'),
  outCommand(OutAction.Clear, 'CLEAR'),
  outCommand(OutAction.Preempt, 'PREEMPT'),
  outCommand(OutAction.PreemptAndAbort, 'PREEMPT AND ABORT'),
  outCommand(OutAction.RegisterAndIgnore, 'REGISTER AND IGNORE EXISTING KEY'),
  outCommand(OutAction.RegisterAndMove, 'REGISTER AND MOVE'),
];
