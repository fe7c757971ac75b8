// The Data-Out of a session's writes (RFC 7143 §11.7, §11.8): whether what comes is what must come next, where it goes,
// and the memory for it.
//
// Memory is bounded twice: by the session's share, so that one host cannot take all, and by the arena. A write counts
// from its buffer on to its end, also while an ORDERED task holds it up. So that those that wait never wait for each
// other, a write that nothing holds up may go beyond the share, one at a time, and may take the arena's reserve: what
// the others wait for always gets on. One whose data stop coming is given up.
import { type DataBufferPool, MAX_BUFFER_BYTES, ReserveKind } from '../block/index.ts';
import { ScsiStatus } from '../scsi/task.ts';
import { type Command, CommandState } from './command.ts';
import { DATA_OUT_LIMIT_TICKS, MAX_GATHERING_BYTES } from './limits.ts';
import { type DataPlace, dataOut, isFinal, RESERVED_TAG } from './pdu/index.ts';
import type { Session } from './session.ts';
import { TransportSense } from './transport-sense.ts';

const NO_SENSE: Buffer = Buffer.alloc(0);

export class DataGathering {
  readonly #session: Session;
  readonly #buffers: DataBufferPool;
  /** Writes that found no buffer, in order. */
  #waiting: Command[] = [];
  #waitsForPool = false;
  #heldBytes = 0;
  /** The one that went beyond the share. */
  #beyond: Command | null = null;

  constructor(session: Session, buffers: DataBufferPool) {
    this.#session = session;
    this.#buffers = buffers;
  }

  /** A prepared write that wants `fetchBytes`, with its immediate data. `final`: no unsolicited PDU follows. */
  start(
    command: Command,
    fetchBytes: number,
    final: boolean,
    data: Buffer,
    dataAt: number,
    dataBytes: number,
  ): void {
    command.fetchBytes = fetchBytes;
    command.unsolicitedOpen = !final;
    if (fetchBytes > MAX_BUFFER_BYTES) {
      this.#giveUp(command, ScsiStatus.CheckCondition, TransportSense.InvalidFieldInCdb);
      return;
    }
    if (!this.#allocate(command)) {
      if (dataBytes > 0 || !final) {
        // Its data have nowhere to go, and waiting would block the data of commands that hold the buffers.
        this.#giveUp(command, ScsiStatus.TaskSetFull, NO_SENSE);
        return;
      }
      command.state = CommandState.WaitingForBuffer;
      this.#waiting.push(command);
      this.#waitForPool();
      return;
    }
    command.state = CommandState.Gathering;
    if (dataBytes > 0) {
      // The one copy of a write between socket and disk.
      data.copy(command.task.dataOut!.bytes, 0, dataAt, dataAt + Math.min(dataBytes, fetchBytes));
      command.received = dataBytes;
    }
    this.#dataArrived(command);
  }

  /** See PduSink.placeData: solicited and unsolicited data go straight to their place. */
  placeData(
    command: Command | null,
    head: Buffer,
    at: number,
    dataBytes: number,
    place: DataPlace,
  ): void {
    if (command === null || command.state !== CommandState.Gathering || command.failed) return;
    if (this.#error(command, head, at, dataBytes) !== null) return;
    if (command.received + dataBytes > command.fetchBytes) return;
    place.bytes = command.task.dataOut!.bytes;
    place.at = command.received;
  }

  /** A Data-Out of a command that gathers. */
  onDataOut(
    command: Command,
    head: Buffer,
    at: number,
    data: Buffer,
    dataAt: number,
    dataBytes: number,
  ): void {
    if (command.failed) {
      this.#drain(command, head, at);
      return;
    }
    const error = this.#error(command, head, at, dataBytes);
    if (error !== null) {
      this.#session.log.debug({ itt: command.itt }, 'a write ends for what its data were');
      this.#giveUp(command, ScsiStatus.CheckCondition, error);
      return;
    }
    const into = command.task.dataOut!.bytes;
    if (data !== into) {
      const keep = Math.min(dataBytes, command.fetchBytes - command.received);
      // The one copy of a write between socket and disk.
      if (keep > 0) data.copy(into, command.received, dataAt, dataAt + keep);
    }
    command.received += dataBytes;
    command.outDataSn += 1;
    if (isFinal(head, at)) {
      command.outDataSn = 0;
      command.unsolicitedOpen = false;
    }
    this.#dataArrived(command);
  }

  /**
   * A Data-Out whose digest is wrong: its command fails. It is answered when all that was on the way has come, the F bit
   * of each sequence seen (RFC 7143 §7.8 b), or was given up; until then its tag is in use, and it can be aborted.
   */
  onDigestError(command: Command, head: Buffer, at: number): void {
    if (!command.failed) {
      this.#session.log.debug({ itt: command.itt }, 'the data of a write were damaged on the way');
      command.openSequences = command.unsolicitedOpen ? 1 : command.outstandingR2ts;
      command.failWith(ScsiStatus.CheckCondition, TransportSense.CrcError);
    }
    this.#drain(command, head, at);
  }

  #drain(command: Command, head: Buffer, at: number): void {
    if (isFinal(head, at)) command.openSequences -= 1;
    if (command.openSequences <= 0) this.#session.scsi!.abandon(command.task);
  }

