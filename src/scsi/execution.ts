// One task while the device server has it: pooled, with its own block operation, so that READ and WRITE make nothing
// new. A command runs as a chain of steps, plain module functions; what they share sits in the execution's fields.
//
// Life: Prepared (admitted, its data on the way) → [Blocked behind a barrier] → Running ⇄ AwaitingBuffer → ended.
// An abort ends it at once unless it is Running: then the flag is set, and the task ends when its step comes back, as
// only then can it change nothing any more (C6). What its block operation waits for below is not waited for: it is taken back.
import { assert } from '../base/index.ts';
import {
  BlockOp,
  BlockOpKind,
  type BlockOpOwner,
  type DataBuffer,
  IoStatus,
} from '../block/index.ts';
import { type Command, ENDED } from './command.ts';
import type { LogicalUnit } from './logical-unit.ts';
import type { NexusState } from './nexus-state.ts';
import { Asc, encodeSense, type Sense, SenseKey } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';

export const ExecutionState = {
  Idle: 0,
  Prepared: 1,
  Blocked: 2,
  AwaitingBuffer: 3,
  Running: 4,
} as const;
export type ExecutionState = (typeof ExecutionState)[keyof typeof ExecutionState];

/** What goes on when a block operation ended, or a buffer came free. A module function, never a closure. */
export type Step = (execution: Execution, status: IoStatus) => unknown;

/** All ends return it, so that `prepare` may `return execution.failField(…)`. */
export type Ended = typeof ENDED;

/** Told when the last of the tasks it waits for has ended. */
export interface AbortWaiter {
  onAborted(): void;
}

const NO_SENSE = Buffer.alloc(0);

export class Execution implements BlockOpOwner {
  task!: ScsiTask;
  lu!: LogicalUnit;
  nexus!: NexusState;
  /** Null when the CDB named none. */
  command: Command | null = null;
  state: ExecutionState = ExecutionState.Idle;
  /** A barrier between all nexuses: `TaskSet.promote`. */
  exclusive = false;
  /** Nothing holds it up, nor will: `TaskSet.enable`. */
  enabled = false;
  /** Set by an abort: the command stops between two steps, with `stop`. */
  aborted = false;
  /** With `aborted`: another nexus did it and TAS is set, so TASK ABORTED is answered (SAM-5 §5.6). */
  #tellAborted = false;
  /** Another command waits for its end: no limit holds it back (`hasten`). */
  #hastened = false;
  #waiters: AbortWaiter[] | null = null;
  /** How often it has ended, whoever's task it was. */
  #ends = 0;

  /** The execution's own block operation: one in flight at a time, by `submit`. */
  readonly op = new BlockOp();
  #inFlight = false;
  #step: Step | null = null;
  #update: ((execution: Execution) => boolean) | null = null;

  // For the steps of a command, which is free in their use. `begin` resets them.
  lba = 0;
  blocks = 0;
  bytes = 0;
  done = 0;
  flag = false;
  scratch: unknown = null;
  /** Given back when the execution ends. */
  buffer: DataBuffer | null = null;

  // Links of the task set, in order of arrival, of all tasks and of those of the nexus; `next` of the pool as well.
  previous: Execution | null = null;
  next: Execution | null = null;
  previousOfNexus: Execution | null = null;
  nextOfNexus: Execution | null = null;

  begin(task: ScsiTask, lu: LogicalUnit, nexus: NexusState): this {
    assert(this.state === ExecutionState.Idle);
    this.task = task;
    this.lu = lu;
    this.nexus = nexus;
    this.command = null;
    this.state = ExecutionState.Prepared;
    this.exclusive = false;
    this.enabled = false;
    this.aborted = false;
    this.#tellAborted = false;
    this.#hastened = false;
    this.#waiters = null;
    this.lba = 0;
    this.blocks = 0;
    this.bytes = 0;
    this.done = 0;
    this.flag = false;
    this.scratch = null;
    this.buffer = null;
    task.execution = this;
    return this;
  }

  get cdb(): Buffer {
    return this.task.cdb;
  }

  // Block operations.

