// What a stream carries, and the two ends it runs between. Ranges are in 4 KiB blocks.
import type { DataBuffer } from '../block/index.ts';

/** The payload of Begin: what the stream is, so that a receiver needs nothing else to judge it. */
export interface StreamDescription {
  readonly volume: string;
  readonly volumeId: string;
  readonly snapshot: string;
  readonly snapshotId: string;
  /** The snapshot that the receiver must have: the stream holds what changed since. Null: everything. */
  readonly from: { readonly name: string; readonly id: string } | null;
  readonly sizeBlocks: number;
  /** What hosts saw: 512 or 4096. */
  readonly logicalBlockBytes: number;
  /** Of the snapshot, RFC 3339. */
  readonly createdAt: string;
}

export interface ChangedRange {
  readonly lba: number;
  readonly blocks: number;
  /** It reads as zeros: nothing is there. */
  readonly hole: boolean;
}

/** A snapshot to read from. */
export interface StreamSource {
  readonly description: StreamDescription;
  /** The next ranges from `lba` on, ascending and disjoint, at most `most`; none: there are no more. */
  changes(lba: number, most: number): Promise<readonly ChangedRange[]>;
  /** Rejects with StoreError where the medium does not give the blocks as they were written. */
  read(lba: number, blocks: number, data: DataBuffer): Promise<void>;
}

/** A volume to write into. */
export interface StreamTarget {
  /** `data` is the caller's again when it resolves. */
  write(lba: number, blocks: number, data: DataBuffer): Promise<void>;
  unmap(lba: number, blocks: number): Promise<void>;
  /** Everything before it is on stable storage, and so is the fact that all below `lba` is there. */
  mark(lba: number): Promise<void>;
  /** The stream is whole: makes the snapshot. */
  end(): Promise<void>;
}

/** Where an interrupted receiver goes on: what a sender is given to begin there. */
export interface ResumePoint {
  readonly snapshotId: string;
  readonly fromId: string | null;
  /** What the base is called where the stream comes from, or else its id; null: there is none. */
  readonly from: string | null;
  readonly lba: number;
}

export type StreamErrorCode =
  /** The bytes are no stream, or not one that this version knows. */
  | 'STREAM_FORMAT'
  /** The bytes are damaged, or records are missing. */
  | 'STREAM_DAMAGED'
  /** The stream ended before its End. What came is kept up to the last mark. */
  | 'STREAM_CUT'
  /** A good stream, but not for this target. */
  | 'STREAM_MISMATCH';

export class StreamError extends Error {
  override readonly name = 'StreamError';
  readonly code: StreamErrorCode;

  constructor(code: StreamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
