// Task Management Function Request, RFC 7143 §11.5.
//
//    0 I 0x02    1 1 function(7)        2-3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength 0
//    8 LUN                             16 ITT              20 Referenced Task Tag
//   24 CmdSN                           28 ExpStatSN        32 RefCmdSN
//   36 ExpDataSN                       40-47 reserved
import { encodeLun } from '../../scsi/lun.ts';
import {
  FINAL,
  IMMEDIATE,
  isImmediate,
  ittOf,
  lunOf,
  Opcode,
  putFirstWord,
  putLengths,
  zeroWords,
} from './bhs.ts';
import { get32, put32 } from './bytes.ts';

export interface TaskManagementPdu {
  immediate: boolean;
  /** One of TaskManagement, or a number that is none. */
  function: number;
  /** -1: a LUN field we do not know. */
  lun: number;
  itt: number;
  /** RESERVED_TAG unless the function is about one task. */
  referencedTag: number;
  cmdSn: number;
  expStatSn: number;
  /** CmdSN of the task to abort (§11.5.5). */
  refCmdSn: number;
  expDataSn: number;
}

export function decode(b: Buffer, at: number): TaskManagementPdu {
  return {
    immediate: isImmediate(b, at),
    function: b[at + 1]! & 0x7f,
    lun: lunOf(b, at),
    itt: ittOf(b, at),
    referencedTag: get32(b, at + 20),
    cmdSn: get32(b, at + 24),
    expStatSn: get32(b, at + 28),
    refCmdSn: get32(b, at + 32),
    expDataSn: get32(b, at + 36),
  };
}

export function encode(b: Buffer, at: number, pdu: Readonly<TaskManagementPdu>): void {
  const opcode = Opcode.TaskManagementRequest | (pdu.immediate ? IMMEDIATE : 0);
  putFirstWord(b, at, opcode, FINAL | pdu.function, 0, 0);
  putLengths(b, at, 0, 0);
  encodeLun(pdu.lun, b, at + 8);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, pdu.referencedTag);
  put32(b, at + 24, pdu.cmdSn);
  put32(b, at + 28, pdu.expStatSn);
  put32(b, at + 32, pdu.refCmdSn);
  put32(b, at + 36, pdu.expDataSn);
  zeroWords(b, at, 40, 48);
}
