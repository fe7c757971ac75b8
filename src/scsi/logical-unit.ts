// A logical unit: a block device with a command table, a task set, mode pages, and the memory of each nexus that uses
// it. It admits tasks, decides whether they may run, and undoes them for task management.
import { assert } from '../base/index.ts';
import type { BlockDevice, IoStatus } from '../block/index.ts';
import type { AnswerShare } from './answer-share.ts';
import type { BufferQueue } from './buffer-queue.ts';
import { type CommandTable, ENDED } from './command.ts';
import { type AbortWaiter, Execution, ExecutionState } from './execution.ts';
import {
  nothingReserved,
  nothingSanitized,
  type ReservationHooks,
  type SanitizeHooks,
} from './hooks.ts';
import { type Identity, identityOf } from './identity.ts';
import { MAX_TASKS_PER_UNIT } from './limits.ts';
import { ModePages } from './mode-pages.ts';
import { NexusState } from './nexus-state.ts';
import type { SpaceSource } from './provisioning.ts';
import { Asc, SenseKey } from './sense.ts';
import { type Nexus, ScsiStatus, type ScsiTask, TaskAttribute } from './task.ts';
import { TaskSet } from './task-set.ts';

/** What a logical unit sees of the target device that it belongs to. */
export interface TargetFace {
  /** The iSCSI name. */
  readonly name: string;
  /** In rising order. */
  luns(): readonly number[];
  /** Whether the unit has not been taken away. */
  has(unit: LogicalUnit): boolean;
  /** All logical units an EXTENDED COPY may name: of this target, and of others if the daemon says so. */
  copyCandidates(): Iterable<LogicalUnit>;
}

/** What is writing here by many operations, or about to: EXTENDED COPY, whose task may be in the task set of another unit. */
export interface Visitor {
  readonly nexus: Nexus;
  /** Stops it. `waiter` hears when nothing of it can land here any more (C6), perhaps at once; its own unit answers it. */
  evict(waiter: AbortWaiter): void;
  /** `waiter` hears when the writes that it has under way here have ended. False: there are none, and it hears nothing. */
  awaitWrites(waiter: AbortWaiter): boolean;
}

export interface LogicalUnitOptions {
  readonly device: BlockDevice;
  /** The volume's UUID. */
  readonly uuid: string;
  readonly commands: CommandTable;
  readonly buffers: BufferQueue;
  readonly target: TargetFace;
  readonly lun: number;
  /** SANITIZE destroys: it is refused unless allowed. */
  readonly allowSanitize: boolean;
  /** Null: it offers no thresholds of thin provisioning. */
  readonly space: SpaceSource | null;
}

/** Free executions, shared by the units of a target. */
export class ExecutionPool {
  #free: Execution | null = null;

  take(): Execution {
    const execution = this.#free;
    if (execution === null) return new Execution();
    this.#free = execution.next;
    execution.next = null;
    return execution;
  }

  give(execution: Execution): void {
    execution.next = this.#free;
    this.#free = execution;
  }
}

export class LogicalUnit {
  readonly device: BlockDevice;
  readonly identity: Identity;
  readonly commands: CommandTable;
  readonly buffers: BufferQueue;
  readonly target: TargetFace;
  readonly lun: number;
  readonly allowSanitize: boolean;
  /** Null: hosts hear nothing of how much space there is. */
  readonly space: SpaceSource | null;
  readonly tasks = new TaskSet();
  readonly visitors = new Set<Visitor>();
  readonly modePages: ModePages;
  /** Plugged in after construction, before the first task. */
  reservations: ReservationHooks = nothingReserved;
  sanitize: SanitizeHooks = nothingSanitized;
  readonly #nexuses = new Map<Nexus, NexusState>();
  readonly #pool: ExecutionPool;
  #spaceLow = false;
  #lastNexus: NexusState | null = null;
  /** Whose MODE SELECT is turning the write cache on or off. */
  #cacheChanger: NexusState | null = null;

