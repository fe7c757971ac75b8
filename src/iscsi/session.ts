// A session in full feature phase, RFC 7143 §4.2 and §11: takes the PDUs of its one connection, keeps CmdSN order and
// the command table, and speaks to the SCSI target. Error recovery level 0: what goes wrong with the connection ends
// the session, and `end` tells when nothing of it can take effect any more (C6).
import { assert, type Clock, type Log } from '../base/index.ts';
import { type DataBufferPool, MAX_BUFFER_BYTES } from '../block/index.ts';
import { type Nexus, ScsiStatus, type ScsiTarget } from '../scsi/task.ts';
import { Command, CommandState } from './command.ts';
import { CommandWindow, Place } from './command-window.ts';
import {
  COMMAND_SLOTS,
  COMMAND_WINDOW,
  IMMEDIATE_COMMANDS,
  MAX_GATHERING_BYTES,
  MAX_HELD_BYTES,
} from './limits.ts';
import type { LoginResult } from './login/index.ts';
import { ControlPdu, type Output } from './output.ts';
import {
  ahs,
  ahsBytesOf,
  asyncMessage,
  BHS_BYTES,
  cmdSnOf,
  type DataPlace,
  type Digests,
  dataBytesOf,
  dataOut,
  get32,
  isFinal,
  isImmediate,
  ittOf,
  logoutRequest,
  logoutResponse,
  lunOf,
  nopIn,
  nopOut,
  Opcode,
  opcodeOf,
  type PduParser,
  RESERVED_TAG,
  reject,
  scsiCommand,
  textRequest,
  textResponse,
} from './pdu/index.ts';
import { TagTable } from './tag-table.ts';
import { TaskManager } from './task-management.ts';
import type { Offer, Parameters, TextExchange } from './text/index.ts';
import { TransportSense } from './transport-sense.ts';
import type { SessionInfo, TargetEntry } from './types.ts';

const { RejectReason } = reject;
const NO_DATA: Buffer = Buffer.alloc(0);
const NO_NUMBERS = { statSn: 0, expCmdSn: 0, maxCmdSn: 0 };

/** What a session asks of its connection. */
export interface SessionConnection {
  readonly output: Output;
  readonly parser: PduParser;
  readonly peer: string;
  readonly portal: string;
  /** Sends what is queued, then closes. */
  closeGracefully(): void;
  closeAtOnce(reason: string): void;
}

export interface SessionOptions {
  readonly login: LoginResult;
  readonly tsih: number;
  readonly nexus: Nexus | null;
  readonly text: TextExchange;
  readonly offer: Offer;
  readonly buffers: DataBufferPool;
  readonly clock: Clock;
  readonly log: Log;
  /** Told once, when the session has ended and nothing of it can take effect any more. */
  readonly onGone: (session: Session) => void;
  /** TARGET COLD RESET was carried out: every session of the target goes (RFC 7143 §11.5.1). */
  readonly onColdReset: (target: string) => void;
}

const Life = { Open: 'open', LoggingOut: 'logging-out', Ended: 'ended', Gone: 'gone' } as const;
type Life = (typeof Life)[keyof typeof Life];

export class Session {
  readonly tsih: number;
  readonly login: LoginResult;
  readonly nexus: Nexus | null;
  readonly target: TargetEntry | null;
  readonly scsi: ScsiTarget | null;
  readonly parameters: Parameters;
  readonly digests: Digests;
  readonly window: CommandWindow;
  readonly output: Output;
  readonly #connection: SessionConnection;
  readonly #options: SessionOptions;
  readonly #parser: PduParser;
  readonly #tasks: TaskManager;
  readonly #sinceMs: number;

  #life: Life = Life.Open;
  #goneWaiters: (() => void)[] = [];

  // Commands: made when first needed, found by tag or by slot.
  readonly #commands: Command[] = [];
  readonly #free: Command[] = [];
  readonly #tags = new TagTable(COMMAND_SLOTS);
  #immediates = 0;
  #outstanding = 0;
  /** Commands that want Data-Out and found no buffer, in order. */
  #waiting: Command[] = [];
  #waitsForPool = false;
  #gatheringBytes = 0;

