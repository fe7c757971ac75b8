// The SCSI target device: the logical units behind one target name, and the task router in front of them.
import { assert, type Turn } from '../base/index.ts';
import type { BlockDevice, DataBufferPool } from '../block/index.ts';
import { executeAbsent } from './absent-unit.ts';
import { AnswerShare } from './answer-share.ts';
import { BufferQueue } from './buffer-queue.ts';
import { diskCommands, plugHooks } from './commands/index.ts';
import { type AbortWaiter, Execution } from './execution.ts';
import { MAX_UNITS_PER_TARGET } from './limits.ts';
import { ExecutionPool, LogicalUnit, type TargetFace } from './logical-unit.ts';
import { MAX_LUN } from './lun.ts';
import type { SpaceSource } from './provisioning.ts';
import { Asc } from './sense.ts';
import {
  type Nexus,
  ScsiStatus,
  type ScsiTarget,
  type ScsiTask,
  TaskManagement,
  type TaskManagementRequest,
  TaskManagementResponse,
} from './task.ts';

export interface ScsiTargetOptions {
  /** The iSCSI name. */
  readonly name: string;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  /** SANITIZE is refused unless allowed. Default: refused. */
  readonly allowSanitize?: boolean;
  /** Of the space behind its units; without it they offer no thresholds. */
  readonly space?: SpaceSource;
  /** Logical units of other targets of this daemon that EXTENDED COPY may name. Default: none. */
  readonly copyCandidates?: () => Iterable<LogicalUnit>;
}

/** Marks a task for a LUN where no unit is: it is answered in `execute`, and in no task set. */
const ABSENT = Symbol('absent unit');

export class ScsiTargetDevice implements ScsiTarget, TargetFace {
  readonly name: string;
  readonly #options: ScsiTargetOptions;
  readonly #buffers: BufferQueue;
  readonly #executions = new ExecutionPool();
  readonly #nexuses = new Map<Nexus, AnswerShare>();
  /** By LUN; sparse. */
  readonly #units: (LogicalUnit | undefined)[] = [];
  #luns: readonly number[] = [];
  #spaceLow = false;

  constructor(options: ScsiTargetOptions) {
    this.name = options.name;
    this.#options = options;
    this.#buffers = new BufferQueue(options.buffers, options.turn);
  }

