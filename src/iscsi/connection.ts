// One TCP connection, from accept to close: bytes in, bytes out. It feeds the parser, runs the login, and in full
// feature phase hands PDUs to its session. Back pressure meets here: while the output is blocked, or a login waits for
// the session it replaces, the parser and the socket are paused.
import { assert, type Clock, type Log, type Random, type Turn } from '../base/index.ts';
import type { IscsiLimits } from './limits.ts';
import { MAX_QUEUED_ANSWERS } from './limits.ts';
import type { LogLimit } from './log-limit.ts';
import { LoginNegotiator, type LoginOptions, type LoginResult } from './login/index.ts';
import { Output, type SendRegions } from './output.ts';
import {
  type DataPlace,
  dataBytesOf,
  LoginStatus,
  Opcode,
  opcodeOf,
  PduParser,
  type PduSink,
  type StreamError,
} from './pdu/index.ts';
import type { Session, SessionConnection } from './session.ts';
import type { Transport, TransportHandler } from './transport.ts';

/** AHS of a SCSI Command: an extended CDB of 260 bytes, and a bidirectional length. */
const MAX_COMMAND_AHS_BYTES = 264;

export interface ConnectionOptions {
  readonly transport: Transport;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly limits: Readonly<IscsiLimits>;
  readonly regions: SendRegions;
  readonly login: LoginOptions;
  readonly owner: ConnectionOwner;
  /** Of the lines about connections that have not logged in. */
  readonly logLimit: LogLimit;
}

/** The server, as a connection sees it. */
export interface ConnectionOwner {
  /** Finds a session for the login: calls `connection.establish` or `connection.refuse`, now or later. */
  onLogin(connection: Connection, login: LoginResult): void;
  /** It is closed. Called once. */
  onConnectionClosed(connection: Connection): void;
}

/** RFC 7143 §8.1 in short: logging in, waiting for a session, full feature phase, and two ways to be closed. */
export const ConnectionState = {
  Login: 'login',
  Admitting: 'admitting',
  FullFeature: 'full-feature',
  /** What is queued still goes out; nothing is taken in. */
  Closing: 'closing',
  Closed: 'closed',
} as const;
export type ConnectionState = (typeof ConnectionState)[keyof typeof ConnectionState];

export class Connection implements TransportHandler, PduSink, SessionConnection {
  readonly transport: Transport;
  readonly parser: PduParser = new PduParser(this);
  readonly output: Output;
  readonly peer: string;
  readonly portal: string;
  readonly #options: ConnectionOptions;
  readonly #negotiator: LoginNegotiator;
  readonly #acceptedMs: number;
  readonly #log: Log;
  #state: ConnectionState = ConnectionState.Login;
  #session: Session | null = null;
  /** Bytes that came while input was paused: the rest of one read. */
  #stash: Buffer | null = null;
  #inputPaused = false;
  #heard = false;
  #feeding = false;
  /** Why it ends has been logged. */
  #told = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { transport, turn, clock, regions, log } = options;
    this.transport = transport;
    this.peer = transport.peer;
    this.portal = transport.local;
    this.output = new Output(transport, turn, clock, regions, 0);
    this.#negotiator = new LoginNegotiator(options.login);
    this.#acceptedMs = clock.nowMs();
    this.#log = log.child({ peer: this.peer });
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get session(): Session | null {
    return this.#session;
  }

  /** Not yet in full feature phase: what the limits of logins count. */
  get loggingIn(): boolean {
    return this.#state === ConnectionState.Login || this.#state === ConnectionState.Admitting;
  }

  // --- Bytes ---------------------------------------------------------------------------------------------------

  onBytes(b: Buffer, start: number, end: number): void {
    this.#heard = true;
    assert(this.#stash === null || this.#inputPaused);
    if (this.#stash !== null) {
      // A read that was under way when the input was paused.
      this.#stash = Buffer.concat([this.#stash, b.subarray(start, end)]);
      return;
    }
    this.#feed(b, start, end);
  }

  onDrained(): void {
    this.output.onDrained();
    this.#resumeInput();
  }

  onClosed(): void {
    this.#becomeClosed('the initiator closed the connection');
  }

  #feed(b: Buffer, start: number, end: number): void {
    this.#feeding = true;
    const came = this.#mayRead() ? this.parser.feed(b, start, end) : start;
    this.#feeding = false;
    if (came < end && !this.parser.closed) {
      this.#stash = Buffer.from(b.subarray(came, end));
      this.#pauseInput();
    }
  }

