// The PDU codec: the layout of every iSCSI PDU (RFC 7143 §11) and the parser that finds them in a stream. Headers are
// read and written in place, at (buffer, offset); one file a message, its functions under the message's name:
// `dataOut.bufferOffset(b, at)`, `r2t.encode(b, at, pdu)`. An object passed to `encode` is only read: keep one and
// reuse it on the hot path.
export * as ahs from './ahs.ts';
export * as asyncMessage from './async-message.ts';
export {
  ahsBytesOf,
  BHS_BYTES,
  CONTINUE,
  cmdSnOf,
  DIGEST_BYTES,
  dataBytesOf,
  expStatSnOf,
  FINAL,
  IMMEDIATE,
  isFinal,
  isImmediate,
  ittOf,
  lunOf,
  MAX_AHS_BYTES,
  MAX_DATA_SEGMENT_BYTES,
  Opcode,
  opcodeOf,
  padded,
  RESERVED_TAG,
  type TargetNumbers,
  targetNumbersOf,
} from './bhs.ts';
export { get16, get24, get32, put16, put32 } from './bytes.ts';
export * as dataIn from './data-in.ts';
export * as dataOut from './data-out.ts';
export * as loginRequest from './login-request.ts';
export { LoginStage } from './login-request.ts';
export * as loginResponse from './login-response.ts';
export { LoginStatus } from './login-response.ts';
export * as logoutRequest from './logout-request.ts';
export * as logoutResponse from './logout-response.ts';
export * as nopIn from './nop-in.ts';
export * as nopOut from './nop-out.ts';
export {
  type DataPlace,
  LOGIN_PARSER_LIMITS,
  type ParserLimits,
  PduParser,
  type PduSink,
  StreamError,
} from './parser.ts';
export * as r2t from './r2t.ts';
export * as reject from './reject.ts';
export { RejectReason } from './reject.ts';
export * as scsiCommand from './scsi-command.ts';
export * as scsiResponse from './scsi-response.ts';
export { assemblePdu, type Digests, dataStart, NO_DIGESTS, seal, wireBytes } from './seal.ts';
export * as snack from './snack.ts';
export * as taskManagementRequest from './task-management-request.ts';
export * as taskManagementResponse from './task-management-response.ts';
export * as textRequest from './text-request.ts';
export * as textResponse from './text-response.ts';
