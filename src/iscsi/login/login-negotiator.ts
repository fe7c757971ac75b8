// The login phase of one connection, RFC 7143 §6.3: stages, names, authentication, operational keys. A pure state
// machine: a Login Request in, a Login Response out. It owns no socket, no timer and no session: at the end it asks its
// caller to admit the login (new session, reinstatement, connection of a session), which may take time (C6), and the
// caller then has the last response made.
//
// Stages move Security -> Operational -> FullFeature, either of the first two may be left out, never back. What an
// initiator does wrong ends the login with a status (§11.13.5), never with a throw.
import { assert, type Random, serialAdd } from '../../base/index.ts';
import {
  assemblePdu,
  LoginStage,
  LoginStatus,
  loginRequest,
  loginResponse,
  type TargetNumbers,
} from '../pdu/index.ts';
import {
  answerKey,
  defaultParameters,
  formatText,
  isOperationalKey,
  type KeyValue,
  mayLogIn,
  normaliseName,
  type Offer,
  type Parameters,
  parseText,
  REJECT,
  type SessionType,
  settleParameters,
} from '../text/index.ts';
import type { AuthPolicy, TargetDirectory, TargetEntry } from '../types.ts';
import { ALL_CHAP_ALGORITHMS, type ChapAlgorithm, ChapTarget, isChapKey } from './chap.ts';
import {
  MAX_LOGIN_KEYS,
  MAX_LOGIN_REQUESTS,
  MAX_LOGIN_TEXT_BYTES,
  MAX_RESPONSE_TEXT_BYTES,
} from './limits.ts';

export interface LoginOptions {
  readonly directory: TargetDirectory;
  readonly random: Random;
  readonly offer: Offer;
  /** Of the portal the connection came by. */
  readonly portalGroupTag: number;
  /** What the target accepts; default all. */
  readonly chapAlgorithms?: readonly ChapAlgorithm[];
  /** `address[:port]` to send an initiator to instead (0101h), or null to serve it here. */
  redirect?(target: TargetEntry, initiatorName: string): string | null;
}

/** A login that lacks nothing but a session. */
export interface LoginResult {
  readonly sessionType: SessionType;
  /** null in a discovery session. */
  readonly target: TargetEntry | null;
  /** Normalised. */
  readonly initiatorName: string;
  readonly initiatorAlias: string;
  /** 12 hex digits. */
  readonly isid: string;
  /** 0: a new session, or the reinstatement of one. Else the session that the connection wants to be of. */
  readonly tsih: number;
  readonly cid: number;
  /** CmdSN of the login requests: what the new session's first command will have. */
  readonly cmdSn: number;
  readonly authenticatedAs: string | null;
  readonly parameters: Parameters;
}

/** What a request came to. `response`: the PDU to send, before anything else is done. */
export type LoginStep =
  | { readonly kind: 'continue'; readonly response: Buffer }
  /** No response yet: the caller finds a session, then calls `admit` or `refuse`. No request may come before. */
  | { readonly kind: 'admit'; readonly login: LoginResult }
  /** Send, then close. `reason` is for the log and has nothing secret in it. */
  | {
      readonly kind: 'failed';
      readonly response: Buffer;
      readonly status: LoginStatus;
      readonly reason: string;
    };

/** What the session says of itself in the last response. */
export interface Admission {
  readonly tsih: number;
  readonly expCmdSn: number;
  readonly maxCmdSn: number;
}

type Request = loginRequest.LoginRequest;

/** Thrown inside, caught in `onRequest`: an initiator's fault, on the way to the Login Response that says so. */
class LoginFailure {
  readonly status: LoginStatus;
  readonly reason: string;
  readonly answer: readonly KeyValue[];

  constructor(status: LoginStatus, reason: string, answer: readonly KeyValue[] = []) {
    this.status = status;
    this.reason = reason;
    this.answer = answer;
  }
}

function fail(status: LoginStatus, reason: string): never {
  throw new LoginFailure(status, reason);
}

const Phase = {
  /** No request came yet. */
  Start: 'start',
  Negotiating: 'negotiating',
  /** The caller looks for a session. */
  Admitting: 'admitting',
  Established: 'established',
  Failed: 'failed',
} as const;
type Phase = (typeof Phase)[keyof typeof Phase];