  /** Shows `device` at `lun`. `uuid` is the volume's, and becomes the unit's identity. */
  addUnit(lun: number, device: BlockDevice, uuid: string): LogicalUnit {
    assert(Number.isInteger(lun) && lun >= 0 && lun <= MAX_LUN && this.#units[lun] === undefined);
    assert(this.#luns.length < MAX_UNITS_PER_TARGET);
    const unit = new LogicalUnit(
      {
        device,
        uuid,
        commands: diskCommands,
        buffers: this.#buffers,
        target: this,
        lun,
        allowSanitize: this.#options.allowSanitize ?? false,
        space: this.#options.space ?? null,
      },
      this.#executions,
    );
    plugHooks(unit);
    this.#units[lun] = unit;
    this.#luns = [...this.#luns, lun].sort((a, b) => a - b);
    unit.setSpaceLow(this.#spaceLow);
    for (const [nexus, answers] of this.#nexuses) unit.attach(nexus, answers);
    this.#inventoryChanged(unit);
    return unit;
  }

  /** Takes a unit away: its tasks are aborted; `done` when none of them can take effect any more. */
  removeUnit(lun: number, done: () => void): void {
    const unit = this.#units[lun];
    assert(unit !== undefined);
    this.#units[lun] = undefined;
    this.#luns = this.#luns.filter((other) => other !== lun);
    this.#inventoryChanged(null);
    const count = new Countdown(done);
    count.add(unit.abort(() => true, null, count));
    count.add(unit.evict(() => true, count));
    count.seal();
  }

  /** See LogicalUnit.setSpaceLow: of all its units, those to come too. */
  setSpaceLow(low: boolean): void {
    this.#spaceLow = low;
    for (const lun of this.#luns) this.#units[lun]!.setSpaceLow(low);
  }

  /** C8: what was acknowledged may be lost. Every nexus that is there hears of a reset; those to come do at their login. */
  declareLoss(): void {
    for (const lun of this.#luns) {
      this.#units[lun]!.attentionToAll(Asc.PowerOnResetOrBusDeviceReset);
    }
  }

  luns(): readonly number[] {
    return this.#luns;
  }

  unit(lun: number): LogicalUnit | null {
    return (lun >= 0 ? this.#units[lun] : undefined) ?? null;
  }

  has(unit: LogicalUnit): boolean {
    return this.#units[unit.lun] === unit;
  }

  *copyCandidates(): Iterable<LogicalUnit> {
    for (const lun of this.#luns) yield this.#units[lun]!;
    const others = this.#options.copyCandidates?.() ?? [];
    for (const unit of others) if (unit.target !== this) yield unit;
  }

  attachNexus(nexus: Nexus): void {
    assert(!this.#nexuses.has(nexus));
    const answers = new AnswerShare(this.#options.turn);
    this.#nexuses.set(nexus, answers);
    for (const lun of this.#luns) this.#units[lun]!.attach(nexus, answers);
  }

  detachNexus(nexus: Nexus, done: () => void): void {
    this.#nexuses.delete(nexus);
    const units = this.#luns.map((lun) => this.#units[lun]!);
    const count = new Countdown(done);
    for (const unit of units) {
      // A reservation is let go only when nothing that ran under it can still land.
      count.finally(() => unit.detach(nexus));
      count.add(unit.abort((one) => one.task.nexus === nexus, unit.nexusState(nexus), count));
    }
    count.seal();
  }

  prepare(task: ScsiTask): boolean {
    const unit = task.lun >= 0 ? this.#units[task.lun] : undefined;
    if (unit !== undefined) return unit.prepare(task);
    task.execution = ABSENT;
    return true;
  }

  enable(task: ScsiTask): boolean {
    const { execution } = task;
    return !(execution instanceof Execution) || execution.lu.tasks.enable(execution);
  }

  execute(task: ScsiTask): void {
    const { execution } = task;
    if (execution instanceof Execution) {
      execution.lu.execute(execution);
      return;
    }
    assert(execution === ABSENT);
    task.execution = null;
    executeAbsent(task, this.#luns);
    task.owner.onTaskDone(task);
  }

  abandon(task: ScsiTask): void {
    const { execution } = task;
    if (execution instanceof Execution) {
      execution.abort(false, null);
      return;
    }
    assert(execution === ABSENT);
    task.execution = null;
    task.status = ScsiStatus.TaskAborted;
    task.aborted = true;
    task.owner.onTaskDone(task);
  }

  manage(request: TaskManagementRequest, done: (response: TaskManagementResponse) => void): void {
    const count = new Countdown(() => done(TaskManagementResponse.Complete));
    const response = this.#manage(request, count);
    if (response === null) count.seal();
    else done(response);
  }

  /** Begins a function; null: it is complete when `count` is. */
  #manage(request: TaskManagementRequest, count: Countdown): TaskManagementResponse | null {
    const { nexus, kind, lun, referencedTag } = request;
    const Response = TaskManagementResponse;
    switch (kind) {
      case TaskManagement.TargetWarmReset:
      case TaskManagement.TargetColdReset:
        this.#resetTarget(nexus, count);
        return null;
      case TaskManagement.ITNexusReset:
        this.#resetNexus(nexus, count);
        return null;
      case TaskManagement.TaskReassign:
        return Response.ReassignmentNotSupported;
      case TaskManagement.ClearAca: // NORMACA is zero: there is never an ACA condition.
        return Response.NotSupported;
      default:
    }
    const unit = this.unit(lun);
    if (unit === null) return Response.LunDoesNotExist;
    const state = unit.nexusState(nexus);
    assert(state !== null, 'task management of a nexus that is not attached');
    switch (kind) {
      case TaskManagement.AbortTask: {
        const execution = unit.findTask(nexus, referencedTag);
        if (execution === null) return Response.TaskDoesNotExist;
        if (!execution.abort(false, count)) count.add(1);
        return null;
      }
      case TaskManagement.AbortTaskSet:
        count.add(unit.abort((one) => one.nexus === state, state, count));
        return null;
      case TaskManagement.ClearTaskSet:
        count.add(unit.abortAndTell(() => true, state, count));
        return null;
      case TaskManagement.LogicalUnitReset:
        count.add(unit.reset(state, Asc.BusDeviceReset, count));
        return null;
      case TaskManagement.QueryTask:
        return unit.findTask(nexus, referencedTag) === null
          ? Response.Complete
          : Response.Succeeded;
      case TaskManagement.QueryTaskSet:
        return unit.hasTasks(nexus) ? Response.Succeeded : Response.Complete;
      case TaskManagement.QueryAsynchronousEvent:
        return state.attentions.pending ? Response.Succeeded : Response.Complete;
      default:
        return Response.Rejected;
    }
  }

  #resetTarget(nexus: Nexus, count: Countdown): void {
    for (const lun of this.#luns) {
      const unit = this.#units[lun]!;
      count.add(unit.reset(unit.nexusState(nexus), Asc.PowerOnResetOrBusDeviceReset, count));
    }
  }

  #resetNexus(nexus: Nexus, count: Countdown): void {
    for (const lun of this.#luns) {
      const unit = this.#units[lun]!;
      const state = unit.nexusState(nexus);
      count.add(unit.abort((one) => one.nexus === state, state, count));
      count.finally(() => unit.nexusReset(nexus));
    }
  }

  /** REPORT LUNS DATA HAS CHANGED (SPC-4 §6.33), on every unit but a new one. */
  #inventoryChanged(added: LogicalUnit | null): void {
    for (const lun of this.#luns) {
      const unit = this.#units[lun]!;
      if (unit !== added) unit.attentionToAll(Asc.ReportedLunsDataHasChanged);
    }
  }
}

/** Calls `done` once, when all aborted tasks that were running have ended: perhaps in `seal` itself. */
class Countdown implements AbortWaiter {
  readonly #last: () => void;
  readonly #steps: (() => void)[] = [];
  #left = 0;
  #ended = 0;
  #sealed = false;

  constructor(done: () => void) {
    this.#last = done;
  }

  /** Something to do at the end, before `done`. */
  finally(step: () => void): void {
    this.#steps.push(step);
  }

  add(running: number): void {
    this.#left += running;
  }

  seal(): void {
    this.#sealed = true;
    this.#check();
  }

  onAborted(): void {
    this.#ended += 1;
    if (this.#sealed) this.#check();
  }

  #check(): void {
    assert(this.#ended <= this.#left);
    if (this.#ended < this.#left) return;
    for (const step of this.#steps) step();
    this.#last();
  }
}
