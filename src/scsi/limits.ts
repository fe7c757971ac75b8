// The bounds of the device server, each with its unit and its reason.
import { MAX_BUFFER_BYTES } from '../block/index.ts';

/** Tasks in the set of one unit, of all nexuses together; beyond it, TASK SET FULL. Windows of 32 sessions of 128. */
export const MAX_TASKS_PER_UNIT = 4096;
/** Logical units of one target. */
export const MAX_UNITS_PER_TARGET = 256;
/** What one READ or WRITE may move: one data buffer. Block limits: MAXIMUM TRANSFER LENGTH. */
export const MAX_TRANSFER_BYTES = MAX_BUFFER_BYTES;
/**
 * Data buffers that the answers to one nexus may hold, over all its units: an eighth of the arena as it comes, and more
 * than a fast network has on its way.
 */
export const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** What most initiators do best with. Block limits: OPTIMAL TRANSFER LENGTH. */
export const OPTIMAL_TRANSFER_BYTES = 1024 * 1024;
/** One WRITE SAME, 128 MiB of 4096-byte blocks: worth it, and over within a host's patience when really written. */
export const MAX_WRITE_SAME_BLOCKS = 32768;
/** The buffer that WRITE SAME repeats its block in. */
export const WRITE_SAME_CHUNK_BYTES = 1024 * 1024;
/** One UNMAP command, all its descriptors together: 4 GiB of 4096-byte blocks; hosts split what is longer. */
export const MAX_UNMAP_BLOCKS = 1024 * 1024;
export const MAX_UNMAP_DESCRIPTORS = 256;
/** VERIFY without data reads this much an operation; nothing is delivered, so it needs no buffer. */
export const VERIFY_CHUNK_BYTES = 4 * 1024 * 1024;
/** VERIFY reaches further than a transfer: it moves nothing. */
export const MAX_VERIFY_BYTES = 1024 * 1024 * 1024;
/** Parameter lists, of MODE SELECT and the like: none of ours comes near. */
export const MAX_PARAMETER_LIST_BYTES = 8192;
/** Runs that one GET LBA STATUS reports. */
export const MAX_LBA_STATUS_DESCRIPTORS = 1024;
