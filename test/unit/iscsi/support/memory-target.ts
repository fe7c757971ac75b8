// A ScsiTarget of one disk in memory, just enough for the transport's tests: READ and WRITE 10 and 16, READ
// CAPACITY, INQUIRY, TEST UNIT READY. A test may hold tasks back (`hold`) and let them go (`finish`).
import type { DataBufferPool } from '../../../../src/block/index.ts';
import {
  type Nexus,
  ScsiStatus,
  type ScsiTarget,
  type ScsiTask,
  TaskManagement,
  type TaskManagementRequest,
  TaskManagementResponse,
} from '../../../../src/scsi/index.ts';

export const BLOCK_BYTES = 512;

export class MemoryTarget implements ScsiTarget {
  readonly name: string;
  readonly disk: Buffer;
  readonly nexuses = new Set<Nexus>();
  /** Tasks prepared and not ended. */
  readonly tasks = new Set<ScsiTask>();
  /** Executed and held back. */
  readonly held: ScsiTask[] = [];
  hold = false;
  readonly #pool: DataBufferPool;
  readonly #whenIdle: { nexus: Nexus | null; done: () => void }[] = [];

  constructor(name: string, pool: DataBufferPool, bytes = 1024 * 1024) {
    this.name = name;
    this.#pool = pool;
    this.disk = Buffer.alloc(bytes);
  }

  attachNexus(nexus: Nexus): void {
    this.nexuses.add(nexus);
  }

  detachNexus(nexus: Nexus, done: () => void): void {
    this.nexuses.delete(nexus);
    this.#abort((task) => task.nexus === nexus);
    this.#afterHeld(nexus, done);
  }

  prepare(task: ScsiTask): boolean {
    const { cdb } = task;
    this.tasks.add(task);
    switch (cdb[0]) {
      case 0x00:
      case 0x12:
      case 0x25:
      case 0x9e:
      case 0x28:
      case 0x88:
        return true;
      case 0x2a:
        task.dataOutWantedBytes = cdb.readUInt16BE(7) * BLOCK_BYTES;
        return true;
      case 0x8a:
        task.dataOutWantedBytes = cdb.readUInt32BE(10) * BLOCK_BYTES;
        return true;
      default:
        task.status = ScsiStatus.CheckCondition;
        task.sense = Buffer.from('700005000000000a00000000200000000000', 'hex');
        this.#end(task);
        return false;
    }
  }

  enable(): boolean {
    return true;
  }

  execute(task: ScsiTask): void {
    if (this.hold) this.held.push(task);
    else this.#run(task);
  }

  abandon(task: ScsiTask): void {
    task.aborted = true;
    this.#end(task);
  }

  manage(request: TaskManagementRequest, done: (response: TaskManagementResponse) => void): void {
    const { kind, nexus, referencedTag } = request;
    if (kind === TaskManagement.AbortTask) {
      this.#abort((task) => task.nexus === nexus && task.tag === referencedTag);
    } else {
      this.#abort((task) => kind !== TaskManagement.AbortTaskSet || task.nexus === nexus);
    }
    this.#afterHeld(null, () => done(TaskManagementResponse.Complete));
  }

  /** Lets a held task end: aborted ones without effect seen. */
  finish(task: ScsiTask): void {
    this.held.splice(this.held.indexOf(task), 1);
    if (task.aborted) this.#end(task);
    else this.#run(task);
    for (const waiter of this.#whenIdle.splice(0)) this.#afterHeld(waiter.nexus, waiter.done);
  }

  /** Held tasks are marked and end when the test says so: as an operation under way would (C6). */
  #abort(which: (task: ScsiTask) => boolean): void {
    for (const task of [...this.tasks]) {
      if (!which(task)) continue;
      task.aborted = true;
      if (!this.held.includes(task)) this.#end(task);
    }
  }

  #afterHeld(nexus: Nexus | null, done: () => void): void {
    const busy = this.held.some((task) => task.aborted && (nexus === null || task.nexus === nexus));
    if (busy) this.#whenIdle.push({ nexus, done });
    else done();
  }

  #run(task: ScsiTask): void {
    const { cdb } = task;
    const long = cdb[0]! >= 0x80;
    const from = (long ? cdb.readUInt32BE(6) : cdb.readUInt32BE(2)) * BLOCK_BYTES;
    const bytes = (long ? cdb.readUInt32BE(10) : cdb.readUInt16BE(7)) * BLOCK_BYTES;
    if (cdb[0] === 0x25) {
      task.dataInSmall = Buffer.alloc(8);
      task.dataInSmall.writeUInt32BE(this.disk.length / BLOCK_BYTES - 1, 0);
      task.dataInSmall.writeUInt32BE(BLOCK_BYTES, 4);
      task.dataInBytes = 8;
    } else if (cdb[0] === 0x9e) {
      task.dataInSmall = Buffer.alloc(32);
      task.dataInSmall.writeUInt32BE(this.disk.length / BLOCK_BYTES - 1, 4);
      task.dataInSmall.writeUInt32BE(BLOCK_BYTES, 8);
      task.dataInBytes = 32;
    } else if (cdb[0] === 0x12) {
      task.dataInSmall = Buffer.alloc(36, 'a');
      task.dataInBytes = 36;
    } else if (cdb[0] === 0x28 || cdb[0] === 0x88) {
      task.dataIn = this.#pool.allocate(Math.max(1, bytes));
      if (task.dataIn === null) task.status = ScsiStatus.Busy;
      else {
        this.disk.copy(task.dataIn.bytes, 0, from, from + bytes);
        task.dataInBytes = bytes;
      }
    } else if (task.dataOut !== null) {
      task.dataOut.bytes.copy(this.disk, from, 0, task.dataOutBytes);
    }
    this.#end(task);
  }

  #end(task: ScsiTask): void {
    this.tasks.delete(task);
    task.owner.onTaskDone(task);
  }
}
