// The iSCSI target node: takes connections, keeps the table of sessions, decides which login gets which session
// (RFC 7143 §6.3.5 and §6.3.6), enforces the bounds on logins, and ends sessions on request.
import { assert, type Clock, type Log, type Random, type Timer, type Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import type { Nexus } from '../scsi/task.ts';
import { Connection, type ConnectionOwner } from './connection.ts';
import { DEFAULT_LIMITS, type IscsiLimits, MAX_STRANGER_LOG_LINES, TICK_MS } from './limits.ts';
import { LogLimit } from './log-limit.ts';
import type { LoginOptions, LoginResult } from './login/index.ts';
import { SendRegions } from './output.ts';
import { LoginStatus } from './pdu/index.ts';
import { Session } from './session.ts';
import { DEFAULT_OFFER, inheritSession, mayLogIn, type Offer, TextExchange } from './text/index.ts';
import type { Transport } from './transport.ts';
import type { SessionInfo, TargetDirectory, TargetEntry } from './types.ts';

/** One portal, as SendTargets announces it. */
export interface PortalAddress {
  /** As an initiator reaches it: never a wildcard. IPv6 without brackets. */
  readonly address: string;
  readonly port: number;
}

export interface IscsiServerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly turn: Turn;
  readonly log: Log;
  readonly buffers: DataBufferPool;
  readonly directory: TargetDirectory;
  /**
   * The portals that SendTargets announces beside the one that the initiator came by. A wildcard (0.0.0.0, ::) says
   * nothing to an initiator and is left out. Default: none.
   */
  readonly portals?: () => readonly PortalAddress[];
  readonly portalGroupTag?: number;
  readonly offer?: Offer;
  readonly limits?: Partial<IscsiLimits>;
  readonly chapAlgorithms?: LoginOptions['chapAlgorithms'];
}

export class IscsiServer implements ConnectionOwner {
  readonly #options: IscsiServerOptions;
  readonly #limits: Readonly<IscsiLimits>;
  readonly #offer: Offer;
  readonly #portalGroupTag: number;
  readonly #logLimit: LogLimit;
  readonly #regions = new SendRegions();
  readonly #connections = new Set<Connection>();
  readonly #loginsByAddress = new Map<string, number>();
  #logins = 0;
  readonly #counted = new Set<Connection>();
  readonly #byTsih = new Map<number, Session>();
  /** Sessions by initiator port and target: who would be reinstated. */
  readonly #byPort = new Map<string, Session>();
  /** Logins that wait until the session they replace is gone. */
  readonly #waiting = new Map<string, Connection>();
  #nextTsih = 1;
  #draining = false;
  #drained: (() => void)[] = [];
  #timer: Timer | null = null;

  constructor(options: IscsiServerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#offer = options.offer ?? DEFAULT_OFFER;
    this.#portalGroupTag = options.portalGroupTag ?? 1;
    this.#logLimit = new LogLimit(options.log, MAX_STRANGER_LOG_LINES);
  }

  /** A new connection. Called inside a turn. */
  accept(transport: Transport): void {
    const { peerAddress } = transport;
    const ofAddress = this.#loginsByAddress.get(peerAddress) ?? 0;
    if (
      this.#draining ||
      this.#logins >= this.#limits.maxLogins ||
      ofAddress >= this.#limits.maxLoginsPerAddress
    ) {
      // T12: half-open logins are bounded; no answer is owed to what has not spoken.
      transport.destroy();
      return;
    }
    const { turn, clock, random, log, directory, chapAlgorithms } = this.#options;
    const connection = new Connection({
      transport,
      turn,
      clock,
      random,
      log,
      limits: this.#limits,
      regions: this.#regions,
      login: {
        directory,
        random,
        offer: this.#offer,
        portalGroupTag: this.#portalGroupTag,
        ...(chapAlgorithms === undefined ? {} : { chapAlgorithms }),
      },
      owner: this,
      logLimit: this.#logLimit,
    });
    this.#connections.add(connection);
    this.#counted.add(connection);
    this.#logins += 1;
    this.#loginsByAddress.set(peerAddress, ofAddress + 1);
    this.#keepTicking();
    transport.start(connection);
  }