  /** Copies of requests that came ahead of a gap, by CmdSN; null marks one that ABORT TASK took as received. */
  readonly #held = new Map<number, Buffer | null>();
  #heldBytes = 0;

  #pingTtt = 0;
  #pingSentMs = -1;
  #heardMs: number;

  #commandCount = 0;
  #readBytes = 0;
  #writtenBytes = 0;

  constructor(connection: SessionConnection, options: SessionOptions) {
    const { login } = options;
    this.#connection = connection;
    this.#options = options;
    this.tsih = options.tsih;
    this.login = login;
    this.nexus = options.nexus;
    this.target = login.target;
    this.scsi = login.target?.scsi ?? null;
    this.parameters = login.parameters;
    this.digests = {
      header: login.parameters.headerDigest === 'CRC32C',
      data: login.parameters.dataDigest === 'CRC32C',
    };
    this.window = new CommandWindow(login.cmdSn, COMMAND_WINDOW);
    this.output = connection.output;
    this.#parser = connection.parser;
    this.#tasks = new TaskManager(this);
    this.#sinceMs = options.clock.nowMs();
    this.#heardMs = this.#sinceMs;
    if (this.nexus !== null) this.scsi?.attachNexus(this.nexus);
  }

  get open(): boolean {
    return this.#life === Life.Open;
  }

  get log(): Log {
    return this.#options.log;
  }

  info(): SessionInfo {
    const { login } = this;
    return {
      tsih: this.tsih,
      type: login.sessionType,
      target: login.target?.name ?? '',
      initiator: login.initiatorName,
      isid: login.isid,
      peer: this.#connection.peer,
      portal: this.#connection.portal,
      headerDigest: login.parameters.headerDigest,
      dataDigest: login.parameters.dataDigest,
      authenticatedAs: login.authenticatedAs,
      sinceMs: this.#sinceMs,
      commands: this.#commandCount,
      readBytes: this.#readBytes,
      writtenBytes: this.#writtenBytes,
      outstanding: this.#outstanding,
    };
  }

  // --- The PDUs ------------------------------------------------------------------------------------------------

