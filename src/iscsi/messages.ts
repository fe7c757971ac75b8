// The PDUs of a session that are not about a command's data: made here, numbered when they go out (output.ts).
import {
  ahsBytesOf,
  asyncMessage,
  BHS_BYTES,
  logoutResponse,
  nopIn,
  RESERVED_TAG,
  reject,
  textResponse,
} from './pdu/index.ts';
import type { Parameters, TextReply } from './text/index.ts';

export interface Message {
  readonly bhs: Buffer;
  readonly data: Buffer;
  /** It takes a StatSN of its own. */
  readonly advances: boolean;
}

const NO_DATA: Buffer = Buffer.alloc(0);
const NO_NUMBERS = { statSn: 0, expCmdSn: 0, maxCmdSn: 0 };

function message(encode: (bhs: Buffer) => void, data: Buffer, advances = true): Message {
  const bhs = Buffer.allocUnsafe(BHS_BYTES);
  encode(bhs);
  return { bhs, data, advances };
}

/** The answer to an initiator's ping, §11.19: its LUN field means nothing, as there is no TTT. */
export function pingAnswer(itt: number, echo: Buffer): Message {
  const pdu = { ...NO_NUMBERS, dataBytes: echo.length, lun: 0, itt, ttt: RESERVED_TAG };
  return message((b) => nopIn.encode(b, 0, pdu), echo);
}

/** A ping of ours, §11.19. */
export function pingQuestion(ttt: number): Message {
  const pdu = { ...NO_NUMBERS, dataBytes: 0, lun: 0, itt: RESERVED_TAG, ttt };
  return message((b) => nopIn.encode(b, 0, pdu), NO_DATA, false);
}

export function textAnswer(itt: number, reply: Extract<TextReply, { kind: 'response' }>): Message {
  const { final, continues, data, ttt } = reply;
  const pdu = { ...NO_NUMBERS, final, continues, dataBytes: data.length, itt, ttt };
  return message((b) => textResponse.encode(b, 0, pdu), data);
}

export function logoutAnswer(
  itt: number,
  response: logoutResponse.LogoutResponseCode,
  parameters: Parameters,
): Message {
  const pdu = {
    ...NO_NUMBERS,
    response,
    itt,
    time2WaitSeconds: parameters.defaultTime2WaitSeconds,
    time2RetainSeconds: parameters.defaultTime2RetainSeconds,
  };
  return message((b) => logoutResponse.encode(b, 0, pdu), NO_DATA);
}

/** §11.17: with the header of the PDU that is refused. */
export function rejection(reason: reject.RejectReason, head: Buffer, at: number): Message {
  const bytes = BHS_BYTES + ahsBytesOf(head, at);
  const pdu = { ...NO_NUMBERS, reason, dataBytes: bytes };
  return message((b) => reject.encode(b, 0, pdu), Buffer.from(head.subarray(at, at + bytes)));
}

/** §11.9: asks the initiator to log out within so many seconds. */
export function logoutRequested(seconds: number): Message {
  const { AsyncEvent } = asyncMessage;
  const numbers = { parameter1: 0, parameter2: 0, parameter3: seconds };
  const pdu = { ...NO_NUMBERS, event: AsyncEvent.LogoutRequested, ...numbers };
  return message((b) => asyncMessage.encode(b, 0, pdu), NO_DATA);
}

/** §11.9: the session goes, and may be made anew after Time2Wait. */
export function sessionDropped(parameters: Parameters): Message {
  const { AsyncEvent } = asyncMessage;
  const numbers = {
    parameter1: 0,
    parameter2: parameters.defaultTime2WaitSeconds,
    parameter3: 0,
  };
  const pdu = { ...NO_NUMBERS, event: AsyncEvent.SessionDropped, ...numbers };
  return message((b) => asyncMessage.encode(b, 0, pdu), NO_DATA);
}