  constructor(options: LogicalUnitOptions, pool: ExecutionPool) {
    this.device = options.device;
    this.identity = identityOf(options.uuid);
    this.commands = options.commands;
    this.buffers = options.buffers;
    this.target = options.target;
    this.lun = options.lun;
    this.allowSanitize = options.allowSanitize;
    this.space = options.space;
    this.#pool = pool;
    this.modePages = new ModePages(options.device, options.space);
    options.device.listen({
      onResized: () => this.attentionToAll(Asc.CapacityDataChanged),
      onWriteCacheChanged: () => this.#writeCacheChanged(),
    });
  }

  /** D_SENSE of the control mode page. */
  get descriptorSense(): boolean {
    return this.modePages.descriptorSense;
  }

  /** True when the medium may not be written, by its nature or by SWP. */
  get writeProtected(): boolean {
    return this.modePages.softwareWriteProtect || this.device.readOnly;
  }

  /** For a MODE SELECT of `by`. */
  setWriteCache(enabled: boolean, by: NexusState, done: (status: IoStatus) => void): void {
    this.#cacheChanger = by;
    this.device.setWriteCache(enabled, (status) => {
      this.#cacheChanger = null;
      done(status);
    });
  }

  /** Whoever changed it: a host that takes the cache for off sends no flush, and must hear that it is on (C9). */
  #writeCacheChanged(): void {
    for (const state of this.#nexuses.values()) {
      if (state !== this.#cacheChanger) state.attentions.add(Asc.ModeParametersChanged);
    }
  }

  // Nexuses and unit attentions.