  /** See PduSink.placeData: solicited and unsolicited data go straight to their place. */
  placeData(head: Buffer, at: number, dataBytes: number, place: DataPlace): void {
    if (opcodeOf(head, at) !== Opcode.DataOut || !this.open) return;
    const command = this.commandOf(ittOf(head, at));
    if (command === null || command.state !== CommandState.Gathering) return;
    if (this.#dataOutError(command, head, at, dataBytes) !== null) return;
    if (command.received + dataBytes > command.fetchBytes) return;
    place.bytes = command.task.dataOut!.bytes;
    place.at = command.received;
  }

  /** See PduSink.onPdu. */
  onPdu(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    if (!this.open) return;
    const opcode = opcodeOf(head, at);
    if (opcode === Opcode.DataOut) {
      this.#onDataOut(head, at, data, dataAt, dataBytes);
      return;
    }
    if (opcode === Opcode.SnackRequest) {
      // RFC 7143 §11.16: there is no SNACK at error recovery level 0.
      this.reject(RejectReason.SnackReject, head, at);
      return;
    }
    if (isImmediate(head, at)) {
      this.#onRequest(opcode, head, at, data, dataAt, dataBytes);
      return;
    }
    const place = this.window.place(cmdSnOf(head, at));
    if (place === Place.Outside) return; // §4.2.2.1: silently ignored.
    if (place === Place.Ahead) {
      this.#hold(head, at, data, dataAt, dataBytes);
      return;
    }
    this.window.advance();
    this.#onRequest(opcode, head, at, data, dataAt, dataBytes);
    if (this.#held.size > 0) this.#deliverHeld();
  }

  /** See PduSink.onDataDigestError, RFC 7143 §7.8. */
  onDataDigestError(head: Buffer, at: number): void {
    if (!this.open) return;
    const opcode = opcodeOf(head, at);
    this.reject(RejectReason.DataDigestError, head, at);
    if (opcode === Opcode.DataOut) {
      const command = this.commandOf(ittOf(head, at));
      if (command?.state === CommandState.Gathering) {
        this.#failData(command, TransportSense.CrcError);
      }
      return;
    }
    if (isImmediate(head, at) || this.window.place(cmdSnOf(head, at)) !== Place.Next) return;
    // Its header is sound: the number is used up, or every command after it would wait for a gap that level 0 cannot
    // fill. A command is answered, so that the initiator need not wait for its time-out to repeat it.
    this.window.advance();
    if (opcode === Opcode.ScsiCommand) this.#refuseCommand(head, at, TransportSense.CrcError);
    if (this.#held.size > 0) this.#deliverHeld();
  }

  #onRequest(
    opcode: number,
    head: Buffer,
    at: number,
    data: Buffer,
    dataAt: number,
    dataBytes: number,
  ): void {
    switch (opcode) {
      case Opcode.ScsiCommand:
        this.#onScsiCommand(head, at, data, dataAt, dataBytes);
        return;
      case Opcode.NopOut:
        this.#onNopOut(head, at, data, dataAt, dataBytes);
        return;
      case Opcode.TaskManagementRequest:
        if (this.scsi === null) this.reject(RejectReason.ProtocolError, head, at);
        else this.#tasks.onRequest(head, at);
        return;
      case Opcode.TextRequest:
        this.#onText(head, at, data, dataAt, dataBytes);
        return;
      case Opcode.LogoutRequest:
        this.#onLogout(head, at);
        return;
      case Opcode.LoginRequest:
        // §6.3: not in full feature phase.
        this.reject(RejectReason.ProtocolError, head, at);
        return;
      default:
        this.reject(RejectReason.CommandNotSupported, head, at);
    }
  }

  // --- Commands ------------------------------------------------------------------------------------------------

  #onScsiCommand(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const { scsi } = this;
    if (scsi === null) {
      this.reject(RejectReason.ProtocolError, head, at); // A discovery session has no logical units.
      return;
    }
    const writes = scsiCommand.writes(head, at);
    const final = isFinal(head, at);
    if (!writes && (dataBytes > 0 || !final)) {
      this.reject(RejectReason.InvalidPduField, head, at);
      return;
    }
    const command = this.#beginCommand(head, at);
    if (command === null) return;
    const { task } = command;
    const edtlBytes = task.expectedBytes;

    if (task.reads && task.writes) {
      this.#answerFailed(command, TransportSense.BidirectionalNotSupported);
      return;
    }
    if (writes) {
      const { parameters } = this;
      // §11.3.4, §13.10, §13.11, §13.14: what may come unasked for.
      const unexpected =
        (dataBytes > 0 && !parameters.immediateData) || (!final && parameters.initialR2T);
      if (unexpected || dataBytes > Math.min(parameters.firstBurstBytes, edtlBytes)) {
        this.#answerFailed(command, TransportSense.UnexpectedUnsolicitedData);
        return;
      }
    }

    command.state = CommandState.Executing;
    if (!scsi.prepare(task)) return;
    const fetchBytes = writes ? Math.min(edtlBytes, task.dataOutWantedBytes) : 0;
    if (fetchBytes === 0) {
      scsi.execute(task);
      return;
    }
    command.fetchBytes = fetchBytes;
    command.unsolicitedOpen = !final;
    if (fetchBytes > MAX_BUFFER_BYTES) {
      command.failWith(ScsiStatus.CheckCondition, TransportSense.InvalidFieldInCdb);
      scsi.abandon(task);
      return;
    }
    if (!this.#allocate(command)) {
      if (dataBytes > 0 || !final) {
        // Its data have nowhere to go, and waiting would block the data of commands that hold the buffers.
        command.failWith(ScsiStatus.TaskSetFull, NO_DATA);
        scsi.abandon(task);
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
      data.copy(task.dataOut!.bytes, 0, dataAt, dataAt + Math.min(dataBytes, fetchBytes));
      command.received = dataBytes;
    }
    this.#dataArrived(command);
  }

  /** A slot for the command, its task begun; null: it was rejected. */
  #beginCommand(head: Buffer, at: number): Command | null {
    const itt = ittOf(head, at);
    if (itt === RESERVED_TAG || this.#tags.get(itt) >= 0) {
      // §11.2.1.8: a tag is not reused while its task is outstanding.
      this.reject(RejectReason.InvalidPduField, head, at);
      return null;
    }
    const immediate = isImmediate(head, at);
    if (immediate && this.#immediates >= IMMEDIATE_COMMANDS) {
      this.reject(RejectReason.ImmediateCommandReject, head, at);
      return null;
    }
    let longCdb: Buffer | null = null;
    if (ahsBytesOf(head, at) > 0) {
      const more = ahs.decodeCommandAhs(head, at);
      if (more === null) {
        this.reject(RejectReason.InvalidPduField, head, at);
        return null;
      }
      longCdb = more.cdb;
    }

    const command = this.#free.pop() ?? this.#newCommand();
    command.begin(itt, immediate);
    this.#tags.set(itt, command.slot);
    if (immediate) this.#immediates += 1;
    else this.window.take();
    this.#outstanding += 1;
    this.#commandCount += 1;
    const { task, cdb } = command;
    if (longCdb === null) {
      const from = at + scsiCommand.CDB_OFFSET;
      for (let index = 0; index < 16; index += 1) cdb[index] = head[from + index]!;
    }
    task.begin(this.nexus!, command, lunOf(head, at), itt, longCdb ?? cdb);
    task.attribute = scsiCommand.attribute(head, at);
    task.reads = scsiCommand.reads(head, at);
    task.writes = scsiCommand.writes(head, at);
    task.expectedBytes = task.reads || task.writes ? scsiCommand.edtlBytes(head, at) : 0;
    command.state = CommandState.Executing;
    return command;
  }

  #newCommand(): Command {
    assert(this.#commands.length < COMMAND_SLOTS, 'more commands than the window has room for');
    const command = new Command(this, this.#commands.length);
    this.#commands.push(command);
    return command;
  }

  /** A command whose data segment was bad: answered without the device server having seen it. */
  #refuseCommand(head: Buffer, at: number, sense: Buffer): void {
    if (this.scsi === null) return;
    const command = this.#beginCommand(head, at);
    if (command !== null) this.#answerFailed(command, sense);
  }

  /** Not yet prepared: nothing to abandon. */
  #answerFailed(command: Command, sense: Buffer): void {
    command.failWith(ScsiStatus.CheckCondition, sense);
    this.onCommandDone(command);
  }

