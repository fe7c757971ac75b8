// How a block operation ended. The world's faults are values on the data path; each protocol translates them once.

export const IoStatus = {
  Ok: 0,
  /** The range leaves the device. Decided before anything happened. */
  OutOfRange: 1,
  /** No space for the change (consistency.md N1): nothing was changed. SCSI 07h/27h/07h. */
  NoSpace: 2,
  /** Data that fails its checksum or cannot be read; `op.failedLba` says where. SCSI 03h/11h/00h. */
  Damaged: 3,
  /** The medium failed, or the pool is faulted: the outcome of a change is unknown. SCSI 04h/44h/00h. */
  IoError: 4,
  /** The volume is closed, or going. */
  Offline: 5,
  /** An Update op's callback declined to write (COMPARE AND WRITE that differs). */
  Declined: 6,
  /** The volume or its pool is read-only. SCSI 07h/27h/00h. */
  ReadOnly: 7,
  /** Overload; the initiator should try again. SCSI TASK SET FULL. */
  Busy: 8,
} as const;
export type IoStatus = (typeof IoStatus)[keyof typeof IoStatus];
