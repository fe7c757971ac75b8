// The link to one replica: a session on the connection to its node, begun again whenever it has ended.
import type { Clock, Timer, Turn } from '../base/index.ts';
import type { BlockOp } from '../block/index.ts';
import {
  CoordinatorEnd,
  type CoordinatorEndHandler,
  type PayloadPool,
  type PeerNode,
  type PeerNodes,
  type PeerNodeUser,
  type Place,
  WIRE_BLOCK_BYTES,
  type WireConnection,
  WireStatus,
} from '../wire/index.ts';
import type { CoordinatorMessage, MemberMessage } from '../wire/messages.ts';

export interface NodeAddress {
  readonly host: string;
  readonly port: number;
}

/** What the shell of the coordinator hears. */
export interface PeerLinkOwner {
  onLinkUp(peer: number): void;
  /** `reason`: in words; empty when this end left. */
  onLinkDown(peer: number, reason: string): void;
  /** It is not up, and a try ended so: once for each reason until it is up again. */
  onLinkRefused(peer: number, reason: string): void;
  onLinkMessage(peer: number, message: MemberMessage): void;
  readTarget(peer: number, id: number): BlockOp | null;
}

export interface PeerLinkOptions {
  readonly peer: number;
  readonly volumeId: string;
  readonly replicaId: string;
  readonly nodes: PeerNodes;
  readonly payloads: PayloadPool;
  readonly clock: Clock;
  readonly turn: Turn;
  readonly openTimeoutMs: number;
  readonly owner: PeerLinkOwner;
}

const LEAST_PAUSE_MS = 100;
const MOST_PAUSE_MS = 2000;
/** Reasons until it is up again: more are none that a person needs. */
const MOST_TOLD = 8;

export class PeerLink implements PeerNodeUser, CoordinatorEndHandler {
  readonly #options: PeerLinkOptions;
  #address: NodeAddress | null = null;
  #node: PeerNode | null = null;
  #connection: WireConnection | null = null;
  #end: CoordinatorEnd | null = null;
  #up = false;
  #pauseMs = 0;
  #timer: Timer | null = null;
  #closed = false;
  #reason = 'no address is known for it';
  #status = 0;
  /** Reasons that the owner has heard since it was up: they may take turns. */
  readonly #told = new Set<string>();
  readonly #target: { bytes: Uint8Array; byteOffset: number } = {
    bytes: new Uint8Array(0),
    byteOffset: 0,
  };

  constructor(options: PeerLinkOptions) {
    this.#options = options;
  }

  get replicaId(): string {
    return this.#options.replicaId;
  }

  get isUp(): boolean {
    return this.#up;
  }

  /** Why it is not up, in words. */
  get reason(): string {
    return this.#up ? '' : this.#reason;
  }

  /** How its last session ended: a WireStatus; 0 while one is up. NotFound: its node is there, and has no such replica. */
  get status(): number {
    return this.#up ? 0 : this.#status;
  }

  get address(): NodeAddress | null {
    return this.#address;
  }

  /** Where the replica is, from now on. Null: nobody knows. */
  moveTo(address: NodeAddress | null): void {
    const before = this.#address;
    if (before?.host === address?.host && before?.port === address?.port) return;
    this.#address = address;
    this.#leave();
    if (address === null || this.#closed) {
      this.#reason = 'no address is known for it';
      return;
    }
    this.#reason = 'not connected yet';
    this.#node = this.#options.nodes.join(address.host, address.port, this);
  }

  /** Hot. The message is lent for the call. */
  send(message: CoordinatorMessage): void {
    this.#end?.send(message);
  }

  /** Ends the session and begins another. The owner does not hear of the end. */
  restart(): void {
    this.#up = false;
    this.#end?.close(WireStatus.Aborted, 'the coordinator ended the session');
    this.#end = null;
    this.#again();
  }

  close(): void {
    this.#closed = true;
    this.#leave();
  }

  // Of the node.

  onUp(connection: WireConnection): void {
    this.#connection = connection;
    this.#pauseMs = 0;
    this.#begin();
  }

  onDown(reason: string): void {
    this.#connection = null;
    this.#reason = reason;
    this.#status = WireStatus.Unavailable;
    this.#tell(reason);
  }

  // Of the session.

  onOpen(): void {
    this.#up = true;
    this.#told.clear();
    this.#pauseMs = 0;
    this.#options.owner.onLinkUp(this.#options.peer);
  }

  onMessage(message: MemberMessage): void {
    this.#options.owner.onLinkMessage(this.#options.peer, message);
  }

  readTarget(id: number, blocks: number): Place | null {
    const { owner, peer } = this.#options;
    const op = owner.readTarget(peer, id);
    if (op === null || op.data === null || op.blocks !== blocks) return null;
    const { bytes } = op.data;
    if (op.dataByteOffset + blocks * WIRE_BLOCK_BYTES > bytes.length) return null;
    this.#target.bytes = bytes;
    this.#target.byteOffset = op.dataByteOffset;
    return this.#target;
  }

  onEnd(status: number, reason: string): void {
    this.#status = status;
    const wasUp = this.#up;
    this.#up = false;
    this.#end = null;
    this.#reason = reason;
    if (wasUp) {
      // The connection may go with it, for the same reason.
      this.#told.add(reason);
      this.#options.owner.onLinkDown(this.#options.peer, reason);
    } else this.#tell(reason);
    this.#again();
  }

  #begin(): void {
    const connection = this.#connection;
    if (this.#closed || this.#end !== null || connection?.takesStreams !== true) return;
    const { volumeId, replicaId, payloads, openTimeoutMs } = this.#options;
    const end = new CoordinatorEnd({
      connection,
      payloads,
      volumeId,
      replicaId,
      openTimeoutMs,
      handler: this,
    });
    if (!end.ended) this.#end = end;
  }

  #tell(reason: string): void {
    if (this.#closed || this.#told.has(reason) || this.#told.size >= MOST_TOLD) return;
    this.#told.add(reason);
    this.#options.owner.onLinkRefused(this.#options.peer, reason);
  }

  #again(): void {
    if (this.#closed || this.#timer !== null || this.#connection === null) return;
    const { clock, turn } = this.#options;
    this.#pauseMs = Math.min(MOST_PAUSE_MS, Math.max(LEAST_PAUSE_MS, this.#pauseMs * 2));
    this.#timer = clock.schedule(this.#pauseMs, () => {
      this.#timer = null;
      turn.enter();
      this.#begin();
      turn.leave();
    });
  }

  #leave(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const wasUp = this.#up;
    this.#up = false;
    this.#end?.close(WireStatus.Aborted, 'the coordinator leaves');
    this.#end = null;
    this.#connection = null;
    this.#node?.leave(this);
    this.#node = null;
    if (wasUp) this.#options.owner.onLinkDown(this.#options.peer, '');
  }
}
