// SANITIZE, SBC-4 §5.30 and §4.11: nothing of the medium's contents may be had any more. OVERWRITE writes a pattern over
// every block, BLOCK ERASE unmaps every block. It goes on whatever becomes of the task, the session or the process: what
// is to be done is saved before it begins, and taken up again when the device opens.
import { assert } from '../../base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  type DataBuffer,
  IoStatus,
  METADATA_KEYS,
  MIN_BUFFER_BYTES,
} from '../../block/index.ts';
import { Access, type Command, ENDED } from '../command.ts';
import type { Execution } from '../execution.ts';
import type { SanitizeHooks } from '../hooks.ts';
import type { LogicalUnit } from '../logical-unit.ts';
import { Asc, type Sense, SenseKey } from '../sense.ts';

/** One block-device operation, in bytes. */
const OVERWRITE_CHUNK_BYTES = 1024 * 1024;
const ERASE_CHUNK_BYTES = 256 * 1024 * 1024;
/** Operations in flight: enough to keep the medium busy, few enough to leave it to others. */
const MAX_IN_FLIGHT = 4;
/** The place is saved, after a flush, each time this much was done: what a restart repeats at most, in bytes. */
const CHECKPOINT_BYTES = 16 * 1024 * 1024 * 1024;

export const SANITIZE_KEY = METADATA_KEYS.sanitize;

const ServiceAction = {
  Overwrite: 0x01,
  BlockErase: 0x02,
  CryptographicErase: 0x03,
  ExitFailureMode: 0x1f,
} as const;

/** What is to be done, and how far it is: kept with the device until it has succeeded. */
export interface SanitizeJob {
  readonly action: 'overwrite' | 'erase';
  /** AUSE: after a failure EXIT FAILURE MODE is allowed. */
  readonly allowUnrestrictedExit: boolean;
  readonly pattern: Buffer;
  readonly invert: boolean;
  /** A count, 1 to 31; 1 for an erase. */
  readonly passes: number;
  pass: number;
  /** The first block of this pass that is not done yet. */
  lba: number;
  failed: boolean;
}

function encodeJob(job: SanitizeJob): Buffer {
  return Buffer.from(JSON.stringify({ ...job, pattern: job.pattern.toString('hex') }));
}

/** What was saved; null when it is unreadable. */
function decodeJob(bytes: Uint8Array): SanitizeJob | null {
  let saved: unknown;
  try {
    saved = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return null;
  }
  if (typeof saved !== 'object' || saved === null) return null;
  const { action, allowUnrestrictedExit, pattern, invert, passes, pass, lba, failed } =
    saved as Record<string, unknown>;
  if (action !== 'overwrite' && action !== 'erase') return null;
  if (typeof pattern !== 'string' || !/^([0-9a-f]{2})*$/.test(pattern)) return null;
  if (action === 'overwrite' && pattern.length === 0) return null;
  if (![passes, pass, lba].every((count) => Number.isSafeInteger(count) && Number(count) >= 0)) {
    return null;
  }
  return {
    action,
    allowUnrestrictedExit: allowUnrestrictedExit === true,
    pattern: Buffer.from(pattern, 'hex'),
    invert: invert === true,
    passes: Number(passes),
    pass: Number(pass),
    lba: Number(lba),
    failed: failed === true,
  };
}

/** A job that nobody can make sense of any more: it had begun, so the unit is in failure mode. */
const LOST_JOB: SanitizeJob = {
  action: 'erase',
  allowUnrestrictedExit: false,
  pattern: Buffer.alloc(0),
  invert: false,
  passes: 1,
  pass: 0,
  lba: 0,
  failed: true,
};

const nobodyWaits = (): void => {};

