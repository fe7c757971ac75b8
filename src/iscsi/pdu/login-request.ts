// Login Request, RFC 7143 §11.12.
//
//    0 I 0x03    1 T C . . CSG(2) NSG(2)        2 Version-max     3 Version-min
//    4 TotalAHSLength 0                         5-7 DataSegmentLength
//    8 ISID (6)                        14 TSIH
//   16 ITT                             20 CID (2), reserved (2)
//   24 CmdSN                           28 ExpStatSN or reserved           32-47 reserved
import {
  CONTINUE,
  FINAL,
  IMMEDIATE,
  isImmediate,
  ittOf,
  Opcode,
  putFirstWord,
  putLengths,
  zeroWords,
} from './bhs.ts';
import { get16, get32, put16, put32 } from './bytes.ts';

/** CSG and NSG (§11.12.3). */
export const LoginStage = { Security: 0, Operational: 1, FullFeature: 3 } as const;
export type LoginStage = (typeof LoginStage)[keyof typeof LoginStage];

export interface LoginRequest {
  immediate: boolean;
  transit: boolean;
  continues: boolean;
  /** 0 to 3; 2 is reserved. */
  csg: number;
  nsg: number;
  versionMax: number;
  versionMin: number;
  ahsBytes: number;
  dataBytes: number;
  /** 12 hex digits, lower case. */
  isid: string;
  tsih: number;
  itt: number;
  cid: number;
  cmdSn: number;
  expStatSn: number;
}

export function decode(b: Buffer, at: number): LoginRequest {
  return {
    immediate: isImmediate(b, at),
    transit: (b[at + 1]! & FINAL) !== 0,
    continues: (b[at + 1]! & CONTINUE) !== 0,
    csg: (b[at + 1]! >> 2) & 3,
    nsg: b[at + 1]! & 3,
    versionMax: b[at + 2]!,
    versionMin: b[at + 3]!,
    ahsBytes: b[at + 4]! * 4,
    dataBytes: get32(b, at + 4) & 0xffffff,
    isid: b.toString('hex', at + 8, at + 14),
    tsih: get16(b, at + 14),
    itt: ittOf(b, at),
    cid: get16(b, at + 20),
    cmdSn: get32(b, at + 24),
    expStatSn: get32(b, at + 28),
  };
}

export function encode(b: Buffer, at: number, pdu: Readonly<LoginRequest>): void {
  const flags =
    (pdu.transit ? FINAL : 0) | (pdu.continues ? CONTINUE : 0) | (pdu.csg << 2) | pdu.nsg;
  const opcode = Opcode.LoginRequest | (pdu.immediate ? IMMEDIATE : 0);
  putFirstWord(b, at, opcode, flags, pdu.versionMax, pdu.versionMin);
  putLengths(b, at, pdu.ahsBytes, pdu.dataBytes);
  b.write(pdu.isid, at + 8, 6, 'hex');
  put16(b, at + 14, pdu.tsih);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.cid << 16);
  put32(b, at + 24, pdu.cmdSn);
  put32(b, at + 28, pdu.expStatSn);
  zeroWords(b, at, 32, 48);
}