  /** The command that has the tag, or null. */
  commandOf(itt: number): Command | null {
    const slot = this.#tags.get(itt);
    return slot < 0 ? null : this.#commands[slot]!;
  }

  /** The device server is done with it, or never saw it: answer, or let it go. */
  onCommandDone(command: Command): void {
    const { task } = command;
    if (command.state === CommandState.WaitingForBuffer) {
      this.#waiting = this.#waiting.filter((other) => other !== command);
    }
    this.#endGathering(command);
    if (task.dataOut !== null) {
      // Data may be on their way into it.
      this.#parser.discardData(task.dataOut.bytes);
      task.dataOut.release();
      task.dataOut = null;
    }
    if ((task.aborted && !command.failed) || this.#life !== Life.Open) {
      this.leaveWindow(command);
      this.retire(command);
      return;
    }
    if (!command.failed) {
      if (task.reads) this.#readBytes += Math.min(task.dataInBytes, task.expectedBytes);
      else if (task.writes) this.#writtenBytes += task.dataOutBytes;
    }
    command.state = CommandState.Answering;
    this.output.enqueue(command);
  }

  /** Its last PDU is being written: the window opens with it. Idempotent. */
  leaveWindow(command: Command): void {
    if (!command.inWindow) return;
    command.inWindow = false;
    this.window.give();
    const { buffers } = this.#options;
    this.window.open(buffers.freeBytes < buffers.arena.byteLength / 16);
  }

  /** Nothing is left of it but its slot. */
  retire(command: Command): void {
    assert(command.state !== CommandState.Free && !command.inWindow);
    command.task.releaseBuffers();
    command.state = CommandState.Free;
    this.#tags.delete(command.itt);
    if (command.immediate) this.#immediates -= 1;
    this.#outstanding -= 1;
    this.#free.push(command);
  }

  // --- Data-Out ------------------------------------------------------------------------------------------------