/** The SANITIZE of one unit: at most one at a time. */
export class Sanitizer implements SanitizeHooks, BlockOpOwner {
  readonly #unit: LogicalUnit;
  #job: SanitizeJob | null = null;
  /** The task that waits for the end (IMMED=0), or for the beginning (IMMED=1). */
  #execution: Execution | null = null;
  #buffer: DataBuffer | null = null;
  readonly #freeOps: BlockOp[] = [];
  readonly #flushOp = new BlockOp();
  #inFlight = 0;
  #status: IoStatus = IoStatus.Ok;
  /** The next block to start on, in this pass. */
  #next = 0;
  #sinceCheckpointBytes = 0;
  #issuing = false;

  /** Goes on with what a restart interrupted. */
  constructor(unit: LogicalUnit) {
    this.#unit = unit;
    for (let index = 0; index < MAX_IN_FLIGHT; index += 1) this.#freeOps.push(new BlockOp());
    const saved = unit.device.loadMetadata(SANITIZE_KEY);
    if (saved === null) return;
    this.#job = decodeJob(saved) ?? { ...LOST_JOB };
    if (!this.#job.failed) this.#begin();
  }

  get active(): boolean {
    return this.#job !== null;
  }

  /** True while blocks are being sanitized; false in failure mode, too. */
  get running(): boolean {
    return this.#job !== null && !this.#job.failed;
  }

  /** Failure mode, and EXIT FAILURE MODE is allowed to end it (SBC-4 §4.11.4). */
  get mayExitFailureMode(): boolean {
    return this.#job === null || (this.#job.failed && this.#job.allowUnrestrictedExit);
  }

  /** Failure mode after an operation with AUSE=0: only another such leads out of it. */
  get restricted(): boolean {
    return this.#job?.failed === true && !this.#job.allowUnrestrictedExit;
  }

  sense(): Sense {
    const job = this.#job;
    assert(job !== null);
    if (job.failed) return { key: SenseKey.MediumError, code: Asc.SanitizeCommandFailed };
    const { blocks } = this.#unit.device.geometry;
    const done = (job.pass + Math.min(job.lba, blocks) / blocks) / job.passes;
    // Never quite all: while this is asked it is not over.
    const progress = Math.min(0xffff, Math.floor(done * 0x10000));
    return { key: SenseKey.NotReady, code: Asc.SanitizeInProgress, progress };
  }

  /** Starts a job for a SANITIZE command, and ends its execution: when it has begun (`immediate`), or has ended. */
  start(execution: Execution, job: SanitizeJob, immediate: boolean): void {
    assert(!this.running);
    const before = this.#job;
    this.#job = job;
    // What it held up is now refused, rather than held up until the last block is done.
    this.#unit.tasks.demote(execution);
    this.#unit.releaseBlocked(execution.nexus);
    this.#unit.device.saveMetadata(SANITIZE_KEY, encodeJob(job), (status) => {
      if (status !== IoStatus.Ok) {
        // Nothing was touched: the unit is as it was.
        this.#job = before;
        execution.failIo(status);
        return;
      }
      this.#execution = immediate ? null : execution;
      this.#begin();
      if (immediate) execution.good();
    });
  }

  /** EXIT FAILURE MODE. */
  exitFailureMode(execution: Execution): void {
    assert(this.mayExitFailureMode);
    this.#unit.device.saveMetadata(SANITIZE_KEY, null, (status) => {
      if (status !== IoStatus.Ok) {
        execution.failIo(status);
        return;
      }
      this.#job = null;
      execution.good();
    });
  }

  #begin(): void {
    const job = this.#job;
    assert(job !== null && !job.failed && this.#inFlight === 0);
    this.#status = IoStatus.Ok;
    this.#next = job.lba;
    this.#sinceCheckpointBytes = 0;
    if (job.action === 'overwrite') this.#takeBuffer();
    else this.#issue();
  }

  #takeBuffer(): void {
    const { pool } = this.#unit.buffers;
    const buffer = pool.allocate(OVERWRITE_CHUNK_BYTES) ?? pool.allocate(MIN_BUFFER_BYTES);
    if (buffer === null) {
      pool.whenFreed(() => this.#takeBuffer());
      return;
    }
    this.#buffer = buffer;
    this.#fillPattern();
    this.#issue();
  }

  /** Each block begins with the pattern anew (SBC-4 §5.30.2.3); every other pass inverts it if asked to. */
  #fillPattern(): void {
    const job = this.#job!;
    const { bytes } = this.#buffer!;
    const blockBytes = this.#unit.device.geometry.logicalBlockBytes;
    const inverted = job.invert && job.pass % 2 === 1;
    const pattern = inverted ? Buffer.from(job.pattern.map((byte) => byte ^ 0xff)) : job.pattern;
    for (let at = 0; at < bytes.length; at += blockBytes) bytes.fill(pattern, at, at + blockBytes);
  }

  #chunkBlocks(): number {
    const chunkBytes = this.#buffer === null ? ERASE_CHUNK_BYTES : this.#buffer.capacityBytes;
    return chunkBytes / this.#unit.device.geometry.logicalBlockBytes;
  }

  #issue(): void {
    // Operations that end at once would recurse, as deep as the device is large.
    if (this.#issuing) return;
    this.#issuing = true;
    const { device } = this.#unit;
    const job = this.#job!;
    while (this.#status === IoStatus.Ok && this.#sinceCheckpointBytes < CHECKPOINT_BYTES) {
      // Read each time: a device that grows meanwhile is sanitized to its new end.
      const { blocks, logicalBlockBytes } = device.geometry;
      const op = this.#next < blocks ? this.#freeOps.pop() : undefined;
      if (op === undefined) break;
      const chunk = Math.min(this.#chunkBlocks(), blocks - this.#next);
      const kind = job.action === 'overwrite' ? BlockOpKind.Write : BlockOpKind.Unmap;
      this.#inFlight += 1;
      const lba = this.#next;
      this.#next += chunk;
      this.#sinceCheckpointBytes += chunk * logicalBlockBytes;
      device.submit(op.begin(kind, lba, chunk, this.#buffer, 0, false, this));
    }
    this.#issuing = false;
    if (this.#inFlight === 0) this.#checkpoint();
  }

  onBlockDone(op: BlockOp, status: IoStatus): void {
    this.#inFlight -= 1;
    assert(this.#inFlight >= 0);
    if (op.kind === BlockOpKind.Flush) {
      this.#flushed(status);
      return;
    }
    this.#freeOps.push(op);
    if (status !== IoStatus.Ok && this.#status === IoStatus.Ok) this.#status = status;
    // Progress may run ahead of an operation or two: what is saved is only `#next` with none in flight.
    const job = this.#job!;
    job.lba = Math.max(job.lba, op.lba);
    this.#letGoOfAborted();
    this.#issue();
  }

  /** SANITIZE goes on when its task is aborted (SBC-4 §4.11.2): the task alone ends. */
  #letGoOfAborted(): void {
    const execution = this.#execution;
    if (execution?.aborted !== true) return;
    this.#execution = null;
    execution.stop();
  }

  /** With nothing in flight: makes what was done durable, and goes on from there. */
  #checkpoint(): void {
    assert(this.#inFlight === 0);
    this.#inFlight = 1;
    this.#unit.device.submit(this.#flushOp.begin(BlockOpKind.Flush, 0, 0, null, 0, false, this));
  }

  #flushed(status: IoStatus): void {
    const job = this.#job!;
    if (this.#status === IoStatus.Ok) this.#status = status;
    if (this.#status !== IoStatus.Ok) {
      this.#fail();
      return;
    }
    job.lba = this.#next;
    if (this.#next >= this.#unit.device.geometry.blocks) {
      job.pass += 1;
      job.lba = 0;
      this.#next = 0;
    }
    const finished = job.pass >= job.passes;
    this.#unit.device.saveMetadata(SANITIZE_KEY, finished ? null : encodeJob(job), (saved) => {
      if (saved !== IoStatus.Ok) {
        this.#status = saved;
        this.#fail();
      } else if (finished) {
        this.#finish();
      } else {
        this.#sinceCheckpointBytes = 0;
        if (this.#buffer !== null) this.#fillPattern();
        this.#letGoOfAborted();
        this.#issue();
      }
    });
  }

  #finish(): void {
    this.#job = null;
    this.#dropBuffer();
    const execution = this.#execution;
    this.#execution = null;
    execution?.good();
  }

  #fail(): void {
    const job = this.#job!;
    this.#dropBuffer();
    const execution = this.#execution;
    this.#execution = null;
    // A device that closes has interrupted the operation, as a power cut does: what is saved says "in progress", and
    // the next to open it goes on. A failure would shut hosts out until someone sanitizes anew (SBC-4 §4.11.4).
    if (this.#status === IoStatus.Offline) {
      execution?.failIo(IoStatus.Offline);
      return;
    }
    job.failed = true;
    // If this cannot be saved, what is saved says "in progress": the restart tries again, which is as good.
    this.#unit.device.saveMetadata(SANITIZE_KEY, encodeJob(job), nobodyWaits);
    execution?.failWith(SenseKey.MediumError, Asc.SanitizeCommandFailed);
  }

  #dropBuffer(): void {
    this.#buffer?.release();
    this.#buffer = null;
  }
}

