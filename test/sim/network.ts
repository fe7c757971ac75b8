// Connections between coordinators and members. Each direction keeps the order of its ordered messages; unordered ones
// overtake. A cut holds back what is sent, as TCP does, and after a while ends the connection; a reset loses what is
// under way behind some point; each end hears of the end at its own time, if it is still there.
import {
  type CoordinatorMessage,
  isUnordered,
  type MemberMessage,
  MessageType,
} from '../../src/wire/messages.ts';
import type { Rng } from './rng.ts';
import type { Scheduler } from './scheduler.ts';

export interface NetworkOptions {
  /** Milliseconds of one way, at least and at most. */
  minDelayMs: number;
  maxDelayMs: number;
  /** How long a cut or clogged connection lives. */
  silenceMs: number;
}

type Message = CoordinatorMessage | MemberMessage;

interface Lane {
  lastMs: number;
  /** Waiting at a cut or a clog, in order. */
  held: Message[];
  clogged: boolean;
  deliver: (message: Message) => void;
}

export class Connection {
  readonly coordinator: number;
  readonly member: number;
  readonly down: Lane;
  readonly up: Lane;
  alive = true;
  readonly ended: [boolean, boolean] = [false, false];
  onEndCoordinator: () => void = () => {};
  onEndMember: () => void = () => {};

  constructor(coordinator: number, member: number) {
    this.coordinator = coordinator;
    this.member = member;
    this.down = { lastMs: 0, held: [], clogged: false, deliver: () => {} };
    this.up = { lastMs: 0, held: [], clogged: false, deliver: () => {} };
  }
}

export class Network {
  readonly #scheduler: Scheduler;
  readonly #rng: Rng;
  readonly options: NetworkOptions;
  /** cut[coordinator][member]: [down, up]. */
  readonly #cuts: [boolean, boolean][][] = [];
  readonly connections = new Set<Connection>();

  constructor(scheduler: Scheduler, rng: Rng, options: NetworkOptions) {
    this.#scheduler = scheduler;
    this.#rng = rng;
    this.options = options;
  }

  #cut(coordinator: number, member: number): [boolean, boolean] {
    let row = this.#cuts[coordinator];
    if (row === undefined) {
      row = [];
      this.#cuts[coordinator] = row;
    }
    let cut = row[member];
    if (cut === undefined) {
      cut = [false, false];
      row[member] = cut;
    }
    return cut;
  }

  isCut(coordinator: number, member: number): boolean {
    const [down, up] = this.#cut(coordinator, member);
    return down || up;
  }

  setCut(coordinator: number, member: number, down: boolean, up: boolean): void {
    const cut = this.#cut(coordinator, member);
    cut[0] = down;
    cut[1] = up;
    for (const connection of this.connections) {
      if (connection.coordinator !== coordinator || connection.member !== member) continue;
      if (down || up) this.#endAfterSilence(connection);
      else this.#release(connection);
    }
  }

  heal(): void {
    this.#cuts.forEach((row, coordinator) => {
      row.forEach((_, member) => {
        this.setCut(coordinator, member, false, false);
      });
    });
    for (const connection of this.connections) {
      connection.down.clogged = false;
      connection.up.clogged = false;
      this.#release(connection);
    }
  }

  open(coordinator: number, member: number): Connection {
    const connection = new Connection(coordinator, member);
    this.connections.add(connection);
    return connection;
  }

  send(connection: Connection, toMember: boolean, message: Message): void {
    if (!connection.alive) return;
    const lane = toMember ? connection.down : connection.up;
    const copy = { ...message } as Message;
    if (copy.type === MessageType.Apply && copy.crcs !== null)
      copy.crcs = copy.crcs.slice(0, copy.blocks);
    this.#carry(connection, lane, copy);
  }

  #carry(connection: Connection, lane: Lane, message: Message): void {
    const [down, up] = this.#cut(connection.coordinator, connection.member);
    if (lane.clogged || lane.held.length > 0 || (lane === connection.down ? down : up)) {
      lane.held.push(message);
      return;
    }
    const { minDelayMs, maxDelayMs } = this.options;
    let atMs = this.#scheduler.nowMs + this.#rng.between(minDelayMs, maxDelayMs);
    if (!isUnordered(message.type)) {
      atMs = Math.max(atMs, lane.lastMs);
      lane.lastMs = atMs;
    }
    this.#scheduler.at(atMs, () => {
      if (!connection.alive) return;
      // A cut that came while it was under way stops it too.
      const cut = this.#cut(connection.coordinator, connection.member);
      if (lane.clogged || (lane === connection.down ? cut[0] : cut[1]) || lane.held.length > 0) {
        lane.held.push(message);
        return;
      }
      lane.deliver(message);
    });
  }

  #release(connection: Connection): void {
    for (const lane of [connection.down, connection.up]) {
      const cut = this.#cut(connection.coordinator, connection.member);
      if (lane.clogged || (lane === connection.down ? cut[0] : cut[1])) continue;
      const held = lane.held.splice(0);
      for (const message of held) this.#carry(connection, lane, message);
    }
  }

  clog(connection: Connection, down: boolean, forMs: number): void {
    const lane = down ? connection.down : connection.up;
    lane.clogged = true;
    this.#scheduler.after(forMs, () => {
      lane.clogged = false;
      if (connection.alive) this.#release(connection);
    });
  }

  #endAfterSilence(connection: Connection): void {
    this.#scheduler.after(this.options.silenceMs * this.#rng.between(0.5, 1.5), () => {
      if (this.isCut(connection.coordinator, connection.member)) this.reset(connection);
    });
  }

  /** Both ends hear of it, each at its own time. */
  reset(connection: Connection): void {
    if (!connection.alive) return;
    connection.alive = false;
    this.connections.delete(connection);
    const soon = (): number =>
      this.#rng.chance(0.2) ? this.#rng.between(0, 2000) : this.#rng.between(0, 2);
    this.#scheduler.after(soon(), () => this.#end(connection, 0));
    this.#scheduler.after(soon(), () => this.#end(connection, 1));
  }

  /** One end closes: it hears nothing more; the other hears of it a little later. */
  close(connection: Connection, byMember: boolean): void {
    if (byMember) {
      this.reset(connection);
      return;
    }
    connection.ended[0] = true;
    this.reset(connection);
  }

  #end(connection: Connection, side: 0 | 1): void {
    if (connection.ended[side]) return;
    connection.ended[side] = true;
    if (side === 0) connection.onEndCoordinator();
    else connection.onEndMember();
  }
}
