// A session in full feature phase, RFC 7143 §4.2 and §11: takes the PDUs of its one connection, keeps CmdSN order and
// the command table, and speaks to the SCSI target. Error recovery level 0: what goes wrong with the connection ends
// the session, and `end` tells when nothing of it can take effect any more (C6).
import type { Clock, Log } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import { type Nexus, ScsiStatus, type ScsiTarget } from '../scsi/task.ts';
import { type Command, CommandState } from './command.ts';
import { CommandTable } from './command-table.ts';
import { CommandWindow, Place } from './command-window.ts';
import { DataGathering } from './data-gathering.ts';
import { HeldRequests } from './held-requests.ts';
import { COMMAND_WINDOW, IMMEDIATE_COMMANDS, type IscsiLimits } from './limits.ts';
import type { LoginResult } from './login/index.ts';
import * as messages from './messages.ts';
import { ControlPdu, type Output } from './output.ts';
import {
  ahs,
  ahsBytesOf,
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
  nopOut,
  Opcode,
  opcodeOf,
  type PduParser,
  RESERVED_TAG,
  reject,
  scsiCommand,
  textRequest,
} from './pdu/index.ts';
import { Ping } from './ping.ts';
import { TaskManager } from './task-management.ts';
import type { Offer, Parameters, TextExchange } from './text/index.ts';
import { TransportSense } from './transport-sense.ts';
import type { SessionInfo, TargetEntry } from './types.ts';