export function sanitizerOf(unit: LogicalUnit): Sanitizer {
  const { sanitize } = unit;
  assert(sanitize instanceof Sanitizer, 'the unit was made without sanitize');
  return sanitize;
}

/** What all service actions check of the CDB; ENDED, or the parameter list length. */
function prepareCommon(execution: Execution): number {
  const { cdb, lu } = execution;
  const sanitizer = sanitizerOf(lu);
  if (!lu.allowSanitize) {
    return execution.failWith(SenseKey.IllegalRequest, Asc.InvalidOperationCode);
  }
  if (sanitizer.running) return execution.fail(sanitizer.sense());
  // ZNR is for zoned media.
  if ((cdb[1]! & 0x40) !== 0) return execution.failField(1, 6);
  for (let byte = 2; byte < 7; byte += 1) {
    if (cdb[byte] !== 0) return execution.failField(byte, highestBit(cdb[byte]!));
  }
  if (lu.writeProtected) {
    return execution.failWith(
      SenseKey.DataProtect,
      lu.device.readOnly ? Asc.WriteProtected : Asc.SoftwareWriteProtected,
    );
  }
  // After a failure with AUSE=0, an operation with AUSE=1 would be a way round the restriction (SBC-4 §4.11.4).
  if ((cdb[1]! & 0x20) !== 0 && sanitizer.restricted) return execution.failField(1, 5);
  // A write that has begun must not land on a block that is done already.
  lu.tasks.promote(execution);
  return cdb.readUInt16BE(7);
}