  attach(nexus: Nexus, answers: AnswerShare): void {
    assert(!this.#nexuses.has(nexus));
    const state = new NexusState(nexus, answers);
    this.#nexuses.set(nexus, state);
    state.attentions.add(Asc.PowerOnResetOrBusDeviceReset);
    if (this.#spaceLow) state.attentions.add(Asc.ThinProvisioningSoftThresholdReached);
  }

  /**
   * The space behind the unit has become scarce, or is no longer: SBC-4 §4.7.3.8. Each nexus hears of it once, those that
   * come later at their login, and all again when it becomes scarce again.
   */
  setSpaceLow(low: boolean): void {
    if (low && !this.#spaceLow) this.attentionToAll(Asc.ThinProvisioningSoftThresholdReached);
    this.#spaceLow = low;
  }

  /** Forgets a nexus whose tasks have all ended. */
  detach(nexus: Nexus): void {
    const state = this.#nexuses.get(nexus);
    if (state === undefined) return;
    this.#nexuses.delete(nexus);
    if (this.#lastNexus === state) this.#lastNexus = null;
    this.reservations.nexusLost(state);
  }

  /** I_T nexus loss that the nexus survives (I_T NEXUS RESET); its tasks have ended. */
  nexusReset(nexus: Nexus): void {
    const state = this.#nexuses.get(nexus);
    if (state === undefined) return;
    this.reservations.nexusLost(state);
    state.preventsRemoval = false;
    state.attentions.add(Asc.NexusLoss);
  }

  nexuses(): Iterable<NexusState> {
    return this.#nexuses.values();
  }

  /** The state of an attached nexus, or null. */
  nexusState(nexus: Nexus): NexusState | null {
    if (this.#lastNexus?.nexus === nexus) return this.#lastNexus;
    const state = this.#nexuses.get(nexus) ?? null;
    if (state !== null) this.#lastNexus = state;
    return state;
  }

  attentionToAll(code: number): void {
    for (const state of this.#nexuses.values()) state.attentions.add(code);
  }

  attentionToOthers(than: NexusState, code: number): void {
    for (const state of this.#nexuses.values()) if (state !== than) state.attentions.add(code);
  }

  /** To the nexuses of one initiator port: persistent reservations know ports, not sessions. */
  attentionToPort(initiatorPort: string, code: number): void {
    for (const state of this.#nexuses.values()) {
      if (state.nexus.initiatorPort === initiatorPort) state.attentions.add(code);
    }
  }

  // The life of a task.

  /** ScsiTarget.prepare, for a task of this unit. */
  prepare(task: ScsiTask): boolean {
    const nexus = this.nexusState(task.nexus);
    assert(nexus !== null, 'a task of a nexus that is not attached');
    assert(task.cdb.length >= 16);
    const execution = this.#pool.take().begin(task, this, nexus);
    this.tasks.admit(execution);
    const cdb = task.cdb;
    const command = this.commands.find(cdb[0]!, cdb[1]!);
    execution.command = command;

    // RESERVATION CONFLICT and TASK SET FULL go before any CHECK CONDITION (SAM-5 §5.3.3).
    if (this.tasks.size > MAX_TASKS_PER_UNIT) {
      execution.endWith(ScsiStatus.TaskSetFull);
      return false;
    }
    if (this.reservations.active && command !== null && this.reservations.conflicts(execution)) {
      execution.endWith(ScsiStatus.ReservationConflict);
      return false;
    }
    if (nexus.attentions.pending && command?.duringUnitAttention !== true) {
      execution.failWith(SenseKey.UnitAttention, nexus.attentions.take());
      return false;
    }
    if (command === null) {
      this.#failUnknown(execution);
      return false;
    }
    if (this.sanitize.active && command.duringSanitize !== true) {
      execution.fail(this.sanitize.sense());
      return false;
    }
    // NACA without NORMACA (SAM-5 §5.2): the control byte ends the CDB.
    const controlByte = command.usage.length - 1;
    if ((cdb[controlByte]! & 0x04) !== 0) {
      execution.failField(controlByte, 2);
      return false;
    }
    if (task.attribute === TaskAttribute.Aca) {
      execution.failWith(SenseKey.IllegalRequest, Asc.InvalidMessage);
      return false;
    }
    if (command.prepare === undefined) return true;
    const wanted = command.prepare(execution);
    if (wanted === ENDED) return false;
    task.dataOutWantedBytes = wanted;
    return true;
  }

  /** ScsiTarget.execute. */
  execute(execution: Execution): void {
    assert(execution.state === ExecutionState.Prepared);
    const { task } = execution;
    const missing = task.dataOutBytes < task.dataOutWantedBytes;
    if (missing && (execution.command!.shortDataOut !== true || !task.writes)) {
      // Data that was never sent cannot be written, and half a write is none: nothing is applied (T12). The same goes for
      // a command that writes and was announced as one that reads.
      execution.state = ExecutionState.Running;
      execution.failWith(SenseKey.IllegalRequest, Asc.InvalidFieldInCommandInformationUnit);
      return;
    }
    if (this.tasks.enter(execution)) this.#run(execution);
  }

  #run(execution: Execution): void {
    execution.state = ExecutionState.Running;
    if (!this.refuses(execution)) execution.command!.execute(execution);
  }

  /**
   * What was reserved or sanitized while the data was on the way, or a buffer was waited for, counts: fencing must be
   * exact. True: ended.
   */
  refuses(execution: Execution): boolean {
    if (this.reservations.active && this.reservations.conflicts(execution)) {
      execution.endWith(ScsiStatus.ReservationConflict);
      return true;
    }
    if (this.sanitize.active && execution.command!.duringSanitize !== true) {
      execution.fail(this.sanitize.sense());
      return true;
    }
    return false;
  }

  #failUnknown(execution: Execution): void {
    if (this.commands.hasServiceActions(execution.cdb[0]!)) execution.failField(1, 4);
    else execution.failWith(SenseKey.IllegalRequest, Asc.InvalidOperationCode);
  }

  /** The execution's own: it has ended. */
  onExecutionEnded(execution: Execution): void {
    this.tasks.remove(execution);
    this.#pool.give(execution);
  }

  /** The execution's own: its owner has heard. */
  afterExecution(nexus: NexusState, checkCondition: boolean): void {
    // QERR, SPC-4 §7.5.8: 01b ends all tasks of the set, 11b those of the nexus.
    if (checkCondition && this.modePages.queueErrorManagement !== 0) {
      const all = this.modePages.queueErrorManagement === 1;
      this.abortAndTell((other) => all || other.nexus === nexus, nexus);
    }
    this.tasks.release(nexus, this.#runBlocked);
  }

  /** A barrier of `nexus` was demoted: begins what it held up. */
  releaseBlocked(nexus: NexusState): void {
    this.tasks.release(nexus, this.#runBlocked);
  }

  readonly #runBlocked = (execution: Execution): void => this.#run(execution);

  // Aborts.

  /**
   * Aborts the tasks that `select` picks, for `by` (null: for the unit itself, everyone is another). Tasks of other
   * nexuses are answered TASK ABORTED if TAS is set. Returns how many have not ended yet: `waiter` hears of each.
   */
  abort(
    select: (execution: Execution) => boolean,
    by: NexusState | null,
    waiter: AbortWaiter | null,
  ): number {
    // Ending one task may end others, and must not begin any of those picked: pick first, look again before each.
    const picked: [Execution, ScsiTask][] = [];
    for (let at = this.tasks.first; at !== null; at = at.next) {
      if (select(at)) picked.push([at, at.task]);
    }
    let running = 0;
    this.tasks.pause();
    for (const [execution, task] of picked) {
      if (task.execution !== execution) continue;
      const tell = this.modePages.taskAbortedStatus && execution.nexus !== by;
      if (!execution.abort(tell, waiter)) running += 1;
    }
    this.tasks.resume();
    this.tasks.release(null, this.#runBlocked);
    return running;
  }

  /**
   * As `abort`; without TAS the other nexuses that lost tasks hear 06h/2Fh/00h (SAM-5 §5.6). For CLEAR TASK SET, QERR
   * and PREEMPT AND ABORT.
   */
  abortAndTell(
    select: (execution: Execution) => boolean,
    by: NexusState,
    waiter: AbortWaiter | null = null,
  ): number {
    const bereft = new Set<NexusState>();
    const running = this.abort(
      (execution) => {
        if (!select(execution)) return false;
        if (execution.nexus !== by) bereft.add(execution.nexus);
        return true;
      },
      by,
      waiter,
    );
    if (!this.modePages.taskAbortedStatus) {
      for (const state of bereft) state.attentions.add(Asc.CommandsClearedByAnotherInitiator);
    }
    return running;
  }

  /**
   * `waiter` hears of the end of each task that is changing the device now, of those nexuses; no limit holds these back any
   * more. Returns how many, those that ended meanwhile among them.
   */
  awaitChanges(select: (nexus: Nexus) => boolean, waiter: AbortWaiter): number {
    const changing: [Execution, ScsiTask][] = [];
    for (let at = this.tasks.first; at !== null; at = at.next) {
      if (!at.changing || !select(at.nexus.nexus)) continue;
      at.whenEnded(waiter);
      changing.push([at, at.task]);
    }
    // The end of one may end others.
    for (const [execution, task] of changing) {
      if (task.execution === execution) execution.hasten();
    }
    let running = changing.length;
    for (const visitor of this.visitors) {
      if (select(visitor.nexus) && visitor.awaitWrites(waiter)) running += 1;
    }
    return running;
  }

  /** Stops the visitors of the nexuses that `select` picks. Returns as `abort`. */
  evict(select: (nexus: Nexus) => boolean, waiter: AbortWaiter): number {
    let running = 0;
    for (const visitor of [...this.visitors]) {
      if (!select(visitor.nexus)) continue;
      visitor.evict(waiter);
      running += 1;
    }
    return running;
  }

  /** Finds a task by its tag, for ABORT TASK and QUERY TASK. */
  findTask(nexus: Nexus, tag: number): Execution | null {
    const state = this.nexusState(nexus);
    for (let at = state?.firstTask ?? null; at !== null; at = at.nextOfNexus) {
      if (at.task.tag === tag) return at;
    }
    return null;
  }

  /** True when the nexus has a task in the set. */
  hasTasks(nexus: Nexus): boolean {
    return (this.nexusState(nexus)?.firstTask ?? null) !== null;
  }

  /** Logical unit reset, SAM-5 §6.3.3; `attention` says how it came about. Returns as `abort`. */
  reset(by: NexusState | null, attention: number, waiter: AbortWaiter): number {
    const running = this.abort(() => true, by, waiter) + this.evict(() => true, waiter);
    this.reservations.reset();
    this.modePages.reset();
    for (const state of this.#nexuses.values()) {
      state.preventsRemoval = false;
      state.attentions.add(attention);
    }
    return running;
  }
}