  #onDataOut(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const command = this.commandOf(ittOf(head, at));
    if (command === null || command.state !== CommandState.Gathering) {
      // What an aborted or failed command still had on the way is dropped (§4.2.3.3); a tag never given out is not.
      const ttt = dataOut.ttt(head, at);
      if (ttt !== RESERVED_TAG && ((ttt >>> 12) & 0xfff) >= this.#commands.length) {
        this.reject(RejectReason.InvalidPduField, head, at);
      }
      return;
    }
    const error = this.#dataOutError(command, head, at, dataBytes);
    if (error !== null) {
      this.#failData(command, error);
      return;
    }
    const { task } = command;
    const into = task.dataOut!.bytes;
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

  /** null when the PDU is the one that must come next; else the sense data that its command ends with (§11.4.7.2). */
  #dataOutError(command: Command, head: Buffer, at: number, dataBytes: number): Buffer | null {
    const end = command.received + dataBytes;
    if (dataOut.dataSn(head, at) !== command.outDataSn) return TransportSense.IncorrectAmountOfData;
    if (dataOut.bufferOffset(head, at) !== command.received) {
      return TransportSense.IncorrectAmountOfData;
    }
    const ttt = dataOut.ttt(head, at);
    if (ttt === RESERVED_TAG) {
      const most = Math.min(this.parameters.firstBurstBytes, command.task.expectedBytes);
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

  #failData(command: Command, sense: Buffer): void {
    this.log.debug({ itt: command.itt }, 'a write ends for what its data were');
    command.failWith(ScsiStatus.CheckCondition, sense);
    this.scsi!.abandon(command.task);
  }