function highestBit(byte: number): number {
  return 31 - Math.clz32(byte);
}

function prepareWithoutList(execution: Execution): number {
  const bytes = prepareCommon(execution);
  if (bytes === ENDED) return ENDED;
  return bytes === 0 ? 0 : execution.failField(7);
}

/** Between `prepare` and `execute` another SANITIZE, of another nexus, may have begun. */
function refusedMeanwhile(execution: Execution): boolean {
  const sanitizer = sanitizerOf(execution.lu);
  if (!sanitizer.running) return false;
  execution.fail(sanitizer.sense());
  return true;
}

const immediate = (cdb: Buffer): boolean => (cdb[1]! & 0x80) !== 0;
const allowsExit = (cdb: Buffer): boolean => (cdb[1]! & 0x20) !== 0;

// The parameter list of OVERWRITE, SBC-4 §5.30.2.3:
//    0 INVERT (bit 7), TEST (bits 6-5), OVERWRITE COUNT (bits 4-0)    1 reserved
//    2-3 INITIALIZATION PATTERN LENGTH                               4 INITIALIZATION PATTERN
const OVERWRITE_HEADER_BYTES = 4;

const overwrite: Command = {
  opcode: 0x48,
  serviceAction: ServiceAction.Overwrite,
  name: 'SANITIZE: OVERWRITE',
  usage: [0x48, 0xa0 | ServiceAction.Overwrite, 0, 0, 0, 0, 0, 0xff, 0xff, 0x04],
  access: Access.Write,
  duringSanitize: true,
  prepare(execution) {
    const bytes = prepareCommon(execution);
    if (bytes === ENDED) return ENDED;
    const { logicalBlockBytes } = execution.lu.device.geometry;
    if (bytes <= OVERWRITE_HEADER_BYTES || bytes > OVERWRITE_HEADER_BYTES + logicalBlockBytes) {
      return execution.failField(7);
    }
    return bytes;
  },
  execute(execution) {
    if (refusedMeanwhile(execution)) return;
    const { cdb, task } = execution;
    const list = task.dataOut!.bytes.subarray(0, task.dataOutWantedBytes);
    const passes = list[0]! & 0x1f;
    const patternBytes = list.readUInt16BE(2);
    if ((list[0]! & 0x60) !== 0) {
      execution.failParameter(0, 6);
    } else if (passes === 0) {
      execution.failParameter(0, 4);
    } else if (patternBytes === 0 || patternBytes !== list.length - OVERWRITE_HEADER_BYTES) {
      execution.failParameter(2);
    } else {
      const job: SanitizeJob = {
        action: 'overwrite',
        allowUnrestrictedExit: allowsExit(cdb),
        pattern: Buffer.from(list.subarray(OVERWRITE_HEADER_BYTES)),
        invert: (list[0]! & 0x80) !== 0,
        passes,
        pass: 0,
        lba: 0,
        failed: false,
      };
      sanitizerOf(execution.lu).start(execution, job, immediate(cdb));
    }
  },
};