const Auth = { Open: 'open', Chap: 'chap', Done: 'done' } as const;
type Auth = (typeof Auth)[keyof typeof Auth];

const NO_CREDENTIALS: AuthPolicy = { chap: [], mutual: null };
const EMPTY: Buffer = Buffer.alloc(0);
const MAX_ALIAS_BYTES = 255;
/** Keys that only the first request of a login may have (§6.3, §13: "Initialize Only"). */
const FIRST_ONLY: ReadonlySet<string> = new Set(['InitiatorName', 'TargetName', 'SessionType']);

export class LoginNegotiator {
  readonly #options: LoginOptions;
  readonly #parameters: Parameters;
  #phase: Phase = Phase.Start;
  /** The first request: every later one must be of the same login. */
  #first: Request | null = null;
  #last: Request | null = null;
  #requests = 0;
  #stage: LoginStage = LoginStage.Security;
  #statSn = 0;

  #collected: Buffer = EMPTY;
  /** The part of an answer that did not fit into one response. */
  #unsent: Buffer = EMPTY;
  /** Every key negotiated or declared: none is twice in a login (§6.2). */
  readonly #seen = new Set<string>();
  #keys = 0;

  /** The first text was taken: names, session type and policy are known. */
  #introduced = false;
  #sessionType: SessionType = 'Normal';
  #initiatorName = '';
  #initiatorAlias = '';
  #target: TargetEntry | null = null;
  #policy: AuthPolicy = NO_CREDENTIALS;
  #auth: Auth = Auth.Open;
  #chap: ChapTarget | null = null;
  #authenticatedAs: string | null = null;
  /** Our MaxRecvDataSegmentLength was declared. */
  #declared = false;
  /** While admitting: what the last response answers, and its text. */
  #final: { readonly request: Request; readonly answer: Buffer } | null = null;

  constructor(options: LoginOptions) {
    this.#options = options;
    this.#parameters = defaultParameters(options.offer);
  }

  /** The StatSN of the next PDU that has one: after `admit`, where the full feature phase goes on. */
  get statSn(): number {
    return this.#statSn;
  }

  /** For log lines; '' until known. */
  get initiatorName(): string {
    return this.#initiatorName;
  }

