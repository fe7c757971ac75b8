// One SCSI command of a session, from its PDU to its last answer. Commands are made once for each slot and reused;
// `begin` sets every field. It gathers Data-Out (RFC 7143 §11.7, §11.8), runs the task, and emits Data-In and the
// response (§11.4, §11.7).
//
// Data-Out comes in order (DataPDUInOrder and DataSequenceInOrder are Yes): first the immediate data, then the
// unsolicited PDUs, then one burst an R2T. So one offset, `received`, says all about what is there, and the bursts are
// plain arithmetic: burst k begins at `solicitedFrom + k * maxBurstBytes`.
import { assert } from '../base/index.ts';
import { type ScsiStatus, ScsiTask, type TaskOwner } from '../scsi/task.ts';
import { MAX_DATA_IN_SEGMENT_BYTES } from './limits.ts';
import type { Emitter, Output } from './output.ts';
import { dataIn, dataStart, put16, r2t, scsiResponse, seal, wireBytes } from './pdu/index.ts';
import type { Session } from './session.ts';

export const CommandState = {
  Free: 0,
  /** Wants Data-Out, has no buffer yet. */
  WaitingForBuffer: 1,
  /** Data-Out is on the way. */
  Gathering: 2,
  /** With the device server. */
  Executing: 3,
  /** Its answer is queued, or partly sent. */
  Answering: 4,
} as const;
export type CommandState = (typeof CommandState)[keyof typeof CommandState];

const NO_SENSE: Buffer = Buffer.alloc(0);
/** The CDB of a command without extension; longer ones bring a buffer of their own. */
const CDB_BYTES = 16;

/** One object for each kind of PDU, filled and read again and again (pdu/index.ts). */
const dataInPdu: dataIn.DataIn = {
  statSn: 0,
  expCmdSn: 0,
  maxCmdSn: 0,
  final: false,
  hasStatus: false,
  status: 0,
  dataBytes: 0,
  itt: 0,
  dataSn: 0,
  bufferOffset: 0,
  residual: 0,
  residualBytes: 0,
};
const responsePdu: scsiResponse.ScsiResponse = {
  statSn: 0,
  expCmdSn: 0,
  maxCmdSn: 0,
  response: 0,
  status: 0,
  dataBytes: 0,
  itt: 0,
  expDataSn: 0,
  residual: 0,
  residualBytes: 0,
};

/** An R2T waits in the output's queue in the name of its command. */
class R2tEmitter implements Emitter {
  nextEmitter: Emitter | null = null;
  queued = false;
  readonly #command: Command;

  constructor(command: Command) {
    this.#command = command;
  }

  emit(output: Output): boolean {
    const done = this.#command.emitR2ts(output);
    if (done) this.queued = false;
    return done;
  }

  drop(): void {
    this.queued = false;
  }
}

export class Command implements TaskOwner, Emitter {
  nextEmitter: Emitter | null = null;
  readonly slot: number;
  readonly session: Session;
  readonly task: ScsiTask = new ScsiTask();
  readonly cdb: Buffer = Buffer.alloc(CDB_BYTES);
  readonly r2ts: R2tEmitter = new R2tEmitter(this);
  state: CommandState = CommandState.Free;
  /** Counts the uses of the slot: part of the TTT, so that a late Data-Out is told from a present one. */
  generation = 0;
  itt = 0;
  immediate = false;

  /** Bytes of Data-Out to fetch: what both the CDB and the initiator want moved. */
  fetchBytes = 0;
  /** Data-Out so far, from offset 0 without gaps: also what was dropped beyond `fetchBytes`. */
  received = 0;
  /** Unsolicited Data-Out PDUs are still to come (F bit not seen). */
  unsolicitedOpen = false;
  /** Where the first R2T begins. */
  solicitedFrom = 0;
  /** How far R2Ts have asked. */
  requested = 0;
  /** The DataSN that the next Data-Out of the sequence must carry. */
  outDataSn = 0;
  r2tSn = 0;
  /** The memory it counts with in the session's share; 0 when it holds none. */
  heldBytes = 0;
  /** Failed, and answered once so many sequences on their way have ended (RFC 7143 §7.8). */
  openSequences = 0;
  /** What was received at the last look, and for how many looks no more has come: DataGathering.tick. */
  receivedAtTick = 0;
  idleTicks = 0;