const blockErase: Command = {
  opcode: 0x48,
  serviceAction: ServiceAction.BlockErase,
  name: 'SANITIZE: BLOCK ERASE',
  usage: [0x48, 0xa0 | ServiceAction.BlockErase, 0, 0, 0, 0, 0, 0xff, 0xff, 0x04],
  access: Access.Write,
  duringSanitize: true,
  prepare: prepareWithoutList,
  execute(execution) {
    if (refusedMeanwhile(execution)) return;
    const job: SanitizeJob = {
      action: 'erase',
      allowUnrestrictedExit: allowsExit(execution.cdb),
      pattern: Buffer.alloc(0),
      invert: false,
      passes: 1,
      pass: 0,
      lba: 0,
      failed: false,
    };
    sanitizerOf(execution.lu).start(execution, job, immediate(execution.cdb));
  },
};

const exitFailureMode: Command = {
  opcode: 0x48,
  serviceAction: ServiceAction.ExitFailureMode,
  name: 'SANITIZE: EXIT FAILURE MODE',
  usage: [0x48, 0xa0 | ServiceAction.ExitFailureMode, 0, 0, 0, 0, 0, 0xff, 0xff, 0x04],
  access: Access.Write,
  duringSanitize: true,
  prepare: prepareWithoutList,
  execute(execution) {
    if (refusedMeanwhile(execution)) return;
    const sanitizer = sanitizerOf(execution.lu);
    if (!sanitizer.active) execution.good();
    else if (sanitizer.mayExitFailureMode) sanitizer.exitFailureMode(execution);
    else execution.failField(1, 4);
  },
};

/** CRYPTOGRAPHIC ERASE is not among them: there are no keys to forget. */
export const sanitizeCommands: readonly Command[] = [overwrite, blockErase, exitFailureMode];
