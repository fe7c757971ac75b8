// Task management functions, RFC 7143 §11.5 and §11.6. The device server carries them out and says when their effects
// are complete; what is the transport's is the order (CmdSN), commands that have not come yet, and the answer.
import { serialBefore } from '../base/index.ts';
import {
  TaskManagement,
  type TaskManagementRequest,
  TaskManagementResponse,
} from '../scsi/task.ts';
import { CommandState } from './command.ts';
import { MAX_TASK_MANAGEMENT } from './limits.ts';
import { BHS_BYTES, taskManagementRequest, taskManagementResponse } from './pdu/index.ts';
import type { Session } from './session.ts';

const NO_DATA: Buffer = Buffer.alloc(0);
const NO_NUMBERS = { statSn: 0, expCmdSn: 0, maxCmdSn: 0 };

/** About one unit: a LUN field that names none is answered for here. */
const OF_A_UNIT: ReadonlySet<number> = new Set([
  TaskManagement.AbortTask,
  TaskManagement.AbortTaskSet,
  TaskManagement.ClearAca,
  TaskManagement.ClearTaskSet,
  TaskManagement.LogicalUnitReset,
  TaskManagement.QueryTask,
  TaskManagement.QueryTaskSet,
  TaskManagement.QueryAsynchronousEvent,
]);
const KNOWN: ReadonlySet<number> = new Set(Object.values(TaskManagement));

export class TaskManager {
  readonly #session: Session;
  #running = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  /** One request, in its place in CmdSN order or immediate. */
  onRequest(head: Buffer, at: number): void {
    const session = this.#session;
    const pdu = taskManagementRequest.decode(head, at);
    const early = this.#answerEarly(pdu);
    if (early !== null) {
      this.#answer(pdu.itt, early);
      return;
    }
    const request: TaskManagementRequest = {
      nexus: session.nexus!,
      kind: pdu.function as TaskManagement,
      lun: pdu.lun,
      referencedTag: pdu.referencedTag,
    };
    this.#running += 1;
    session.log.debug({ function: pdu.function, lun: pdu.lun }, 'task management');
    session.scsi!.manage(request, (response) => {
      this.#running -= 1;
      if (!session.open) return;
      this.#answer(pdu.itt, response);
      if (
        pdu.function === TaskManagement.TargetColdReset &&
        response === TaskManagementResponse.Complete
      ) {
        session.coldReset();
      }
    });
  }

  /** What needs no device server. */
  #answerEarly(
    pdu: Readonly<taskManagementRequest.TaskManagementPdu>,
  ): TaskManagementResponse | null {
    if (!KNOWN.has(pdu.function)) return TaskManagementResponse.Rejected;
    // A storm of them is turned away, not queued (T12).
    if (this.#running >= MAX_TASK_MANAGEMENT) return TaskManagementResponse.Rejected;
    // §11.5: reassignment is a matter of error recovery level 2.
    if (pdu.function === TaskManagement.TaskReassign) {
      return TaskManagementResponse.ReassignmentNotSupported;
    }
    if (OF_A_UNIT.has(pdu.function) && pdu.lun < 0) return TaskManagementResponse.LunDoesNotExist;
    if (pdu.function !== TaskManagement.AbortTask) return null;

    const command = this.#session.commandOf(pdu.referencedTag);
    if (command !== null) {
      // Its answer is on the way already, and goes out before this one.
      if (command.state === CommandState.Answering) return TaskManagementResponse.TaskDoesNotExist;
      return command.task.lun === pdu.lun ? null : TaskManagementResponse.TaskDoesNotExist;
    }
    // A number from the future would swallow a command that nobody wants aborted.
    const mayStillCome = serialBefore(pdu.refCmdSn, pdu.cmdSn);
    return mayStillCome && this.#session.takeAsReceived(pdu.refCmdSn, pdu.referencedTag)
      ? TaskManagementResponse.Complete
      : TaskManagementResponse.TaskDoesNotExist;
  }

  #answer(itt: number, response: TaskManagementResponse): void {
    const bhs = Buffer.allocUnsafe(BHS_BYTES);
    taskManagementResponse.encode(bhs, 0, { ...NO_NUMBERS, response, itt });
    this.#session.sendPdu(bhs, NO_DATA, true);
  }
}