const { RejectReason } = reject;

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
  #dropped = false;
  #goneWaiters: (() => void)[] = [];

  readonly #commands = new CommandTable(this);
  readonly #gathering: DataGathering;
  readonly #held = new HeldRequests();

  readonly #ping: Ping;

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
    this.#gathering = new DataGathering(this, options.buffers);
    this.#sinceMs = options.clock.nowMs();
    this.#ping = new Ping(this.#sinceMs);
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
      commands: this.#commands.begun,
      readBytes: this.#readBytes,
      writtenBytes: this.#writtenBytes,
      outstanding: this.#commands.outstanding,
    };
  }

  // --- The PDUs ------------------------------------------------------------------------------------------------

  /** See PduSink.placeData. */
  placeData(head: Buffer, at: number, dataBytes: number, place: DataPlace): void {
    if (opcodeOf(head, at) !== Opcode.DataOut || !this.open) return;
    this.#gathering.placeData(this.commandOf(ittOf(head, at)), head, at, dataBytes, place);
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
    if (opcode !== Opcode.ScsiCommand) this.#openWindow();
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
        this.#gathering.onDigestError(command, head, at);
      }
      return;
    }
    if (isImmediate(head, at) || this.window.place(cmdSnOf(head, at)) !== Place.Next) return;
    // Its header is sound: the number is used up, or every command after it would wait for a gap that level 0 cannot
    // fill. A command is answered, so that the initiator need not wait for its time-out to repeat it.
    this.window.advance();
    if (opcode === Opcode.ScsiCommand) this.#refuseCommand(head, at, TransportSense.CrcError);
    else this.#openWindow();
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
    this.#gathering.start(command, fetchBytes, final, data, dataAt, dataBytes);
  }

  /** A slot for the command, its task begun; null: it was rejected. */
  #beginCommand(head: Buffer, at: number): Command | null {
    const itt = ittOf(head, at);
    if (itt === RESERVED_TAG || this.commandOf(itt) !== null) {
      // §11.2.1.8: a tag is not reused while its task is outstanding.
      this.reject(RejectReason.InvalidPduField, head, at);
      return null;
    }
    const immediate = isImmediate(head, at);
    if (immediate && this.#commands.immediates >= IMMEDIATE_COMMANDS) {
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

    const command = this.#commands.begin(itt, immediate);
    if (!immediate) this.window.take();
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
    return this.#commands.find(itt);
  }

  /** The device server is done with it, or never saw it: answer, or let it go. */
  onCommandDone(command: Command): void {
    const { task } = command;
    this.#gathering.end(command);
    if (task.dataOut !== null) {
      // Data may be on their way into it.
      this.#parser.discardData(task.dataOut.bytes);
      task.dataOut.release();
      task.dataOut = null;
    }
    if ((task.aborted && !command.failed) || this.#life !== Life.Open || this.#dropped) {
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
    this.#openWindow();
  }

  /**
   * Lets the initiator send as much as there is room for. After each request that holds no slot, too: such a one uses a
   * number up, and with no command outstanding nothing else would ever open the window again.
   */
  #openWindow(): void {
    this.window.open(this.#options.buffers.scarce);
  }

  /** Nothing is left of it but its slot. */
  retire(command: Command): void {
    this.#commands.retire(command);
  }

  #onDataOut(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const command = this.commandOf(ittOf(head, at));
    if (command === null || command.state !== CommandState.Gathering) {
      // What an aborted or failed command still had on the way is dropped (§4.2.3.3); a tag never given out is not.
      const ttt = dataOut.ttt(head, at);
      if (ttt !== RESERVED_TAG && !this.#commands.knowsSlot((ttt >>> 12) & 0xfff)) {
        this.reject(RejectReason.InvalidPduField, head, at);
      }
      return;
    }
    this.#gathering.onDataOut(command, head, at, data, dataAt, dataBytes);
  }

  // --- CmdSN gaps ----------------------------------------------------------------------------------------------

  #hold(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    if (this.#held.keep(cmdSnOf(head, at), head, at, data, dataAt, dataBytes)) return;
    this.#connection.closeAtOnce('too much came ahead of a gap in CmdSN');
  }

  #deliverHeld(): void {
    while (this.open) {
      const pdu = this.#held.take(this.window.expCmdSn);
      if (pdu === undefined) return;
      this.window.advance();
      if (pdu === null) {
        this.#openWindow();
        continue;
      }
      const dataBytes = dataBytesOf(pdu, 0);
      this.#onRequest(opcodeOf(pdu, 0), pdu, 0, pdu, pdu.length - dataBytes, dataBytes);
      if (opcodeOf(pdu, 0) !== Opcode.ScsiCommand) this.#openWindow();
    }
  }

  /**
   * ABORT TASK names a command that has not come (RFC 7143 §11.5.5): takes its CmdSN as received. False: the number is
   * not one that may still come.
   */
  takeAsReceived(refCmdSn: number, itt: number): boolean {
    const place = this.window.place(refCmdSn);
    if (place === Place.Outside) return false;
    if (!this.#held.markReceived(refCmdSn, itt)) return false;
    if (place === Place.Next) this.#deliverHeld();
    return true;
  }

  // --- NOP, text, logout, reject -------------------------------------------------------------------------------

  #onNopOut(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const itt = ittOf(head, at);
    if (itt === RESERVED_TAG) {
      this.#ping.onAnswer(nopOut.ttt(head, at));
      return;
    }
    // §11.18: a ping; as much of its data comes back as the initiator can take.
    const echoBytes = Math.min(dataBytes, this.parameters.maxSendDataSegmentBytes);
    const echo = Buffer.from(data.subarray(dataAt, dataAt + echoBytes));
    this.#sendMessage(messages.pingAnswer(itt, echo));
  }

  /** Once a TICK_MS: asks whether the peer lives (§11.19), or finds that it does not; gives up stalled writes. */
  tick(nowMs: number, heard: boolean, limits: Readonly<IscsiLimits>): void {
    if (!this.open) return;
    this.#commands.forEach(this.#tickCommand);
    switch (this.#ping.tick(nowMs, heard, limits)) {
      case 'ask':
        this.#sendMessage(messages.pingQuestion(this.#ping.ttt));
        return;
      case 'dead':
        this.#connection.closeAtOnce('the initiator does not answer a ping');
        return;
      case 'quiet':
    }
  }

  readonly #tickCommand = (command: Command): void => this.#gathering.tick(command);

  #onText(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    const request = textRequest.decode(head, at);
    const text = data.subarray(dataAt, dataAt + dataBytes);
    const reply = this.#options.text.onRequest(request, text);
    if (reply.kind === 'reject') {
      this.reject(reply.reason, head, at);
      return;
    }
    this.#sendMessage(messages.textAnswer(request.itt, reply));
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
    this.#sendMessage(messages.logoutAnswer(itt, response, this.parameters));
  }

  /** §11.17: refuses a PDU, giving its header back. */
  reject(reason: reject.RejectReason, head: Buffer, at: number): void {
    this.log.debug({ opcode: opcodeOf(head, at), itt: get32(head, at + 16), reason }, 'reject');
    this.#openWindow();
    this.#sendMessage(messages.rejection(reason, head, at));
  }

  /** §11.9: asks the initiator to log out within so many seconds. */
  requestLogout(seconds: number): void {
    if (this.open) this.#sendMessage(messages.logoutRequested(seconds));
  }

  /**
   * Tells that the session goes (§11.9), and ends it. What ends in the same turn is not answered any more: a command that was held
   * for want of a quorum ends as Offline, and told so a host would fail it instead of sending it again (C10).
   */
  drop(reason: string): void {
    if (!this.open) return;
    this.#dropped = true;
    this.#sendMessage(messages.sessionDropped(this.parameters));
    this.log.info({ reason }, 'session is dropped');
    this.#connection.closeGracefully();
  }

  /** Task management tells of a reset of everything. */
  coldReset(): void {
    if (this.target !== null) this.#options.onColdReset(this.target.name);
  }

  #sendMessage({ bhs, data, advances }: messages.Message): void {
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