  /** Takes one Login Request: its header at `head[at]`, its text in `data`, read before this returns and not kept. */
  onRequest(head: Buffer, at: number, data: Buffer): LoginStep {
    assert(this.#phase === Phase.Start || this.#phase === Phase.Negotiating);
    const request = loginRequest.decode(head, at);
    if (this.#first === null) {
      this.#first = request;
      this.#stage = request.csg as LoginStage;
      this.#statSn = request.expStatSn;
    }
    this.#last = request;
    this.#phase = Phase.Negotiating;
    try {
      return this.#step(request, data);
    } catch (error) {
      if (!(error instanceof LoginFailure)) throw error;
      return this.#failed(error);
    }
  }

  /** The session is found: the last response, which begins the full feature phase. */
  admit(admission: Admission): Buffer {
    assert(this.#phase === Phase.Admitting && admission.tsih !== 0);
    this.#phase = Phase.Established;
    const { request, answer } = this.#final!;
    return this.#respond(request, LoginStage.FullFeature, answer, admission);
  }

  /**
   * The login ends here: no session may be had, a PDU came that is no Login Request (InvalidDuringLogin), or the target
   * goes away. Also before any request.
   */
  refuse(status: LoginStatus, reason: string): LoginStep & { kind: 'failed' } {
    assert(this.#phase !== Phase.Established && this.#phase !== Phase.Failed);
    return this.#failed(new LoginFailure(status, reason));
  }

  #step(request: Request, data: Buffer): LoginStep {
    this.#requests += 1;
    if (this.#requests > MAX_LOGIN_REQUESTS) {
      fail(LoginStatus.InitiatorError, 'too many requests');
    }
    this.#checkHeader(request);
    if (this.#unsent.length > 0) {
      // §6.2: until the whole answer was fetched, the initiator sends empty requests.
      if (data.length > 0) fail(LoginStatus.InitiatorError, 'text while an answer is unfinished');
      return this.#answerWith(request, EMPTY);
    }
    if (this.#collected.length + data.length > MAX_LOGIN_TEXT_BYTES) {
      fail(LoginStatus.InitiatorError, 'too much text');
    }
    this.#collected = Buffer.concat([this.#collected, data]);
    if (request.continues) {
      return { kind: 'continue', response: this.#respond(request, this.#stage, EMPTY) };
    }
    const text = this.#collected;
    this.#collected = EMPTY;
    return this.#answerWith(request, formatText(this.#negotiate(text)));
  }

  /** §11.12: the fields that must hold, and must stay as they were. */
  #checkHeader(request: Request): void {
    const first = this.#first!;
    if (request.versionMin > 0) {
      fail(LoginStatus.UnsupportedVersion, 'only version 0 is spoken here');
    }
    if (!request.immediate) fail(LoginStatus.InitiatorError, 'a login request is immediate');
    if (request.transit && request.continues) {
      fail(LoginStatus.InitiatorError, 'T and C in one request');
    }
    if (request.csg !== LoginStage.Security && request.csg !== LoginStage.Operational) {
      fail(LoginStatus.InitiatorError, 'no such current stage');
    }
    if (request.csg !== this.#stage) fail(LoginStatus.InitiatorError, 'not the current stage');
    if (request.transit && (request.nsg <= request.csg || request.nsg === 2)) {
      fail(LoginStatus.InitiatorError, 'no such next stage');
    }
    const same =
      request.isid === first.isid &&
      request.tsih === first.tsih &&
      request.cid === first.cid &&
      request.cmdSn === first.cmdSn;
    if (!same) fail(LoginStatus.InitiatorError, 'ISID, TSIH, CID or CmdSN changed');
  }

  /** Answers a whole text, in order; FirstBurstLength last, as its result depends on MaxBurstLength's. */
  #negotiate(text: Buffer): KeyValue[] {
    const pairs = parseText(text, { maxPairs: MAX_LOGIN_KEYS });
    if ('error' in pairs) fail(LoginStatus.InitiatorError, pairs.error);
    this.#keys += pairs.length;
    if (this.#keys > MAX_LOGIN_KEYS) fail(LoginStatus.InitiatorError, 'too many keys');
    const values = new Map(pairs.map(({ key, value }) => [key, value]));
    const answers: KeyValue[] = [];
    if (!this.#introduced) this.#introduce(values, answers);
    else if (pairs.some(({ key }) => FIRST_ONLY.has(key))) {
      fail(LoginStatus.InitiatorError, 'a name or session type after the first request');
    }
    const burst = pairs.filter(({ key }) => key === 'FirstBurstLength');
    const others = pairs.filter(({ key }) => key !== 'FirstBurstLength');
    for (const { key, value } of [...others, ...burst]) {
      if (this.#seen.has(key)) fail(LoginStatus.InitiatorError, `${key} comes twice`);
      const answer = this.#answer(key, value);
      // What was refused was not negotiated: an operational key may come again in its own stage.
      if (answer !== REJECT) this.#seen.add(key);
      if (answer !== null) answers.push({ key, value: answer });
    }
    if (this.#stage === LoginStage.Security) this.#authenticate(values, answers);
    else this.#operate(answers);
    return answers;
  }

  /** The first request says who wants what: names, session type, and with them the policy. */
  #introduce(values: ReadonlyMap<string, string>, answers: KeyValue[]): void {
    const initiator = values.get('InitiatorName');
    if (initiator === undefined) fail(LoginStatus.MissingParameter, 'no InitiatorName');
    const initiatorName = normaliseName(initiator);
    if (initiatorName === null) fail(LoginStatus.InitiatorError, 'InitiatorName is no iSCSI name');

    const type = values.get('SessionType') ?? 'Normal';
    if (type !== 'Normal' && type !== 'Discovery') {
      fail(LoginStatus.SessionTypeNotSupported, 'no such session type');
    }
    this.#introduced = true;
    this.#sessionType = type;
    this.#initiatorName = initiatorName;
    if (type === 'Discovery') {
      this.#policy = this.#options.directory.discoveryAuth;
      return;
    }
    const target = this.#findTarget(values.get('TargetName'));
    this.#target = target;
    this.#policy = target.auth;
    if (target.alias !== '') answers.push({ key: 'TargetAlias', value: target.alias });
    // §13.9: in the first response of a login that named its target.
    const tag = String(this.#options.portalGroupTag);
    answers.push({ key: 'TargetPortalGroupTag', value: tag });
  }

  #findTarget(value: string | undefined): TargetEntry {
    if (value === undefined) fail(LoginStatus.MissingParameter, 'no TargetName');
    const name = normaliseName(value);
    const target = name === null ? null : this.#options.directory.find(name);
    if (target === null) fail(LoginStatus.NotFound, 'no such target');
    if (!mayLogIn(target, this.#initiatorName)) {
      fail(LoginStatus.AuthorizationFailure, 'the target is not for this initiator');
    }
    if (target.state !== 'online') fail(LoginStatus.ServiceUnavailable, 'the target is offline');
    const address = this.#options.redirect?.(target, this.#initiatorName) ?? target.movedTo ?? null;
    if (address !== null) {
      const answer = [{ key: 'TargetAddress', value: address }];
      throw new LoginFailure(LoginStatus.TargetMovedTemporarily, 'redirected', answer);
    }
    return target;
  }

  /** The answer to a key that is neither of the security exchange nor of the introduction. */
  #answer(key: string, value: string): string | null {
    if (FIRST_ONLY.has(key)) return null; // Taken by `#introduce`.
    if (key === 'InitiatorAlias') {
      if (Buffer.byteLength(value) <= MAX_ALIAS_BYTES) this.#initiatorAlias = value;
      return null;
    }
    // §13.4, §13.8, §13.9: a target's to say; SendTargets belongs to the full feature phase.
    if (TARGET_ONLY.has(key)) return REJECT;
    if (key === 'AuthMethod' || isChapKey(key)) {
      return this.#stage === LoginStage.Security ? null : REJECT;
    }
    if (isOperationalKey(key) && this.#stage === LoginStage.Security) return REJECT;
    return answerKey(key, value, this.#parameters, {
      offer: this.#options.offer,
      sessionType: this.#sessionType,
      leading: this.#first!.tsih === 0,
      fullFeature: false,
    });
  }

  /** SecurityNegotiation, §6.3.2 and §12.1: method first, then its exchange. */
  #authenticate(values: ReadonlyMap<string, string>, answers: KeyValue[]): void {
    const method = values.get('AuthMethod');
    const chapKeys = new Map([...values].filter(([key]) => isChapKey(key)));
    if (method !== undefined) this.#chooseMethod(method, answers);
    if (chapKeys.size === 0) return;

    if (this.#chap === null) {
      fail(LoginStatus.AuthenticationFailure, 'CHAP keys without AuthMethod=CHAP');
    }
    const step = this.#chap.step(chapKeys);
    if (step.kind === 'failed') fail(LoginStatus.AuthenticationFailure, `CHAP: ${step.reason}`);
    // CHAP_A, then CHAP_N and CHAP_R are keys of one exchange: the challenge comes between.
    answers.push(...step.answer);
    if (step.kind === 'passed') {
      this.#auth = Auth.Done;
      this.#authenticatedAs = step.user;
    }
  }

  #chooseMethod(offered: string, answers: KeyValue[]): void {
    const required = this.#policy.chap.length > 0 ? 'CHAP' : 'None';
    if (!offered.split(',').includes(required)) {
      fail(LoginStatus.AuthenticationFailure, `the initiator does not offer ${required}`);
    }
    answers.push({ key: 'AuthMethod', value: required });
    if (required === 'None') {
      this.#auth = Auth.Done;
      return;
    }
    const accepted = this.#options.chapAlgorithms ?? ALL_CHAP_ALGORITHMS;
    this.#chap = new ChapTarget(this.#policy, accepted, this.#options.random);
    this.#auth = Auth.Chap;
  }

  /** LoginOperationalNegotiation: nobody gets here who has not proven what the policy asks for. */
  #operate(answers: KeyValue[]): void {
    if (!this.#mayPass()) {
      fail(LoginStatus.AuthenticationFailure, 'the target requires authentication');
    }
    if (this.#declared) return;
    this.#declared = true;
    const value = String(this.#options.offer.maxRecvDataSegmentBytes);
    answers.push({ key: 'MaxRecvDataSegmentLength', value });
  }

  #mayPass(): boolean {
    return this.#auth === Auth.Done || (this.#policy.chap.length === 0 && this.#auth === Auth.Open);
  }

  /** Sends what is due of an answer, and moves on if the initiator wants to and nothing is left to do. */
  #answerWith(request: Request, text: Buffer): LoginStep {
    const whole = this.#unsent.length > 0 ? this.#unsent : text;
    const part = whole.subarray(0, MAX_RESPONSE_TEXT_BYTES);
    this.#unsent = whole.subarray(part.length);
    if (!request.transit || this.#unsent.length > 0 || !this.#mayLeaveStage()) {
      return { kind: 'continue', response: this.#respond(request, this.#stage, part) };
    }
    if (request.nsg !== LoginStage.FullFeature) {
      const response = this.#respond(request, request.nsg as LoginStage, part);
      this.#stage = request.nsg as LoginStage;
      return { kind: 'continue', response };
    }
    this.#recheckTarget();
    settleParameters(this.#parameters);
    this.#phase = Phase.Admitting;
    this.#final = { request, answer: part };
    return { kind: 'admit', login: this.#result(request) };
  }

  /** The target may have gone while the initiator took its time. */
  #recheckTarget(): void {
    if (this.#target === null) return;
    const target = this.#options.directory.find(this.#target.name);
    if (target === null) fail(LoginStatus.TargetRemoved, 'the target was removed');
    if (target.state !== 'online') fail(LoginStatus.ServiceUnavailable, 'the target is offline');
  }

  /** In the middle of CHAP the T bit is left unanswered (§11.13.1); without a method chosen it is a refusal. */
  #mayLeaveStage(): boolean {
    if (this.#mayPass()) return true;
    if (this.#auth === Auth.Chap) return false;
    return fail(LoginStatus.AuthenticationFailure, 'the target requires authentication');
  }

  #result(request: Request): LoginResult {
    return {
      sessionType: this.#sessionType,
      target: this.#target,
      initiatorName: this.#initiatorName,
      initiatorAlias: this.#initiatorAlias,
      isid: request.isid,
      tsih: request.tsih,
      cid: request.cid,
      cmdSn: request.cmdSn,
      authenticatedAs: this.#authenticatedAs,
      parameters: this.#parameters,
    };
  }

  /** One response. `next`: the stage it moves to; the current one for none. */
  #respond(request: Request, next: LoginStage, data: Buffer, admission?: Admission): Buffer {
    const transit = next !== this.#stage;
    const pdu: loginResponse.LoginResponse = {
      transit,
      continues: this.#unsent.length > 0,
      csg: this.#stage,
      nsg: transit ? next : 0,
      dataBytes: data.length,
      isid: request.isid,
      tsih: admission?.tsih ?? request.tsih,
      itt: request.itt,
      status: LoginStatus.Success,
      ...this.#numbers(request, admission),
    };
    return assemblePdu((b, at) => loginResponse.encode(b, at, pdu), { data });
  }

  #numbers(request: Request, admission?: Admission): TargetNumbers {
    const statSn = this.#statSn;
    this.#statSn = serialAdd(statSn, 1);
    // Until there is a session its window is the login itself.
    return {
      statSn,
      expCmdSn: admission?.expCmdSn ?? request.cmdSn,
      maxCmdSn: admission?.maxCmdSn ?? request.cmdSn,
    };
  }

  #failed(failure: LoginFailure): LoginStep & { kind: 'failed' } {
    this.#phase = Phase.Failed;
    this.#collected = EMPTY;
    this.#unsent = EMPTY;
    const request = this.#last ?? NO_REQUEST;
    const data = formatText(failure.answer);
    const pdu: loginResponse.LoginResponse = {
      transit: false,
      continues: false,
      csg: request.csg,
      nsg: 0,
      dataBytes: data.length,
      isid: request.isid,
      tsih: request.tsih,
      itt: request.itt,
      status: failure.status,
      ...this.#numbers(request),
    };
    const response = assemblePdu((b, at) => loginResponse.encode(b, at, pdu), { data });
    return { kind: 'failed', response, status: failure.status, reason: failure.reason };
  }
}

const TARGET_ONLY: ReadonlySet<string> = new Set([
  'SendTargets',
  'TargetAddress',
  'TargetAlias',
  'TargetPortalGroupTag',
]);

/** What a refusal before the first request answers. */
const NO_REQUEST = loginRequest.decode(Buffer.alloc(48), 0);
