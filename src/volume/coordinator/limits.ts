// The coordinator's bounds, each with its unit and its reason.
import { assert } from '../../base/index.ts';
import { MAX_DATA_BLOCKS } from '../../wire/limits.ts';

/** Blocks of one copy: 512 KiB, a frame that does not hold up a host's op behind it for long (B9). */
export const MAX_COPY_BLOCKS = 128;
/** Blocks of one copied hole: it has no bytes, but an entry of kind and version each, and no copy has more entries. */
export const MAX_HOLE_BLOCKS = MAX_DATA_BLOCKS;
/** Runs of one listing: some 30 KiB. */
export const MAX_LISTED_RUNS = 1024;
/** Replicas that one coordinator ever talks to at a time: bits of a mask. */
export const MAX_PEERS = 30;
/** Reads under way to members. */
export const MAX_READS = 65_536;
/**
 * Reads that take less on average are quick: what they cost is processors and wake-ups. A disk that seeks takes several times as
 * long, flash with a full queue about half. A member that is asked for too much at once comes out of it by itself.
 */
export const QUICK_READ_MS = 1;
/** With fewer reads under way on average they go to all members in turn, quick or not: no processor is short of time then. */
export const QUICK_RUN_DEPTH = 8;
/** Where reads are quick a run goes on while its member has fewer than so many more under way than the least busy one: twice a depth of 32. */
export const QUICK_RUN_LEAD = 64;
/** … and for so many reads, some tens of milliseconds: then it is another's turn, so that many volumes do not meet at one member. */
export const QUICK_RUN_READS = 4096;
/**
 * … and what a member has not answered after so long is asked of another, too, where no other time is set: all that is under way may
 * be at one member, and waits with it while that stands still.
 */
export const QUICK_HEDGE_MS = 100;
/** Damaged blocks that no host waits for and that are mended at a time, one copy each. */
export const MAX_REPAIRS = 64;
/** How often a core that waits for something looks again. */
export const POLL_MS = 100;
/** Rivals for an epoch wait at least so long, and up to eight times as long, before they ask again. */
export const BACKOFF_MS = 100;
/** A rebuild that failed is tried again after this long, twice as long each time up to the most: each try costs two records. */
export const LEAST_JOIN_PAUSE_MS = 200;
export const MOST_JOIN_PAUSE_MS = 10_000;
/** B6: a member that could not make up for a snapshot is asked for that one again after this long. */
export const MISSED_PAUSE_MS = 10_000;
/** B6: who makes up for a snapshot, or delivers it, and says nothing for so long is not waited for. A branch may take a while. */
export const MISSED_SILENCE_MS = 30_000;
/** B9: rebuilds copy at least so much a second, whatever hosts want: a TiB in nine hours. */
export const LEAST_REBUILD_BYTES_PER_SECOND = 32 * 1024 * 1024;
/** How often the rate of rebuilds is looked at. */
export const REBUILD_STEP_MS = 100;
/** For how long hosts' operations are measured without copies beside them, and how long that is good for, at first and later. */
export const REBUILD_ALONE_MS = 200;
export const LEAST_REBUILD_STEER_MS = 1000;
export const MOST_REBUILD_STEER_MS = 4000;
/** Hosts want nothing while their operations take less than this share of the time: of one at a time, or of all together. */
export const REBUILD_TRICKLE = 0.1;
/** Operations may take so many times as long as alone: of a full queue, seven eighths are left while the rate is steered. */
export const REBUILD_TOLERANCE = 1.15;
/** V6: how long to wait, beyond `promiseWaitMs`, for members that would make a loss unnecessary. */
export const LOSS_WAIT_FACTOR = 10;
/** Blocks of one cross-scrub: a member stops its stream for the length of a look at so many map entries (H5). */
export const MAX_DIGEST_BLOCKS = 4096;

assert(MAX_COPY_BLOCKS <= MAX_DATA_BLOCKS && MAX_HOLE_BLOCKS <= MAX_DATA_BLOCKS);
