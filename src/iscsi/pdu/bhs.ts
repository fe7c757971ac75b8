// The Basic Header Segment, RFC 7143 §11.2: the 48 bytes every PDU begins with, and what all of them share.
//
//    0 . I opcode(6)          1-3 F and opcode-specific fields
//    4 TotalAHSLength, in words of four bytes     5-7 DataSegmentLength, in bytes, without padding
//    8 LUN or opcode-specific                    16 Initiator Task Tag     20-47 opcode-specific
//
// A PDU on the wire: BHS, AHS, header digest if negotiated, data, padding to four bytes, data digest if negotiated and
// there are data (§11.1). Every encoder of this folder writes all 48 bytes: the memory it is given is reused, and
// nothing of the PDU before may reach another initiator.
import { assert } from '../../base/index.ts';
import { decodeLun } from '../../scsi/lun.ts';
import { get24, get32, put32 } from './bytes.ts';

export const BHS_BYTES = 48;
export const DIGEST_BYTES = 4;
/** What TotalAHSLength, one byte of words, can say. */
export const MAX_AHS_BYTES = 255 * 4;
/** What DataSegmentLength, three bytes, can say. */
export const MAX_DATA_SEGMENT_BYTES = 0xffffff;
/** "No tag": an ITT or TTT that stands for none (§11.2.1.8, §11.7.4). */
export const RESERVED_TAG = 0xffffffff;

/** RFC 7143 §11.2.1.2. */
export const Opcode = {
  NopOut: 0x00,
  ScsiCommand: 0x01,
  TaskManagementRequest: 0x02,
  LoginRequest: 0x03,
  TextRequest: 0x04,
  DataOut: 0x05,
  LogoutRequest: 0x06,
  SnackRequest: 0x10,
  NopIn: 0x20,
  ScsiResponse: 0x21,
  TaskManagementResponse: 0x22,
  LoginResponse: 0x23,
  TextResponse: 0x24,
  DataIn: 0x25,
  LogoutResponse: 0x26,
  R2t: 0x31,
  AsyncMessage: 0x32,
  Reject: 0x3f,
} as const;
export type Opcode = (typeof Opcode)[keyof typeof Opcode];

/** The Immediate bit of byte 0 (§11.2.1.1). */
export const IMMEDIATE = 0x40;
/** The Final bit of byte 1 (§11.2.1.3); Transit in login PDUs. */
export const FINAL = 0x80;
/** The Continue bit of byte 1 of text and login PDUs (§11.10.2). */
export const CONTINUE = 0x40;

/** What every target PDU that carries a status says (§4.2.2). */
export interface TargetNumbers {
  statSn: number;
  expCmdSn: number;
  maxCmdSn: number;
}

/** One of `Opcode`, or a number that is no opcode we know. */
export function opcodeOf(b: Buffer, at: number): number {
  return b[at]! & 0x3f;
}

export function isImmediate(b: Buffer, at: number): boolean {
  return (b[at]! & IMMEDIATE) !== 0;
}

export function isFinal(b: Buffer, at: number): boolean {
  return (b[at + 1]! & FINAL) !== 0;
}

/** Additional header segments, in bytes. They follow the BHS. */
export function ahsBytesOf(b: Buffer, at: number): number {
  return b[at + 4]! * 4;
}

/** DataSegmentLength: without padding. */
export function dataBytesOf(b: Buffer, at: number): number {
  return get24(b, at + 5);
}

export function ittOf(b: Buffer, at: number): number {
  return get32(b, at + 16);
}

/** CmdSN, of every request that has one (not SNACK, not Data-Out). */
export function cmdSnOf(b: Buffer, at: number): number {
  return get32(b, at + 24);
}

/** ExpStatSN, of every request. */
export function expStatSnOf(b: Buffer, at: number): number {
  return get32(b, at + 28);
}

/** To the next multiple of four (§11.7.9). */
export function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}

/** The LUN field (§11.2.1.7), as `decodeLun` has it: -1 names no logical unit of ours. */
export function lunOf(b: Buffer, at: number): number {
  return decodeLun(b, at + 8);
}

/** The first word: opcode with the immediate bit, flags, and the two bytes after. */
export function putFirstWord(
  b: Buffer,
  at: number,
  opcodeByte: number,
  flags: number,
  byte2: number,
  byte3: number,
): void {
  assert(at >= 0 && at + BHS_BYTES <= b.length);
  b[at] = opcodeByte;
  b[at + 1] = flags;
  b[at + 2] = byte2;
  b[at + 3] = byte3;
}

/** TotalAHSLength and DataSegmentLength. */
export function putLengths(b: Buffer, at: number, ahsBytes: number, dataBytes: number): void {
  assert(ahsBytes % 4 === 0 && ahsBytes >= 0 && ahsBytes <= MAX_AHS_BYTES);
  assert(dataBytes >= 0 && dataBytes <= MAX_DATA_SEGMENT_BYTES);
  put32(b, at + 4, (ahsBytes << 22) | dataBytes);
}

/** StatSN, ExpCmdSN and MaxCmdSN, bytes 24 to 35 of every target PDU that has them. */
export function putTargetNumbers(b: Buffer, at: number, numbers: Readonly<TargetNumbers>): void {
  put32(b, at + 24, numbers.statSn);
  put32(b, at + 28, numbers.expCmdSn);
  put32(b, at + 32, numbers.maxCmdSn);
}

/** Reads them back: for initiators, which means tests. */
export function targetNumbersOf(b: Buffer, at: number): TargetNumbers {
  return {
    statSn: get32(b, at + 24),
    expCmdSn: get32(b, at + 28),
    maxCmdSn: get32(b, at + 32),
  };
}

/** Zeroes the words from `from` up to `to`, both relative to `at`. */
export function zeroWords(b: Buffer, at: number, from: number, to: number): void {
  for (let word = at + from; word < at + to; word += 4) put32(b, word, 0);
}