  /** What is logged in. */
  sessions(): SessionInfo[] {
    return [...this.#byTsih.values()].map((session) => session.info());
  }

  /**
   * Ends the sessions of a target, which is being deleted or has no quorum (C10). Calls back when nothing of them can
   * take effect any more.
   */
  closeSessionsOf(targetName: string, reason = 'the target goes'): Promise<void> {
    const { turn } = this.#options;
    const those = [...this.#byTsih.values()].filter(({ target }) => target?.name === targetName);
    const gone = those.map(
      (session) => new Promise<void>((resolve) => session.whenGone(() => resolve())),
    );
    turn.enter();
    for (const session of those) session.drop(reason);
    turn.leave();
    const deadline = this.#endAfterDeadline(those);
    return Promise.all(gone).then(() => deadline.cancel());
  }

  /**
   * Stops: takes no more connections, asks every initiator to log out (RFC 7143 §11.9), and ends what is still there
   * after the deadline. Resolves when nothing can take effect any more.
   */
  drain(): Promise<void> {
    const { turn } = this.#options;
    this.#draining = true;
    turn.enter();
    for (const connection of [...this.#connections]) {
      if (connection.loggingIn) {
        connection.refuse(LoginStatus.ServiceUnavailable, 'the target is stopping');
      }
    }
    const all = [...this.#byTsih.values()];
    const seconds = Math.max(1, Math.floor(this.#limits.logoutDeadlineMs / 1000));
    for (const session of all) session.requestLogout(seconds);
    turn.leave();
    const deadline = this.#endAfterDeadline(all);
    return new Promise<void>((resolve) => {
      this.#drained.push(resolve);
      this.#checkDrained();
    }).then(() => deadline.cancel());
  }

  #endAfterDeadline(sessions: readonly Session[]): Timer {
    const { clock, turn } = this.#options;
    return clock.schedule(this.#limits.logoutDeadlineMs, () => {
      turn.enter();
      for (const connection of [...this.#connections]) {
        if (connection.session !== null && sessions.includes(connection.session)) {
          connection.closeAtOnce('the target asked it to log out');
        }
      }
      turn.leave();
    });
  }

  #checkDrained(): void {
    if (!this.#draining || this.#byTsih.size > 0) return;
    this.#timer?.cancel();
    this.#timer = null;
    const drained = this.#drained;
    this.#drained = [];
    for (const resolve of drained) resolve();
  }

  // --- Logins --------------------------------------------------------------------------------------------------

  onLogin(connection: Connection, login: LoginResult): void {
    if (this.#draining) {
      connection.refuse(LoginStatus.ServiceUnavailable, 'the target is stopping');
      return;
    }
    const key = portKey(login);
    if (login.tsih !== 0) {
      this.#reinstateConnection(connection, login, key);
      return;
    }
    // §6.3.5: the same initiator port at the same target again: the old session ends first, and the login waits until
    // none of its tasks can take effect (C6).
    const old = login.sessionType === 'Normal' ? this.#byPort.get(key) : undefined;
    if (old !== undefined) this.#replace(old, connection, login, key, 0);
    else this.#establish(connection, login, key, 0);
  }

  /**
   * §6.3.6: a connection of an existing session. With one connection a session it can only be its only one again; at
   * error recovery level 0 its tasks end with the old connection.
   */
  #reinstateConnection(connection: Connection, login: LoginResult, key: string): void {
    const session = this.#byTsih.get(login.tsih);
    if (session === undefined || session.login.isid !== login.isid) {
      connection.refuse(LoginStatus.SessionDoesNotExist, 'no session with that TSIH');
      return;
    }
    if (portKey(session.login) !== key || login.sessionType !== session.login.sessionType) {
      connection.refuse(LoginStatus.CannotIncludeInSession, 'the session is of another nexus');
      return;
    }
    if (session.login.cid !== login.cid) {
      connection.refuse(LoginStatus.TooManyConnections, 'a session has one connection here');
      return;
    }
    inheritSession(login.parameters, session.parameters);
    this.#replace(session, connection, login, key, session.tsih);
  }

  #replace(
    old: Session,
    connection: Connection,
    login: LoginResult,
    key: string,
    tsih: number,
  ): void {
    this.#options.log.info(
      { initiator: login.initiatorName, tsih: old.tsih },
      'a new login replaces the session',
    );
    // Of several that wait for one session only the newest can be the initiator's.
    this.#waiting.get(key)?.refuse(LoginStatus.InitiatorError, 'a newer login came');
    this.#waiting.set(key, connection);
    for (const other of [...this.#connections]) {
      if (other.session === old) other.closeAtOnce('reinstated');
    }
    old.whenGone(() => {
      if (this.#waiting.get(key) !== connection) return;
      this.#waiting.delete(key);
      if (!connection.loggingIn) return;
      this.#establish(connection, login, key, tsih);
    });
  }

  #establish(connection: Connection, login: LoginResult, key: string, tsih: number): void {
    if (this.#draining) {
      connection.refuse(LoginStatus.ServiceUnavailable, 'the target is stopping');
      return;
    }
    if (this.#byTsih.size >= this.#limits.maxSessions) {
      connection.refuse(LoginStatus.OutOfResources, 'too many sessions');
      return;
    }
    // The login may have taken long: the target may have gone, been made anew, or be for others now. Who was let in by
    // the old rules tries again, and meets the new ones.
    if (login.target !== null && !this.#stillLetsIn(login.target, login.initiatorName)) {
      connection.refuse(LoginStatus.ServiceUnavailable, 'the target went, or was changed');
      return;
    }
    const { buffers, clock, directory, log } = this.#options;
    const ownTsih = tsih !== 0 ? tsih : this.#newTsih();
    const text = new TextExchange(
      {
        directory,
        sessionType: login.sessionType,
        initiatorName: login.initiatorName,
        targetName: login.target?.name ?? null,
        addresses: (target) => this.#addresses(connection, target),
      },
      this.#offer,
      login.parameters,
    );
    const session = new Session(connection, {
      login,
      tsih: ownTsih,
      nexus: login.target === null ? null : this.#nexus(login, login.target),
      text,
      offer: this.#offer,
      buffers,
      clock,
      log: log.child({ session: ownTsih, initiator: login.initiatorName }),
      onGone: (gone) => this.#onSessionGone(gone, key),
      onColdReset: (target) => void this.closeSessionsOf(target, 'target cold reset'),
    });
    this.#byTsih.set(ownTsih, session);
    if (login.sessionType === 'Normal') this.#byPort.set(key, session);
    this.#uncount(connection);
    session.log.info(
      { target: login.target?.name, peer: connection.peer },
      'session is established',
    );
    connection.establish(session);
    connection.output.growRegions();
  }

  #stillLetsIn(target: TargetEntry, initiatorName: string): boolean {
    const now = this.#options.directory.find(target.name);
    return (
      now !== null &&
      now.state === 'online' &&
      now.scsi === target.scsi &&
      now.auth === target.auth &&
      mayLogIn(now, initiatorName)
    );
  }

  /** RFC 7143 §10.1, in the words of SPC-4's transport identifiers. */
  #nexus(login: LoginResult, target: TargetEntry): Nexus {
    const tag = this.#portalGroupTag;
    return {
      initiatorName: login.initiatorName,
      initiatorPort: `${login.initiatorName},i,0x${login.isid}`,
      targetPort: `${target.name},t,0x${tag.toString(16).padStart(4, '0')}`,
      relativeTargetPort: tag,
      authenticatedAs: login.authenticatedAs,
    };
  }

  #newTsih(): number {
    assert(this.#byTsih.size < 0xffff);
    while (this.#byTsih.has(this.#nextTsih)) this.#nextTsih = (this.#nextTsih % 0xffff) + 1;
    const tsih = this.#nextTsih;
    this.#nextTsih = (tsih % 0xffff) + 1;
    return tsih;
  }

  /** `address:port,tag` of every portal; the one that the initiator used comes first. */
  #addresses(connection: Connection, target: TargetEntry): string[] {
    const { localAddress, localPort } = connection.transport;
    const own = `${bracketed(localAddress)}:${localPort},${this.#portalGroupTag}`;
    const addresses = [own];
    for (const { address, port } of this.#options.portals?.() ?? []) {
      if (address === '0.0.0.0' || address === '::') continue;
      const text = `${bracketed(address)}:${port},${this.#portalGroupTag}`;
      if (!addresses.includes(text)) addresses.push(text);
    }
    for (const portal of target.otherPortals ?? []) {
      const text = `${portal},${this.#portalGroupTag}`;
      if (!addresses.includes(text)) addresses.push(text);
    }
    return addresses;
  }

  // --- Ends ----------------------------------------------------------------------------------------------------

  onConnectionClosed(connection: Connection): void {
    this.#connections.delete(connection);
    this.#uncount(connection);
  }

  #uncount(connection: Connection): void {
    if (!this.#counted.delete(connection)) return;
    const { peerAddress } = connection.transport;
    this.#logins -= 1;
    const left = this.#loginsByAddress.get(peerAddress)! - 1;
    if (left > 0) this.#loginsByAddress.set(peerAddress, left);
    else this.#loginsByAddress.delete(peerAddress);
  }

  #onSessionGone(session: Session, key: string): void {
    if (this.#byTsih.get(session.tsih) === session) this.#byTsih.delete(session.tsih);
    if (this.#byPort.get(key) === session) this.#byPort.delete(key);
    this.#checkDrained();
  }

  #keepTicking(): void {
    if (this.#timer !== null) return;
    const { clock, turn } = this.#options;
    this.#timer = clock.schedule(TICK_MS, () => {
      this.#timer = null;
      turn.enter();
      const nowMs = clock.nowMs();
      for (const connection of [...this.#connections]) connection.tick(nowMs);
      this.#logLimit.tick(nowMs);
      turn.leave();
      if (this.#connections.size > 0) this.#keepTicking();
    });
  }
}

/** What makes an I_T nexus: initiator name, ISID, target (RFC 7143 §10.1). Names have no commas. */
function portKey(login: LoginResult): string {
  return `${login.initiatorName},${login.isid},${login.target?.name ?? ''}`;
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
