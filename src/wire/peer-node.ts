// The connection to another node, kept up while somebody uses it: dialled again after a pause when it is lost, and shared by
// all volumes that have a replica there. Pauses grow, with some chance in them, so that a node that comes back is not met
// by all at once.
import type { Clock, Random, Timer, Transport, Turn } from '../base/index.ts';
import { WireConnection } from './connection.ts';
import { type ConnectionHandler, Refusal } from './connection-options.ts';
import { WireStatus } from './frame.ts';
import type { WireTimeouts } from './limits.ts';
import type { FrameRegions } from './output.ts';

/** Makes a byte stream; `done` is called once. */
export type Dial = (
  address: string,
  port: number,
  timeoutMs: number,
  done: (transport: Transport | null, error: string) => void,
) => void;

export interface PeerNodesOptions {
  readonly dial: Dial;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly random: Random;
  readonly regions: FrameRegions;
  readonly timeouts: WireTimeouts;
  readonly connectTimeoutMs: number;
  /** The pause after a first failure, and the longest one. */
  readonly leastPauseMs: number;
  readonly mostPauseMs: number;
  readonly node: string;
  readonly software: string;
  readonly secret: Uint8Array | null;
}

export interface PeerNodeUser {
  /** Streams can be opened on it. */
  onUp(connection: WireConnection): void;
  /** It cannot be reached any more, or still not. */
  onDown(reason: string): void;
}

/** All nodes that this one speaks to, by address. */
export class PeerNodes {
  readonly options: PeerNodesOptions;
  readonly #nodes = new Map<string, PeerNode>();

  constructor(options: PeerNodesOptions) {
    this.options = options;
  }

  /** `user` hears of the connection to that address from now on, until `leave`. It may hear `onUp` before this returns. */
  join(address: string, port: number, user: PeerNodeUser): PeerNode {
    const key = `${address} ${port}`;
    let node = this.#nodes.get(key);
    if (node === undefined) {
      node = new PeerNode(this.options, address, port, () => this.#nodes.delete(key));
      this.#nodes.set(key, node);
    }
    node.add(user);
    return node;
  }
}

export class PeerNode implements ConnectionHandler {
  readonly address: string;
  readonly port: number;
  readonly #options: PeerNodesOptions;
  readonly #onUnused: () => void;
  readonly #users = new Set<PeerNodeUser>();
  #connection: WireConnection | null = null;
  #dialling = false;
  #timer: Timer | null = null;
  #pauseMs = 0;
  #reason = 'not connected yet';

  constructor(options: PeerNodesOptions, address: string, port: number, onUnused: () => void) {
    this.#options = options;
    this.address = address;
    this.port = port;
    this.#onUnused = onUnused;
  }

  /** Why there is no connection, in words; empty when there is one. */
  get reason(): string {
    return this.#connection?.takesStreams === true ? '' : this.#reason;
  }

  add(user: PeerNodeUser): void {
    this.#users.add(user);
    if (this.#connection?.takesStreams === true) user.onUp(this.#connection);
    else if (this.#connection === null && !this.#dialling && this.#timer === null) this.#dial();
  }

  leave(user: PeerNodeUser): void {
    this.#users.delete(user);
    if (this.#users.size > 0) return;
    this.#onUnused();
    this.#timer?.cancel();
    this.#timer = null;
    this.#connection?.close('nobody needs it any more');
  }

  // Of the connection.

  onOpen(): void {
    this.#pauseMs = 0;
    for (const user of [...this.#users]) user.onUp(this.#connection!);
  }

  onStream(): Refusal {
    return new Refusal(WireStatus.Unimplemented, 'a coordinator serves no streams');
  }

  onGoAway(_status: number, reason: string): void {
    this.#reason = reason;
    this.#connection?.close('the peer is leaving');
  }

  onClosed(reason: string): void {
    this.#connection = null;
    this.#lost(reason);
  }

  #dial(): void {
    const { dial, connectTimeoutMs } = this.#options;
    this.#dialling = true;
    dial(this.address, this.port, connectTimeoutMs, (transport, error) => {
      this.#dialling = false;
      if (transport === null) {
        this.#lost(error);
        return;
      }
      if (this.#users.size === 0) {
        transport.destroy();
        return;
      }
      this.#connection = new WireConnection({
        ...this.#options,
        makesConnection: true,
        transport,
        handler: this,
      });
      this.#connection.start();
    });
  }

  #lost(reason: string): void {
    this.#reason = reason;
    if (this.#users.size === 0) return;
    const { leastPauseMs, mostPauseMs, clock, turn, random } = this.#options;
    this.#pauseMs = Math.min(mostPauseMs, Math.max(leastPauseMs, this.#pauseMs * 2));
    const chance = new Uint8Array(1);
    random.fill(chance);
    const pauseMs = this.#pauseMs * (0.75 + chance[0]! / 512);
    this.#timer = clock.schedule(pauseMs, () => {
      this.#timer = null;
      turn.enter();
      this.#dial();
      turn.leave();
    });
    for (const user of [...this.#users]) user.onDown(reason);
  }
}
