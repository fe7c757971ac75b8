// The task set of a logical unit, one for all nexuses (TST=000b), and the order it imposes (SAM-5 §8): SIMPLE tasks run
// as they come; an ORDERED task waits for all that are older and holds up all that are younger; a HEAD OF QUEUE task
// waits for none and holds up those that have not begun.
//
// Order is kept among the tasks of one nexus. In which order tasks of two nexuses arrived is nothing that a host can
// know, so nobody misses more; and an ORDERED task whose data never comes holds up no other host (T12).
//
// So the tasks of each nexus have a chain of their own, and what one host sends in ORDERED costs the others nothing.
import { assert } from '../base/index.ts';
import { type Execution, ExecutionState } from './execution.ts';
import type { NexusState } from './nexus-state.ts';
import { type ScsiTask, TaskAttribute } from './task.ts';

export class TaskSet {
  #first: Execution | null = null;
  #last: Execution | null = null;
  #size = 0;
  /** Tasks that `promote` made barriers between all nexuses. */
  #exclusives = 0;
  #blocked = 0;
  #paused = 0;
  #releasing = false;
  /** Whose tasks are being released; null: anybody's. */
  #releasingOf: NexusState | null = null;
  /** Tasks of any nexus may have come free, not only of the one whose task ended. */
  #ofAll = false;

  get size(): number {
    return this.#size;
  }

  get first(): Execution | null {
    return this.#first;
  }

  admit(execution: Execution): void {
    execution.previous = this.#last;
    execution.next = null;
    if (this.#last === null) this.#first = execution;
    else this.#last.next = execution;
    this.#last = execution;
    const { nexus } = execution;
    execution.previousOfNexus = nexus.lastTask;
    execution.nextOfNexus = null;
    if (nexus.lastTask === null) nexus.firstTask = execution;
    else nexus.lastTask.nextOfNexus = execution;
    nexus.lastTask = execution;
    this.#size += 1;
    if (isBarrier(execution)) nexus.barriers += 1;
  }

  remove(execution: Execution): void {
    const { nexus, previous, next, previousOfNexus, nextOfNexus } = execution;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    execution.previous = null;
    execution.next = null;
    if (previousOfNexus === null) nexus.firstTask = nextOfNexus;
    else previousOfNexus.nextOfNexus = nextOfNexus;
    if (nextOfNexus === null) nexus.lastTask = previousOfNexus;
    else nextOfNexus.previousOfNexus = previousOfNexus;
    execution.previousOfNexus = null;
    execution.nextOfNexus = null;
    this.#size -= 1;
    assert(this.#size >= 0);
    if (isBarrier(execution)) nexus.barriers -= 1;
    // One that is exclusive may have waited for it.
    if (this.#exclusives > 0) this.#ofAll = true;
    this.demote(execution);
  }

  /**
   * Makes an admitted task a barrier between all nexuses: it begins when all that are older have ended, and none that is
   * younger begins before it, HEAD OF QUEUE or not. For commands that must not run beside others.
   */
  promote(execution: Execution): void {
    if (!execution.exclusive) this.#exclusives += 1;
    execution.exclusive = true;
  }

  /** Ends what `promote` began: the task has begun, and the younger ones need not wait for its end. */
  demote(execution: Execution): void {
    if (!execution.exclusive) return;
    execution.exclusive = false;
    this.#exclusives -= 1;
    this.#ofAll = true;
  }

  /** See ScsiTarget.enable. */
  enable(execution: Execution): boolean {
    execution.enabled ||= this.#mayRun(execution);
    return execution.enabled;
  }

  /** True when the task may begin; else it is Blocked, and `release` will find it. */
  enter(execution: Execution): boolean {
    if (execution.enabled || this.#mayRun(execution)) return true;
    execution.state = ExecutionState.Blocked;
    this.#blocked += 1;
    return false;
  }

  /** A Blocked task ends without having begun. */
  leaveBlocked(): void {
    this.#blocked -= 1;
    assert(this.#blocked >= 0);
  }

  /** Until `resume`, no Blocked task begins: an abort ends many as if at once. */
  pause(): void {
    this.#paused += 1;
  }

  resume(): void {
    this.#paused -= 1;
    assert(this.#paused >= 0);
  }

  /** After a task of `nexus`, or of several (null), has left: begins, oldest first, all Blocked tasks that now may. */
  release(nexus: NexusState | null, run: (execution: Execution) => void): void {
    if (this.#blocked === 0) {
      this.#ofAll = false;
      return;
    }
    const passing = this.#releasing || this.#paused > 0;
    if (nexus === null || (passing && nexus !== this.#releasingOf)) this.#ofAll = true;
    if (passing) return;
    this.#releasing = true;
    this.#releasingOf = nexus;
    // What begins may end at once, and make room for more: until a pass finds nothing.
    while (this.#blocked > 0 && this.#paused === 0) {
      const ready = this.#ready(nexus);
      if (ready.length === 0) break;
      for (const [execution, task] of ready) {
        // Another that began may have ended it; the object may even serve another task by now.
        if (task.execution !== execution || execution.state !== ExecutionState.Blocked) continue;
        this.#blocked -= 1;
        run(execution);
      }
    }
    this.#releasing = false;
    this.#releasingOf = null;
  }

  /** The Blocked tasks that now may begin: of one nexus, or of all where that may make a difference. */
  #ready(nexus: NexusState | null): [Execution, ScsiTask][] {
    const ready: [Execution, ScsiTask][] = [];
    const all = this.#ofAll || nexus === null;
    this.#ofAll = false;
    for (let at = all ? this.#first : nexus.firstTask; at !== null; ) {
      if (at.state === ExecutionState.Blocked && this.#mayRun(at)) ready.push([at, at.task]);
      at = all ? at.next : at.nextOfNexus;
    }
    return ready;
  }

  #mayRun(execution: Execution): boolean {
    if (this.#exclusives > 0 && this.#waitsForExclusive(execution)) return false;
    const { nexus } = execution;
    if (nexus.barriers === 0) return true;
    const { attribute } = execution.task;
    if (attribute === TaskAttribute.HeadOfQueue) return true;
    let older = true;
    for (let other = nexus.firstTask; other !== null; other = other.nextOfNexus) {
      if (other === execution) {
        older = false;
        continue;
      }
      if (other.task.attribute === TaskAttribute.HeadOfQueue) return false;
      if (!older) continue;
      if (attribute === TaskAttribute.Ordered) return false;
      if (other.task.attribute === TaskAttribute.Ordered) return false;
    }
    return true;
  }

  #waitsForExclusive(execution: Execution): boolean {
    for (let other = execution.previous; other !== null; other = other.previous) {
      if (execution.exclusive || other.exclusive) return true;
    }
    return false;
  }
}

function isBarrier(execution: Execution): boolean {
  const { attribute } = execution.task;
  return attribute === TaskAttribute.Ordered || attribute === TaskAttribute.HeadOfQueue;
}
