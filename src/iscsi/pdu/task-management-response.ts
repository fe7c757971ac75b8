// Task Management Function Response, RFC 7143 §11.6.
//
//    0 0x22      1 0x80                 2 response         3 reserved
//    4 TotalAHSLength 0                 5-7 DataSegmentLength 0
//    8 reserved                        16 ITT              20 reserved
//   24 StatSN                          28 ExpCmdSN         32 MaxCmdSN      36-47 reserved
import type { TaskManagementResponse as Response } from '../../scsi/task.ts';
import {
  FINAL,
  Opcode,
  putFirstWord,
  putLengths,
  putTargetNumbers,
  type TargetNumbers,
  zeroWords,
} from './bhs.ts';
import { put32 } from './bytes.ts';

export interface TaskManagementResponsePdu extends TargetNumbers {
  response: Response;
  itt: number;
}

export function encode(b: Buffer, at: number, pdu: Readonly<TaskManagementResponsePdu>): void {
  putFirstWord(b, at, Opcode.TaskManagementResponse, FINAL, pdu.response, 0);
  putLengths(b, at, 0, 0);
  zeroWords(b, at, 8, 16);
  put32(b, at + 16, pdu.itt);
  put32(b, at + 20, 0);
  putTargetNumbers(b, at, pdu);
  zeroWords(b, at, 36, 48);
}

export function response(b: Buffer, at: number): number {
  return b[at + 2]!;
}