  /** The command has ended: it waits no more, and what it held is free. */
  end(command: Command): void {
    if (command.state === CommandState.WaitingForBuffer) {
      this.#waiting = this.#waiting.filter((other) => other !== command);
    }
    if (this.#beyond === command) this.#beyond = null;
    this.#heldBytes -= command.heldBytes;
    command.heldBytes = 0;
    if (this.#waiting.length > 0) this.#waitForPool();
  }

  /** Once a tick: gives up a command whose data have not moved on for too long; its memory is wanted by others. */
  tick(command: Command): void {
    if (command.state !== CommandState.Gathering) return;
    if (command.received !== command.receivedAtTick) {
      command.receivedAtTick = command.received;
      command.idleTicks = 0;
      return;
    }
    command.idleTicks += 1;
    if (command.idleTicks < DATA_OUT_LIMIT_TICKS) return;
    this.#session.log.warn({ itt: command.itt }, 'the data of a write do not come: it is given up');
    this.#giveUp(command, ScsiStatus.CheckCondition, TransportSense.InitiatorResponseTimeout);
  }

  #giveUp(command: Command, status: ScsiStatus, sense: Buffer): void {
    command.failWith(status, sense);
    this.#session.scsi!.abandon(command.task);
  }

  /** null when the PDU is the one that must come next; else the sense data that its command ends with (§11.4.7.2). */
  #error(command: Command, head: Buffer, at: number, dataBytes: number): Buffer | null {
    const end = command.received + dataBytes;
    if (dataOut.dataSn(head, at) !== command.outDataSn) return TransportSense.IncorrectAmountOfData;
    if (dataOut.bufferOffset(head, at) !== command.received) {
      return TransportSense.IncorrectAmountOfData;
    }
    const ttt = dataOut.ttt(head, at);
    if (ttt === RESERVED_TAG) {
      const { firstBurstBytes } = this.#session.parameters;
      const most = Math.min(firstBurstBytes, command.task.expectedBytes);
      if (!command.unsolicitedOpen || end > most) return TransportSense.UnexpectedUnsolicitedData;
      return null;
    }
    if (command.unsolicitedOpen || command.received >= command.requested) {
      return TransportSense.UnexpectedUnsolicitedData;
    }
    if (ttt !== command.ttt(command.currentBurst)) return TransportSense.IncorrectAmountOfData;
    const burstEnd = command.currentBurstEnd;
    // F ends a sequence, and a sequence ends its burst (§11.7.1).
    if (end > burstEnd || isFinal(head, at) !== (end === burstEnd)) {
      return TransportSense.IncorrectAmountOfData;
    }
    return null;
  }

  /** More of it is here: run it, ask for more, or wait. */
  #dataArrived(command: Command): void {
    if (command.received >= command.fetchBytes) {
      command.state = CommandState.Executing;
      command.task.dataOutBytes = command.fetchBytes;
      this.#session.scsi!.execute(command.task);
      return;
    }
    if (command.unsolicitedOpen) return;
    if (command.r2tSn === 0 && command.requested < command.received) {
      command.solicitedFrom = command.received;
      command.requested = command.received;
    }
    command.requestMore();
  }

  // --- Memory --------------------------------------------------------------------------------------------------

  /** A data buffer for all of its Data-Out. */
  #allocate(command: Command): boolean {
    const { fetchBytes, task } = command;
    const within = this.#heldBytes + fetchBytes <= MAX_GATHERING_BYTES;
    if (within) task.dataOut = this.#buffers.allocate(fetchBytes);
    if (task.dataOut !== null) {
      command.heldBytes = fetchBytes;
      this.#heldBytes += fetchBytes;
      return true;
    }
    if (this.#beyond !== null || !this.#session.scsi!.enable(task)) return false;
    task.dataOut =
      this.#buffers.allocate(fetchBytes) ?? this.#buffers.allocateReserve(ReserveKind.Gather);
    if (task.dataOut === null) return false;
    this.#beyond = command;
    return true;
  }

  #waitForPool(): void {
    if (this.#waitsForPool) return;
    this.#waitsForPool = true;
    this.#buffers.whenFreed(() => {
      this.#waitsForPool = false;
      this.#serveWaiting();
    });
  }

  #serveWaiting(): void {
    for (const command of [...this.#waiting]) {
      if (!this.#session.open) return;
      if (command.state !== CommandState.WaitingForBuffer) continue; // Ended by one before it.
      if (!this.#allocate(command)) {
        // First in line for whatever comes free; but one that is held up waits for another, further back perhaps.
        if (this.#session.scsi!.enable(command.task)) break;
        continue;
      }
      this.#waiting = this.#waiting.filter((other) => other !== command);
      command.state = CommandState.Gathering;
      this.#dataArrived(command);
    }
    if (this.#waiting.length > 0) this.#waitForPool();
  }
}