  /** It counts in the command window, until its last PDU is written. */
  inWindow = false;
  /** Answering: status and sense data of the transport's own, in place of the task's. -1: the task's. */
  #ownStatus = -1;
  #ownSense: Buffer = NO_SENSE;
  #sent = 0;
  #inDataSn = 0;

  constructor(session: Session, slot: number) {
    this.session = session;
    this.slot = slot;
  }

  begin(itt: number, immediate: boolean): void {
    assert(this.state === CommandState.Free);
    this.itt = itt;
    this.immediate = immediate;
    this.generation = (this.generation + 1) & 0x7f;
    this.fetchBytes = 0;
    this.received = 0;
    this.unsolicitedOpen = false;
    this.solicitedFrom = 0;
    this.requested = 0;
    this.outDataSn = 0;
    this.r2tSn = 0;
    this.heldBytes = 0;
    this.openSequences = 0;
    this.receivedAtTick = 0;
    this.idleTicks = 0;
    this.inWindow = !immediate;
    this.#ownStatus = -1;
    this.#ownSense = NO_SENSE;
    this.#sent = 0;
    this.#inDataSn = 0;
  }

  /** The task ended, or a data error did; see TaskOwner. */
  onTaskDone(task: ScsiTask): void {
    assert(task === this.task && this.state !== CommandState.Free);
    this.session.onCommandDone(this);
  }

  /** It will be answered so, whatever the task says. The first such failure counts. */
  failWith(status: ScsiStatus, sense: Buffer): void {
    if (this.failed) return;
    this.#ownStatus = status;
    this.#ownSense = sense;
  }

  get failed(): boolean {
    return this.#ownStatus >= 0;
  }

  /** The Target Transfer Tag of burst `index`: generation, slot, burst. Never the reserved one: a slot is below 4095. */
  ttt(index: number): number {
    return ((this.generation << 24) | (this.slot << 12) | (index & 0xfff)) >>> 0;
  }

  /** The burst that the next solicited byte belongs to. */
  get currentBurst(): number {
    const { maxBurstBytes } = this.session.parameters;
    return Math.floor((this.received - this.solicitedFrom) / maxBurstBytes);
  }

  /** Where the burst of the next solicited byte ends. */
  get currentBurstEnd(): number {
    const { maxBurstBytes } = this.session.parameters;
    return Math.min(this.solicitedFrom + (this.currentBurst + 1) * maxBurstBytes, this.fetchBytes);
  }

  /** Queues R2Ts, as many as may be outstanding. */
  requestMore(): void {
    if (this.r2ts.queued || this.requested >= this.fetchBytes) return;
    if (this.outstandingR2ts >= this.session.parameters.maxOutstandingR2T) return;
    this.r2ts.queued = true;
    this.session.output.enqueue(this.r2ts);
  }

  emitR2ts(output: Output): boolean {
    const { parameters, digests } = this.session;
    // The command may have ended while its R2T waited.
    while (
      this.state === CommandState.Gathering &&
      !this.failed &&
      this.requested < this.fetchBytes &&
      this.outstandingR2ts < parameters.maxOutstandingR2T
    ) {
      const at = output.reserve(wireBytes(0, 0, digests));
      if (at < 0) return false;
      const { window } = output;
      const desiredBytes = Math.min(parameters.maxBurstBytes, this.fetchBytes - this.requested);
      r2t.encode(output.region, at, {
        statSn: output.statSn,
        expCmdSn: window!.expCmdSn,
        maxCmdSn: window!.maxCmdSn,
        lun: this.task.lun,
        itt: this.itt,
        ttt: this.ttt(this.r2tSn),
        r2tSn: this.r2tSn,
        bufferOffset: this.requested,
        desiredBytes,
      });
      output.commit(seal(output.region, at, digests));
      this.r2tSn += 1;
      this.requested += desiredBytes;
    }
    return true;
  }

