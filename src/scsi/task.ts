// A SCSI task as the transport and the device server share it, and the faces they show each other. The SCSI room has
// not heard of iSCSI: a transport hands in a nexus, a CDB and, for writes, bytes; it gets status, sense and bytes back.
import type { DataBuffer } from '../block/index.ts';

/** SAM-5 §5.3.1. */
export const ScsiStatus = {
  Good: 0x00,
  CheckCondition: 0x02,
  ConditionMet: 0x04,
  Busy: 0x08,
  ReservationConflict: 0x18,
  TaskSetFull: 0x28,
  AcaActive: 0x30,
  TaskAborted: 0x40,
} as const;
export type ScsiStatus = (typeof ScsiStatus)[keyof typeof ScsiStatus];

/** SAM-5 §8.6; the values are those of the iSCSI ATTR field (RFC 7143 §11.3.1). */
export const TaskAttribute = {
  Untagged: 0,
  Simple: 1,
  Ordered: 2,
  HeadOfQueue: 3,
  Aca: 4,
} as const;
export type TaskAttribute = (typeof TaskAttribute)[keyof typeof TaskAttribute];

/** One I_T nexus: an initiator port and a target port. Made at login, kept for the life of the session. */
export interface Nexus {
  /** iSCSI name of the initiator, lower case. */
  readonly initiatorName: string;
  /** SCSI initiator port name: `<iqn>,i,0x<isid>` (RFC 7143 §10.1). Reservations belong to it. */
  readonly initiatorPort: string;
  /** SCSI target port name: `<iqn>,t,0x<tpgt>`. */
  readonly targetPort: string;
  /** Relative target port identifier, 1-based; the target portal group tag. */
  readonly relativeTargetPort: number;
  /** The name that the initiator has proven to have; left out or null: it was asked for no proof. */
  readonly authenticatedAs?: string | null;
}

/** Told by the device server how a task ended. Called once a task, perhaps inside `execute`, always inside a turn. */
export interface TaskOwner {
  /**
   * The task has ended: `status`, `sense`, `dataIn…` are set. With `aborted` set the transport sends no SCSI response
   * (another nexus's abort under TAS ends as status TaskAborted, with `aborted` clear). The transport then calls
   * `releaseBuffers`.
   */
  onTaskDone(task: ScsiTask): void;
}

const EMPTY = Buffer.alloc(0);

/** Pooled by the transport: `begin` sets every field. */
export class ScsiTask {
  nexus!: Nexus;
  owner!: TaskOwner;
  /** The 8-byte LUN field, decoded: single-level LUN number, or -1 where the format is not one we know. */
  lun = 0;
  /** The transport's tag, unique among the nexus's outstanding tasks (the ITT). */
  tag = 0;
  /** 16 bytes, or more with an extended CDB (AHS): the transport's bytes, valid until onTaskDone. */
  cdb: Buffer = EMPTY;
  attribute: TaskAttribute = TaskAttribute.Simple;
  /** What the transport's W and R bits announced. */
  writes = false;
  reads = false;
  /** Expected data transfer length in bytes, as the initiator announced it. */
  expectedBytes = 0;

  /**
   * Set by `prepare`: how many bytes of Data-Out the command wants by its CDB, whatever was announced. The transport
   * fetches min(expectedBytes, dataOutWantedBytes) into `dataOut` and sets `dataOutBytes`, then calls `execute`.
   */
  dataOutWantedBytes = 0;
  dataOut: DataBuffer | null = null;
  dataOutBytes = 0;

  status: ScsiStatus = ScsiStatus.Good;
  /** Sense data to send, empty for none. A view that the device server owns and keeps until the next `begin`. */
  sense: Buffer = EMPTY;
  /** Bytes for the initiator: from `dataIn` if not null (large, pooled), else from `dataInSmall`. */
  dataIn: DataBuffer | null = null;
  dataInSmall: Buffer = EMPTY;
  /**
   * How many bytes the command returns by its CDB, before the cut to `expectedBytes`: the transport sends the lesser and
   * reports the residual (RFC 7143 §11.4.5).
   */
  dataInBytes = 0;
  /** Told when `dataIn` is given back: the device server bounds what the answers to a nexus hold. */
  dataInHolder: { give(buffer: DataBuffer): void } | null = null;
  /** Aborted by task management: the transport answers nothing. */
  aborted = false;
  /** The device server's own: what runs this task. */
  execution: unknown = null;