  #mayRead(): boolean {
    return this.#state !== ConnectionState.Admitting && !this.output.blocked;
  }

  #pauseInput(): void {
    if (this.#inputPaused) return;
    this.#inputPaused = true;
    this.transport.pauseReading();
  }

  #resumeInput(): void {
    if (!this.#inputPaused || this.#feeding) return;
    if (this.#stash !== null && this.#mayRead()) {
      const stash = this.#stash;
      this.#stash = null;
      this.#feed(stash, 0, stash.length);
    }
    if (this.#stash !== null || !this.#mayRead()) return;
    this.#inputPaused = false;
    this.transport.resumeReading();
  }

  // --- PDUs ----------------------------------------------------------------------------------------------------

  placeData(head: Buffer, at: number, dataBytes: number, place: DataPlace): void {
    if (this.#state === ConnectionState.FullFeature) {
      this.#session!.placeData(head, at, dataBytes, place);
    }
  }

  onPdu(head: Buffer, at: number, data: Buffer, dataAt: number, dataBytes: number): void {
    if (this.#state === ConnectionState.FullFeature) {
      this.#session!.onPdu(head, at, data, dataAt, dataBytes);
      if (this.output.queued > MAX_QUEUED_ANSWERS) this.output.flush();
      if (this.output.blocked) this.parser.pause();
      return;
    }
    if (this.#state === ConnectionState.Login) {
      this.#onLoginPdu(head, at, data.subarray(dataAt, dataAt + dataBytes));
    }
  }

  onDataDigestError(head: Buffer, at: number): void {
    if (this.#state === ConnectionState.FullFeature) {
      this.#session!.onDataDigestError(head, at);
    }
  }

  onStreamError(error: StreamError, head: Buffer, at: number): void {
    this.#told = this.#session === null;
    if (this.#mayLog()) {
      this.#log.warn(
        { error, opcode: opcodeOf(head, at), dataBytes: dataBytesOf(head, at) },
        'the stream cannot be trusted',
      );
    }
    this.closeAtOnce(error);
  }

  // --- Login ---------------------------------------------------------------------------------------------------

  #onLoginPdu(head: Buffer, at: number, text: Buffer): void {
    if (opcodeOf(head, at) !== Opcode.LoginRequest) {
      // RFC 7143 §6.3: nothing else before the full feature phase.
      this.refuse(LoginStatus.InvalidDuringLogin, 'not a login request');
      return;
    }
    const step = this.#negotiator.onRequest(head, at, text);
    if (step.kind === 'continue') {
      this.transport.write(step.response);
    } else if (step.kind === 'failed') {
      this.#sendRefusal(step.response, step.reason);
    } else {
      this.#state = ConnectionState.Admitting;
      this.parser.pause();
      this.#options.owner.onLogin(this, step.login);
    }
  }

  /** The login has its session: sends the last response; the full feature phase begins. */
  establish(session: Session): void {
    assert(this.#state === ConnectionState.Admitting);
    const { window, digests, parameters } = session;
    this.transport.write(
      this.#negotiator.admit({
        tsih: session.tsih,
        expCmdSn: window.expCmdSn,
        maxCmdSn: window.maxCmdSn,
      }),
    );
    this.output.statSn = this.#negotiator.statSn;
    this.output.window = window;
    this.parser.setDigests(digests);
    this.parser.setLimits({
      maxAhsBytes: MAX_COMMAND_AHS_BYTES,
      maxDataSegmentBytes: parameters.maxRecvDataSegmentBytes,
    });
    this.#session = session;
    this.#state = ConnectionState.FullFeature;
    this.#resumeInput();
  }

  /** No session for this login, or no login at all. */
  refuse(status: LoginStatus, reason: string): void {
    if (!this.loggingIn) return;
    const step = this.#negotiator.refuse(status, reason);
    this.#sendRefusal(step.response, step.reason);
  }

  #sendRefusal(response: Buffer, reason: string): void {
    this.#told = true;
    if (this.#mayLog()) {
      this.#log.info({ initiator: this.#negotiator.initiatorName, reason }, 'login refused');
    }
    this.transport.write(response);
    this.#state = ConnectionState.Closing;
    this.parser.close();
    this.#stash = null;
    this.transport.close();
  }

  /** What a session says is its own; who has none is a stranger. */
  #mayLog(): boolean {
    const { logLimit, clock } = this.#options;
    return this.#session !== null || logLimit.allows(clock.nowMs());
  }

  // --- Deadlines and the end -----------------------------------------------------------------------------------

  /** Called by the server's clock; see TICK_MS. */
  tick(nowMs: number): void {
    const { limits } = this.#options;
    if (this.loggingIn) {
      if (
        this.#state === ConnectionState.Login &&
        nowMs - this.#acceptedMs >= limits.loginDeadlineMs
      ) {
        this.closeAtOnce('login took too long');
      }
      return;
    }
    const { waitingSinceMs } = this.output;
    if (waitingSinceMs >= 0 && nowMs - waitingSinceMs >= limits.writeDeadlineMs) {
      this.closeAtOnce('the initiator takes nothing of what it is sent');
      return;
    }
    const heard = this.#heard;
    this.#heard = false;
    this.#session?.tick(nowMs, heard, limits);
  }

  closeGracefully(): void {
    if (this.#state === ConnectionState.Closing || this.#state === ConnectionState.Closed) return;
    this.#state = ConnectionState.Closing;
    this.parser.close();
    this.#stash = null;
    // What waits for the end of the turn belongs to it.
    this.output.finish(() => this.transport.close());
  }

  closeAtOnce(reason: string): void {
    this.transport.destroy();
    this.#becomeClosed(reason);
  }

  #becomeClosed(reason: string): void {
    if (this.#state === ConnectionState.Closed) return;
    this.#state = ConnectionState.Closed;
    if (!this.#told && this.#mayLog()) this.#log.info({ reason }, 'connection is closed');
    this.parser.close();
    this.#stash = null;
    this.output.close();
    this.#options.owner.onConnectionClosed(this);
    this.#session?.end();
  }
}