  /** More of it is here: run it, ask for more, or wait. */
  #dataArrived(command: Command): void {
    if (command.received >= command.fetchBytes) {
      this.#endGathering(command);
      command.state = CommandState.Executing;
      command.task.dataOutBytes = command.fetchBytes;
      this.scsi!.execute(command.task);
      return;
    }
    if (command.unsolicitedOpen) return;
    if (command.r2tSn === 0 && command.requested < command.received) {
      command.solicitedFrom = command.received;
      command.requested = command.received;
    }
    command.requestMore();
  }

  /** A data buffer for all of its Data-Out, within the session's share. */
  #allocate(command: Command): boolean {
    if (this.#gatheringBytes + command.fetchBytes > MAX_GATHERING_BYTES) return false;
    const buffer = this.#options.buffers.allocate(command.fetchBytes);
    if (buffer === null) return false;
    command.task.dataOut = buffer;
    command.gatheringBytes = command.fetchBytes;
    this.#gatheringBytes += command.fetchBytes;
    return true;
  }

  #endGathering(command: Command): void {
    this.#gatheringBytes -= command.gatheringBytes;
    command.gatheringBytes = 0;
    if (this.#waiting.length > 0) this.#waitForPool();
  }

  #waitForPool(): void {
    if (this.#waitsForPool) return;
    this.#waitsForPool = true;
    this.#options.buffers.whenFreed(() => {
      this.#waitsForPool = false;
      this.#serveWaiting();
    });
  }

  #serveWaiting(): void {
    while (this.#waiting.length > 0 && this.open) {
      const command = this.#waiting[0]!;
      if (!this.#allocate(command)) {
        this.#waitForPool();
        return;
      }
      this.#waiting.shift();
      command.state = CommandState.Gathering;
      this.#dataArrived(command);
    }
  }

  // --- CmdSN gaps ----------------------------------------------------------------------------------------------

  /** Keeps a request that came before its turn. One connection delivers in order, so this is an initiator's oddity. */
  #hold(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const cmdSn = cmdSnOf(head, at);
    if (this.#held.has(cmdSn)) return;
    const headBytes = BHS_BYTES + ahsBytesOf(head, at);
    this.#heldBytes += headBytes + dataBytes;
    if (this.#heldBytes > MAX_HELD_BYTES) {
      this.#connection.closeAtOnce('too much came ahead of a gap in CmdSN');
      return;
    }
    const copy = Buffer.allocUnsafe(headBytes + dataBytes);
    head.copy(copy, 0, at, at + headBytes);
    data.copy(copy, headBytes, dataAt, dataAt + dataBytes);
    this.#held.set(cmdSn, copy);
  }

  #deliverHeld(): void {
    while (this.open) {
      const cmdSn = this.window.expCmdSn;
      const pdu = this.#held.get(cmdSn);
      if (pdu === undefined) return;
      this.#held.delete(cmdSn);
      this.window.advance();
      if (pdu === null) continue;
      this.#heldBytes -= pdu.length;
      const dataBytes = dataBytesOf(pdu, 0);
      this.#onRequest(opcodeOf(pdu, 0), pdu, 0, pdu, pdu.length - dataBytes, dataBytes);
    }
  }

  /**
   * ABORT TASK names a command that has not come (RFC 7143 §11.5.5): takes its CmdSN as received. False: the number is
   * not one that may still come.
   */
  takeAsReceived(refCmdSn: number, itt: number): boolean {
    const place = this.window.place(refCmdSn);
    if (place === Place.Outside) return false;
    const pdu = this.#held.get(refCmdSn);
    if (pdu === null) return true;
    if (pdu !== undefined) {
      if (opcodeOf(pdu, 0) !== Opcode.ScsiCommand || ittOf(pdu, 0) !== itt) return false;
      this.#heldBytes -= pdu.length;
    }
    this.#held.set(refCmdSn, null);
    if (place === Place.Next) this.#deliverHeld();
    return true;
  }

  // --- NOP, text, logout, reject -------------------------------------------------------------------------------

  #onNopOut(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const itt = ittOf(head, at);
    if (itt === RESERVED_TAG) {
      if (nopOut.ttt(head, at) === this.#pingTtt) this.#pingSentMs = -1;
      return;
    }
    // §11.18: a ping; as much of its data comes back as the initiator can take.
    const echoBytes = Math.min(dataBytes, this.parameters.maxSendDataSegmentBytes);
    const echo = Buffer.from(data.subarray(dataAt, dataAt + echoBytes));
    const lun = Math.max(0, lunOf(head, at));
    const pdu = { ...NO_NUMBERS, dataBytes: echo.length, lun, itt, ttt: RESERVED_TAG };
    this.#send((b) => nopIn.encode(b, 0, pdu), echo, true);
  }

  /** Asks whether the peer lives (§11.19), or finds that it does not. Called now and then. */
  tick(nowMs: number, heard: boolean, pingIntervalMs: number, pingTimeoutMs: number): void {
    if (!this.open) return;
    if (heard) {
      this.#heardMs = nowMs;
      this.#pingSentMs = -1;
      return;
    }
    if (pingIntervalMs === 0) return;
    if (this.#pingSentMs >= 0) {
      if (nowMs - this.#pingSentMs >= pingTimeoutMs) {
        this.#connection.closeAtOnce('the initiator does not answer a ping');
      }
      return;
    }
    if (nowMs - this.#heardMs < pingIntervalMs) return;
    this.#pingSentMs = nowMs;
    this.#pingTtt = (this.#pingTtt + 1) & 0x7fffffff;
    const pdu = { ...NO_NUMBERS, dataBytes: 0, lun: 0, itt: RESERVED_TAG, ttt: this.#pingTtt };
    this.#send((b) => nopIn.encode(b, 0, pdu), NO_DATA, false);
  }

  #onText(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const request = textRequest.decode(head, at);
    const text = data.subarray(dataAt, dataAt + dataBytes);
    const reply = this.#options.text.onRequest(request, text);
    if (reply.kind === 'reject') {
      this.reject(reply.reason, head, at);
      return;
    }
    const pdu = {
      ...NO_NUMBERS,
      final: reply.final,
      continues: reply.continues,
      dataBytes: reply.data.length,
      itt: request.itt,
      ttt: reply.ttt,
    };
    this.#send((b) => textResponse.encode(b, 0, pdu), reply.data, true);
  }

  /** §11.14. With one connection, closing it closes the session. */
  #onLogout(head: Buffer, at: number): void {
    const { reason, cid, itt } = logoutRequest.decode(head, at);
    const { LogoutReason } = logoutRequest;
    const Response = logoutResponse.LogoutResponseCode;
    if (reason === LogoutReason.RemoveConnectionForRecovery) {
      this.#answerLogout(itt, Response.RecoveryNotSupported);
      return;
    }
    if (reason !== LogoutReason.CloseSession && reason !== LogoutReason.CloseConnection) {
      this.reject(RejectReason.InvalidPduField, head, at);
      return;
    }
    if (reason === LogoutReason.CloseConnection && cid !== this.login.cid) {
      this.#answerLogout(itt, Response.CidNotFound);
      return;
    }
    // §11.14: what is outstanding is terminated; the answer waits until it can change nothing any more (C6).
    this.#life = Life.LoggingOut;
    this.log.info({}, 'logout');
    this.#detach(() => {
      if (this.#life === Life.LoggingOut) {
        this.#answerLogout(itt, Response.Closed);
        this.#connection.closeGracefully();
      }
      this.#becomeGone();
    });
  }

  #answerLogout(itt: number, response: logoutResponse.LogoutResponseCode): void {
    const { defaultTime2WaitSeconds, defaultTime2RetainSeconds } = this.parameters;
    const pdu = {
      ...NO_NUMBERS,
      response,
      itt,
      time2WaitSeconds: defaultTime2WaitSeconds,
      time2RetainSeconds: defaultTime2RetainSeconds,
    };
    this.#send((b) => logoutResponse.encode(b, 0, pdu), NO_DATA, true);
  }

  /** §11.17: refuses a PDU, giving its header back. */
  reject(reason: reject.RejectReason, head: Buffer, at: number): void {
    const bytes = BHS_BYTES + ahsBytesOf(head, at);
    const header = Buffer.from(head.subarray(at, at + bytes));
    this.log.debug({ opcode: opcodeOf(head, at), itt: get32(head, at + 16), reason }, 'reject');
    const pdu = { ...NO_NUMBERS, reason, dataBytes: bytes };
    this.#send((b) => reject.encode(b, 0, pdu), header, true);
  }

  /** §11.9: asks the initiator to log out within so many seconds. */
  requestLogout(seconds: number): void {
    if (!this.open) return;
    const pdu = {
      ...NO_NUMBERS,
      event: asyncMessage.AsyncEvent.LogoutRequested,
      parameter1: 0,
      parameter2: 0,
      parameter3: seconds,
    };
    this.#send((b) => asyncMessage.encode(b, 0, pdu), NO_DATA, true);
  }

  /** Tells that the session goes (§11.9), and ends it. */
  drop(reason: string): void {
    if (!this.open) return;
    const pdu = {
      ...NO_NUMBERS,
      event: asyncMessage.AsyncEvent.SessionDropped,
      parameter1: 0,
      parameter2: this.parameters.defaultTime2WaitSeconds,
      parameter3: 0,
    };
    this.#send((b) => asyncMessage.encode(b, 0, pdu), NO_DATA, true);
    this.log.info({ reason }, 'session is dropped');
    this.#connection.closeGracefully();
  }

  /** Task management tells of a reset of everything. */
  coldReset(): void {
    if (this.target !== null) this.#options.onColdReset(this.target.name);
  }

  #send(encode: (bhs: Buffer) => void, data: Buffer, advances: boolean): void {
    const bhs = Buffer.allocUnsafe(BHS_BYTES);
    encode(bhs);
    this.sendPdu(bhs, data, advances);
  }

  /** Queues a PDU; its numbers are written when it goes out. */
  sendPdu(bhs: Buffer, data: Buffer, advances: boolean): void {
    this.output.enqueue(new ControlPdu(bhs, data, this.digests, advances));
  }

  // --- The end -------------------------------------------------------------------------------------------------

  /** The connection is gone, or goes: nothing is answered any more. `onGone` follows, at once or later. */
  end(): void {
    if (this.#life === Life.Ended || this.#life === Life.Gone) return;
    const detaching = this.#life === Life.LoggingOut;
    this.#life = Life.Ended;
    this.output.close();
    this.#held.clear();
    if (!detaching) this.#detach(() => this.#becomeGone());
  }

  /** Calls back when nothing of the session can take effect any more; at once if that is so. */
  whenGone(callback: () => void): void {
    if (this.#life === Life.Gone) callback();
    else this.#goneWaiters.push(callback);
  }

  #detach(done: () => void): void {
    if (this.nexus === null || this.scsi === null) done();
    else this.scsi.detachNexus(this.nexus, done);
  }

  #becomeGone(): void {
    if (this.#life === Life.Gone) return;
    this.#life = Life.Gone;
    this.#options.onGone(this);
    const waiters = this.#goneWaiters;
    this.#goneWaiters = [];
    for (const waiter of waiters) waiter();
  }
}