  begin(nexus: Nexus, owner: TaskOwner, lun: number, tag: number, cdb: Buffer): this {
    this.nexus = nexus;
    this.owner = owner;
    this.lun = lun;
    this.tag = tag;
    this.cdb = cdb;
    this.attribute = TaskAttribute.Simple;
    this.writes = false;
    this.reads = false;
    this.expectedBytes = 0;
    this.dataOutWantedBytes = 0;
    this.dataOut = null;
    this.dataOutBytes = 0;
    this.status = ScsiStatus.Good;
    this.sense = EMPTY;
    this.dataIn = null;
    this.dataInSmall = EMPTY;
    this.dataInBytes = 0;
    this.dataInHolder = null;
    this.aborted = false;
    this.execution = null;
    return this;
  }

  /** Gives the pooled buffers back. The transport calls it when the last byte left. Idempotent. */
  releaseBuffers(): void {
    this.dataOut?.release();
    this.dataOut = null;
    if (this.dataIn === null) return;
    this.dataInHolder?.give(this.dataIn);
    this.dataIn.release();
    this.dataIn = null;
  }
}

/** SAM-5 §7; the values are those of RFC 7143 §11.5.1. */
export const TaskManagement = {
  AbortTask: 1,
  AbortTaskSet: 2,
  ClearAca: 3,
  ClearTaskSet: 4,
  LogicalUnitReset: 5,
  TargetWarmReset: 6,
  TargetColdReset: 7,
  TaskReassign: 8,
  QueryTask: 9,
  QueryTaskSet: 10,
  ITNexusReset: 11,
  QueryAsynchronousEvent: 12,
} as const;
export type TaskManagement = (typeof TaskManagement)[keyof typeof TaskManagement];

/** RFC 7143 §11.6.1. */
export const TaskManagementResponse = {
  Complete: 0,
  TaskDoesNotExist: 1,
  LunDoesNotExist: 2,
  TaskStillAllegiant: 3,
  ReassignmentNotSupported: 4,
  NotSupported: 5,
  AuthorizationFailed: 6,
  Succeeded: 7,
  Rejected: 255,
} as const;
export type TaskManagementResponse =
  (typeof TaskManagementResponse)[keyof typeof TaskManagementResponse];

export interface TaskManagementRequest {
  readonly nexus: Nexus;
  readonly kind: TaskManagement;
  readonly lun: number;
  /** For AbortTask and QueryTask: the referenced task's tag on this nexus. */
  readonly referencedTag: number;
}

/** What the transport sees of a SCSI target device: one per IQN, one or more logical units behind it. */
export interface ScsiTarget {
  readonly name: string;

  /** A session was established: from now on the nexus may send tasks and collects unit attentions. */
  attachNexus(nexus: Nexus): void;
  /**
   * I_T nexus loss (SAM-5 §6.3.4): aborts the nexus's tasks without answers, drops its RESERVE(6) reservations and unit
   * attentions. `done` comes when nothing of the nexus can take effect any more (C6).
   */
  detachNexus(nexus: Nexus, done: () => void): void;

  /**
   * First look at a command: decodes the CDB, sets `dataOutWantedBytes`. True: go on, fetch data and call `execute`.
   * False: the task has ended already (bad CDB, reservation conflict, …) and `onTaskDone` was called: no data is wanted.
   * Also admits the task to the task set, so that task management finds it while its data is on the way.
   */
  prepare(task: ScsiTask): boolean;
  /**
   * Puts a prepared task into the enabled task state if nothing in its task set holds it up (SAM-5 §8): from then on nothing
   * that comes later does so either. False: it must wait for others.
   */
  enable(task: ScsiTask): boolean;
  /** Runs a prepared task. `dataOut` and `dataOutBytes` are set if it wanted data. */
  execute(task: ScsiTask): void;
  /** The transport gives up on a prepared task whose data will never come. Ends with `aborted`. */
  abandon(task: ScsiTask): void;

  /**
   * Runs a task management function. `done` comes when its effects are complete: every task it aborted can no longer
   * change anything (C6). Tasks that end by it get `onTaskDone` before `done`.
   */
  manage(request: TaskManagementRequest, done: (response: TaskManagementResponse) => void): void;
}
