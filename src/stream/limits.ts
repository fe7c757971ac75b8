// Bounds of a stream's two ends.

/** Of one Data record: kStreamMaxDataBlocks in native/engine/stream_format.h. 512 KiB of data. */
export const MAX_RECORD_BLOCKS = 128;
export const HEADER_BYTES = 64;
export const BLOCK_BYTES = 4096;
export const MAX_DESCRIPTION_BYTES = 64 * 1024;
export const MAX_RECORD_BYTES = HEADER_BYTES + MAX_RECORD_BLOCKS * (BLOCK_BYTES + 4);
/** Reads and writes of blocks under way at once: 4 MiB of buffers. */
export const PIPELINE_DEPTH = 8;
/** Ranges asked for at once. */
export const CHANGES_BATCH = 256;
/** A receiver flushes and notes where it is after so much: what an interrupted stream sends again. */
export const MARK_EVERY_BLOCKS = 16_384;