  get outstandingR2ts(): number {
    return this.r2tSn - (this.received < this.requested ? this.currentBurst : this.r2tSn);
  }

  /** Data-In and status. Called again after it found no room. */
  emit(output: Output): boolean {
    assert(this.state === CommandState.Answering);
    const { task, session } = this;
    const { parameters, digests } = session;
    const own = this.failed;
    const sense = own ? this.#ownSense : task.sense;
    const status = own ? this.#ownStatus : task.status;
    const wanted = task.writes ? task.dataOutWantedBytes : own ? 0 : task.dataInBytes;
    const expected = task.expectedBytes;
    const residual =
      wanted > expected
        ? scsiResponse.Residual.Overflow
        : wanted < expected
          ? scsiResponse.Residual.Underflow
          : scsiResponse.Residual.None;
    const residualBytes = Math.abs(wanted - expected);

    const inBytes = own || !task.reads ? 0 : Math.min(task.dataInBytes, expected);
    if (this.#sent < inBytes) {
      const source = task.dataIn !== null ? task.dataIn.bytes : task.dataInSmall;
      assert(inBytes <= source.length, 'fewer data than the task says');
      const segmentBytes = Math.min(
        parameters.maxSendDataSegmentBytes,
        parameters.maxBurstBytes,
        MAX_DATA_IN_SEGMENT_BYTES,
      );
      const collapse = sense.length === 0;
      while (this.#sent < inBytes) {
        const burstEnd =
          (Math.floor(this.#sent / parameters.maxBurstBytes) + 1) * parameters.maxBurstBytes;
        const end = Math.min(this.#sent + segmentBytes, burstEnd, inBytes);
        const bytes = end - this.#sent;
        const at = output.reserve(wireBytes(0, bytes, digests));
        if (at < 0) return false;
        const last = end === inBytes && collapse;
        if (last) session.leaveWindow(this);
        const pdu = dataInPdu;
        pdu.expCmdSn = output.window!.expCmdSn;
        pdu.maxCmdSn = output.window!.maxCmdSn;
        pdu.final = end === burstEnd || end === inBytes;
        pdu.hasStatus = last;
        pdu.statSn = last ? output.takeStatSn() : 0;
        pdu.status = last ? status : 0;
        pdu.residual = last ? residual : 0;
        pdu.residualBytes = last ? residualBytes : 0;
        pdu.dataBytes = bytes;
        pdu.itt = this.itt;
        pdu.dataSn = this.#inDataSn;
        pdu.bufferOffset = this.#sent;
        const { region } = output;
        dataIn.encode(region, at, pdu);
        // The one copy of a read between disk and socket.
        source.copy(region, dataStart(region, at, digests), this.#sent, end);
        output.commit(seal(region, at, digests));
        this.#inDataSn += 1;
        this.#sent = end;
        if (last) {
          session.retire(this);
          return true;
        }
      }
    }

    const senseBytes = sense.length > 0 ? sense.length + 2 : 0;
    const at = output.reserve(wireBytes(0, senseBytes, digests));
    if (at < 0) return false;
    session.leaveWindow(this);
    const pdu = responsePdu;
    pdu.statSn = output.takeStatSn();
    pdu.expCmdSn = output.window!.expCmdSn;
    pdu.maxCmdSn = output.window!.maxCmdSn;
    pdu.response = scsiResponse.ScsiResponseCode.Completed;
    pdu.status = status;
    pdu.dataBytes = senseBytes;
    pdu.itt = this.itt;
    // RFC 7143 §11.4.8: R2T and Data-In PDUs that this command had.
    pdu.expDataSn = task.reads ? this.#inDataSn : this.r2tSn;
    pdu.residual = residual;
    pdu.residualBytes = residualBytes;
    const { region } = output;
    scsiResponse.encode(region, at, pdu);
    if (senseBytes > 0) {
      const to = dataStart(region, at, digests);
      put16(region, to, sense.length);
      sense.copy(region, to + 2);
    }
    output.commit(seal(region, at, digests));
    session.retire(this);
    return true;
  }

  /** The connection went while the answer was queued. */
  drop(): void {
    this.session.leaveWindow(this);
    this.session.retire(this);
  }
}
