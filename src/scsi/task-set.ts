// The task set of a logical unit, one for all nexuses (TST=000b), and the order it imposes (SAM-5 §8): SIMPLE tasks run
// as they come; an ORDERED task waits for all that are older and holds up all that are younger; a HEAD OF QUEUE task
// waits for none and holds up those that have not begun.
//
// Order is kept among the tasks of one nexus. In which order tasks of two nexuses arrived is nothing that a host can
// know, so nobody misses more; and an ORDERED task whose data never comes holds up no other host (T12).
import { assert } from '../base/index.ts';
import { type Execution, ExecutionState } from './execution.ts';
import { type ScsiTask, TaskAttribute } from './task.ts';

export class TaskSet {
  #first: Execution | null = null;
  #last: Execution | null = null;
  #size = 0;
  /** ORDERED and HEAD OF QUEUE tasks in the set: while there are none, nobody looks further. */
  #barriers = 0;
  #blocked = 0;
  #releasing = false;
  #paused = 0;

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
    this.#size += 1;
    if (isBarrier(execution)) this.#barriers += 1;
  }

  remove(execution: Execution): void {
    if (execution.previous === null) this.#first = execution.next;
    else execution.previous.next = execution.next;
    if (execution.next === null) this.#last = execution.previous;
    else execution.next.previous = execution.previous;
    execution.previous = null;
    execution.next = null;
    this.#size -= 1;
    assert(this.#size >= 0);
    if (isBarrier(execution)) this.#barriers -= 1;
  }

  /**
   * Makes an admitted task a barrier between all nexuses: it begins when all that are older have ended, and none that is
   * younger begins before it, HEAD OF QUEUE or not. For commands that must not run beside others.
   */
  promote(execution: Execution): void {
    if (!isBarrier(execution)) this.#barriers += 1;
    execution.exclusive = true;
  }

  /** Ends what `promote` began: the task has begun, and the younger ones need not wait for its end. */
  demote(execution: Execution): void {
    if (!execution.exclusive) return;
    execution.exclusive = false;
    if (!isBarrier(execution)) this.#barriers -= 1;
  }

  /** See ScsiTarget.enable. */
  enable(execution: Execution): boolean {
    if (execution.enabled) return true;
    execution.enabled = this.#barriers === 0 || this.#mayRun(execution);
    return execution.enabled;
  }

  /** True when the task may begin; else it is Blocked, and `release` will find it. */
  enter(execution: Execution): boolean {
    if (execution.enabled || this.#barriers === 0 || this.#mayRun(execution)) return true;
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

  /** After a task has left: begins, oldest first, all Blocked tasks that now may. */
  release(run: (execution: Execution) => void): void {
    if (this.#blocked === 0 || this.#releasing) return;
    this.#releasing = true;
    // What begins may end at once, and make room for more: until a pass finds nothing.
    while (this.#blocked > 0 && this.#paused === 0) {
      const ready: [Execution, ScsiTask][] = [];
      for (let at = this.#first; at !== null; at = at.next) {
        if (at.state === ExecutionState.Blocked && this.#mayRun(at)) ready.push([at, at.task]);
      }
      if (ready.length === 0) break;
      for (const [execution, task] of ready) {
        // Another that began may have ended it; the object may even serve another task by now.
        if (task.execution !== execution || execution.state !== ExecutionState.Blocked) continue;
        this.#blocked -= 1;
        run(execution);
      }
    }
    this.#releasing = false;
  }

  #mayRun(execution: Execution): boolean {
    const { attribute } = execution.task;
    let older = true;
    for (let other = this.#first; other !== null; other = other.next) {
      if (other === execution) {
        older = false;
        continue;
      }
      if (older && (execution.exclusive || other.exclusive)) return false;
      if (other.nexus !== execution.nexus || attribute === TaskAttribute.HeadOfQueue) continue;
      if (other.task.attribute === TaskAttribute.HeadOfQueue) return false;
      if (!older) continue;
      if (attribute === TaskAttribute.Ordered) return false;
      if (other.task.attribute === TaskAttribute.Ordered) return false;
    }
    return true;
  }
}

function isBarrier(execution: Execution): boolean {
  const { attribute } = execution.task;
  return (
    execution.exclusive ||
    attribute === TaskAttribute.Ordered ||
    attribute === TaskAttribute.HeadOfQueue
  );
}