  /** Starts a block operation; `step` goes on from its end, perhaps before `submit` returns. */
  submit(
    kind: BlockOpKind,
    lba: number,
    blocks: number,
    data: DataBuffer | null,
    dataByteOffset: number,
    fua: boolean,
    step: Step,
  ): void {
    assert(!this.#inFlight && this.state === ExecutionState.Running);
    this.#inFlight = true;
    this.#step = step;
    const { device } = this.lu;
    device.submit(this.op.begin(kind, lba, blocks, data, dataByteOffset, fua, this));
    if (this.#hastened && this.#inFlight) device.hasten?.(this.op);
  }

  /** As `submit` for a write that a crash leaves whole or undone. */
  submitAtomic(data: DataBuffer | null, fua: boolean, step: Step): void {
    assert(!this.#inFlight && this.state === ExecutionState.Running);
    this.#inFlight = true;
    this.#step = step;
    this.op.begin(BlockOpKind.Write, this.lba, this.blocks, data, 0, fua, this);
    this.op.atomic = true;
    this.lu.device.submit(this.op);
  }

  /** As `submit` for BlockOpKind.Update: `update` changes `op.data` in place and says whether to write. */
  submitUpdate(
    kind: BlockOpKind,
    data: DataBuffer,
    fua: boolean,
    update: (execution: Execution) => boolean,
    step: Step,
  ): void {
    this.#update = update;
    this.submit(kind, this.lba, this.blocks, data, 0, fua, step);
  }

  onBlockDone(_op: BlockOp, status: IoStatus): void {
    assert(this.#inFlight);
    this.#inFlight = false;
    const step = this.#step!;
    this.#step = null;
    step(this, status);
  }

  onUpdateRead(_op: BlockOp): boolean {
    // An abort that came while the range was being read needs not write any more.
    return !this.aborted && this.#update!(this);
  }

  /** True while an operation of its own is changing the device. */
  get changing(): boolean {
    const { kind } = this.op;
    const reads = kind === BlockOpKind.Read || kind === BlockOpKind.Verify;
    return this.#inFlight && !reads && kind !== BlockOpKind.Flush;
  }

  /** What it does, and will do, is not held back by a limit any more: another command waits for its end. */
  hasten(): void {
    this.#hastened = true;
    if (this.#inFlight) this.lu.device.hasten?.(this.op);
  }

  /** `waiter` hears of its end, however that comes. */
  whenEnded(waiter: AbortWaiter): void {
    this.#waiters ??= [];
    this.#waiters.push(waiter);
  }

  // Buffers.

  /**
   * A buffer of at least `bytes`, or null: then `step` is called when there is one to be had, and asks again. Executions
   * wait in order of arrival.
   */
  takeBuffer(bytes: number, step: Step): DataBuffer | null {
    const buffer = this.lu.buffers.take(bytes, this);
    if (buffer === null) {
      this.#step = step;
      this.state = ExecutionState.AwaitingBuffer;
    }
    return buffer;
  }

  /**
   * As `takeBuffer`, for the data of the answer: within the share of the nexus, and the task's, which gives it back when
   * the last byte has left.
   */
  takeAnswerBuffer(bytes: number, step: Step): DataBuffer | null {
    const { answers } = this.nexus;
    if (!answers.admits(this, bytes)) {
      answers.wait(this);
      this.#step = step;
      this.state = ExecutionState.AwaitingBuffer;
      return null;
    }
    const buffer = this.takeBuffer(bytes, step);
    if (buffer === null) return null;
    answers.hold(buffer);
    this.task.dataIn = buffer;
    this.task.dataInHolder = answers;
    return buffer;
  }

  /** The buffer queue's: try again. */
  resume(): void {
    assert(this.state === ExecutionState.AwaitingBuffer);
    this.state = ExecutionState.Running;
    const step = this.#step!;
    this.#step = null;
    // It may have lost the right to run while it waited.
    if (!this.lu.refuses(this)) step(this, IoStatus.Ok);
  }

  // Ends. Each ends the execution: it must not be touched after.

  /** GOOD. */
  good(): Ended {
    return this.#end(ScsiStatus.Good, NO_SENSE);
  }

  /** GOOD with data, of which the initiator made room for `allocationBytes`. */
  reply(data: Buffer, allocationBytes: number): Ended {
    this.task.dataInSmall =
      data.length > allocationBytes ? data.subarray(0, allocationBytes) : data;
    this.task.dataInBytes = this.task.dataInSmall.length;
    return this.#end(ScsiStatus.Good, NO_SENSE);
  }

  /** GOOD, with the first `bytes` of `task.dataIn`. */
  replyFromBuffer(bytes: number): Ended {
    this.task.dataInBytes = bytes;
    return this.#end(ScsiStatus.Good, NO_SENSE);
  }

  /** A status without sense data: RESERVATION CONFLICT, CONDITION MET, TASK SET FULL, BUSY. */
  endWith(status: ScsiStatus): Ended {
    return this.#end(status, NO_SENSE);
  }

  /** CHECK CONDITION. */
  fail(sense: Sense): Ended {
    return this.#end(ScsiStatus.CheckCondition, encodeSense(sense, this.lu.descriptorSense));
  }

  failWith(key: SenseKey, code: number): Ended {
    return this.fail({ key, code });
  }

  /** 05h/24h/00h, pointing at the field: the first byte of it, and the left-most bit where it is less than a byte. */
  failField(byte: number, bit: number | null = null): Ended {
    const field = { inCdb: true, byte, bit };
    return this.fail({ key: SenseKey.IllegalRequest, code: Asc.InvalidFieldInCdb, field });
  }

  /** 05h/26h/00h, pointing into the parameter list. */
  failParameter(byte: number, bit: number | null = null): Ended {
    const field = { inCdb: false, byte, bit };
    return this.fail({
      key: SenseKey.IllegalRequest,
      code: Asc.InvalidFieldInParameterList,
      field,
    });
  }

  /** How a block operation's end is told to a host: the one translation of IoStatus (consistency.md C10). */
  failIo(status: IoStatus): Ended {
    switch (status) {
      case IoStatus.OutOfRange:
        return this.failWith(SenseKey.IllegalRequest, Asc.LbaOutOfRange);
      case IoStatus.NoSpace:
        return this.failWith(SenseKey.DataProtect, Asc.SpaceAllocationFailedWriteProtect);
      case IoStatus.Damaged:
        return this.fail({
          key: SenseKey.MediumError,
          code: Asc.UnrecoveredReadError,
          information: this.op.failedLba,
        });
      case IoStatus.Offline:
        // 02h/04h/00h would make hosts poll; the session is about to be closed under them (C10).
        return this.failWith(SenseKey.NotReady, Asc.LogicalUnitNotReady);
      case IoStatus.ReadOnly:
        return this.failWith(SenseKey.DataProtect, Asc.WriteProtected);
      case IoStatus.Busy:
        return this.endWith(ScsiStatus.TaskSetFull);
      case IoStatus.Ok:
      case IoStatus.Declined:
      case IoStatus.IoError:
        return this.failWith(SenseKey.HardwareError, Asc.InternalTargetFailure);
    }
  }

  /** Ends an execution that found `aborted` set between two steps. */
  stop(): Ended {
    assert(this.aborted);
    return this.#end(ScsiStatus.TaskAborted, NO_SENSE);
  }

  /**
   * Aborts. `tell`: the nexus is answered TASK ABORTED. Returns true when the execution ended by it; else it ends later,
   * and tells `waiter`.
   */
  abort(tell: boolean, waiter: AbortWaiter | null): boolean {
    if (!this.aborted) {
      this.aborted = true;
      this.#tellAborted = tell;
    }
    if (this.state === ExecutionState.Running) {
      if (this.#recall()) return true;
      if (waiter !== null) this.whenEnded(waiter);
      return false;
    }
    if (this.state === ExecutionState.AwaitingBuffer) {
      this.lu.buffers.forget(this);
      this.nexus.answers.forget(this);
    }
    if (this.state === ExecutionState.Blocked) this.lu.tasks.leaveBlocked();
    this.#end(ScsiStatus.TaskAborted, NO_SENSE);
    return true;
  }

  /** A limit may hold an operation back for long. True: it was taken back, and the execution has ended. */
  #recall(): boolean {
    if (!this.#inFlight || this.lu.device.withdraw?.(this.op) !== true) return false;
    const ends = this.#ends;
    this.onBlockDone(this.op, IoStatus.Offline); // The step ends it, as aborted.
    return this.#ends > ends;
  }

  #end(status: ScsiStatus, sense: Buffer): Ended {
    assert(this.state !== ExecutionState.Idle && !this.#inFlight);
    const { task, lu } = this;
    this.#ends += 1;
    if (this.aborted) {
      task.status = ScsiStatus.TaskAborted;
      task.sense = NO_SENSE;
      task.dataInBytes = 0;
      task.aborted = !this.#tellAborted;
    } else {
      task.status = status;
      task.sense = sense;
      if (status !== ScsiStatus.Good) task.dataInBytes = 0;
    }
    this.state = ExecutionState.Idle;
    this.scratch = null;
    this.#step = null;
    this.#update = null;
    if (this.buffer !== null) {
      this.buffer.release();
      this.buffer = null;
    }
    task.execution = null;
    const waiters = this.#waiters;
    this.#waiters = null;
    const { nexus, aborted } = this;
    lu.onExecutionEnded(this);
    // From here on the execution belongs to the pool again, and perhaps to another task.
    task.owner.onTaskDone(task);
    lu.afterExecution(nexus, !aborted && status === ScsiStatus.CheckCondition);
    if (waiters !== null) for (const waiter of waiters) waiter.onAborted();
    return ENDED;
  }
}
