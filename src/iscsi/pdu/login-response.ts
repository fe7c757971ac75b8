// Login Response, RFC 7143 §11.13.
//
//    0 0x23      1 T C . . CSG(2) NSG(2)        2 Version-max     3 Version-active
//    4 TotalAHSLength 0                         5-7 DataSegmentLength
//    8 ISID (6)                        14 TSIH
//   16 ITT                             20 reserved
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN
//   36 Status-Class     37 Status-Detail      38-47 reserved
import {
  CONTINUE,
  FINAL,
  ittOf,
  Opcode,
  putFirstWord,
  putLengths,
  putTargetNumbers,
  type TargetNumbers,
  targetNumbersOf,
  zeroWords,
} from './bhs.ts';
import { get16, get32, put16, put32 } from './bytes.ts';

/** Status-Class and Status-Detail as one 16-bit number (§11.13.5). */
export const LoginStatus = {
  Success: 0x0000,
  TargetMovedTemporarily: 0x0101,
  TargetMovedPermanently: 0x0102,
  InitiatorError: 0x0200,
  AuthenticationFailure: 0x0201,
  AuthorizationFailure: 0x0202,
  NotFound: 0x0203,
  TargetRemoved: 0x0204,
  UnsupportedVersion: 0x0205,
  TooManyConnections: 0x0206,
  MissingParameter: 0x0207,
  CannotIncludeInSession: 0x0208,
  SessionTypeNotSupported: 0x0209,
  SessionDoesNotExist: 0x020a,
  InvalidDuringLogin: 0x020b,
  TargetError: 0x0300,
  ServiceUnavailable: 0x0301,
  OutOfResources: 0x0302,
} as const;
export type LoginStatus = (typeof LoginStatus)[keyof typeof LoginStatus];

export interface LoginResponse extends TargetNumbers {
  transit: boolean;
  continues: boolean;
  csg: number;
  nsg: number;
  dataBytes: number;
  isid: string;
  tsih: number;
  itt: number;
  status: LoginStatus;
}

/** Writes the BHS; the text is the caller's. Versions are 0: RFC 7143 §11.13.2 knows no other. */
export function encode(b: Buffer, at: number, pdu: Readonly<LoginResponse>): void {
  const flags =
    (pdu.transit ? FINAL : 0) | (pdu.continues ? CONTINUE : 0) | (pdu.csg << 2) | pdu.nsg;
  putFirstWord(b, at, Opcode.LoginResponse, flags, 0, 0);
  putLengths(b, at, 0, pdu.dataBytes);
  b.write(pdu.isid, at + 8, 6, 'hex');
  put16(b, at + 14, pdu.tsih);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, 0);
  putTargetNumbers(b, at, pdu);
  put32(b, at + 36, pdu.status << 16);
  zeroWords(b, at, 40, 48);
}

export function decode(b: Buffer, at: number): LoginResponse {
  return {
    transit: (b[at + 1]! & FINAL) !== 0,
    continues: (b[at + 1]! & CONTINUE) !== 0,
    csg: (b[at + 1]! >> 2) & 3,
    nsg: b[at + 1]! & 3,
    dataBytes: get32(b, at + 4) & 0xffffff,
    isid: b.toString('hex', at + 8, at + 14),
    tsih: get16(b, at + 14),
    itt: ittOf(b, at),
    status: get16(b, at + 36) as LoginStatus,
    ...targetNumbersOf(b, at),
  };
}
