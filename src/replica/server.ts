// Replicas on the wire: takes connections from coordinators and from whoever manages replicas, and joins their streams to
// the replicas of a host.
import type { Clock, Log, Random, Transport, Turn } from '../base/index.ts';
import type { DataBufferPool } from '../block/index.ts';
import {
  type ConnectionHandler,
  createReplicaCodec,
  decodeBegin,
  decodeOpenStream,
  deleteReplicaCodec,
  encodeReplicaIdentity,
  type FrameRegions,
  ManageMethod,
  MemberEnd,
  PayloadPool,
  Refusal,
  replicaListCodec,
  type StreamHandler,
  WireConnection,
  WireStatus,
  type WireStream,
  type WireTimeouts,
} from '../wire/index.ts';
import { type HostedReplica, type ReplicaHost, ReplicaRefusal } from './host.ts';

export interface ReplicaServerOptions {
  readonly host: ReplicaHost;
  readonly buffers: DataBufferPool;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly regions: FrameRegions;
  readonly timeouts: WireTimeouts;
  readonly node: string;
  readonly software: string;
  readonly secret: Uint8Array | null;
}

const EMPTY = new Uint8Array(0);

export class ReplicaServer {
  readonly #options: ReplicaServerOptions;
  readonly #payloads: PayloadPool;
  readonly #connections = new Set<PeerConnection>();

  constructor(options: ReplicaServerOptions) {
    this.#options = options;
    this.#payloads = new PayloadPool(options.buffers);
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  accept(transport: Transport): void {
    const peer = new PeerConnection(this.#options, this.#payloads, transport, () =>
      this.#connections.delete(peer),
    );
    this.#connections.add(peer);
    peer.connection.start();
  }

  /** The drain: coordinators are told, then the connections close. */
  close(): void {
    const { turn } = this.#options;
    turn.enter();
    for (const { connection } of [...this.#connections]) {
      connection.goAway(WireStatus.Unavailable, 'this node stops');
      connection.close('this node stops');
    }
    turn.leave();
  }
}

class PeerConnection implements ConnectionHandler {
  readonly connection: WireConnection;
  readonly #options: ReplicaServerOptions;
  readonly #payloads: PayloadPool;
  readonly #onGone: () => void;
  /** By the number of their ops stream. */
  readonly #sessions = new Map<number, { end: MemberEnd; volumeId: string; replicaId: string }>();
  #log: Log;

  constructor(
    options: ReplicaServerOptions,
    payloads: PayloadPool,
    transport: Transport,
    onGone: () => void,
  ) {
    this.#options = options;
    this.#payloads = payloads;
    this.#onGone = onGone;
    this.#log = options.log.child({ peer: transport.peer });
    this.connection = new WireConnection({
      ...options,
      makesConnection: false,
      transport,
      handler: this,
    });
  }

  onOpen(): void {
    const { peerNode, peerSoftware } = this.connection.agreement!;
    this.#log = this.#log.child({ coordinatorNode: peerNode });
    this.#log.info({ software: peerSoftware }, 'a coordinator node is connected');
  }

  onStream(
    stream: WireStream,
    request: number,
    b: Uint8Array,
    start: number,
    end: number,
  ): StreamHandler | Refusal {
    const asked = decodeOpenStream(b, start, end);
    if (asked === null) return new Refusal(WireStatus.InvalidArgument, 'no OpenStream');
    if (asked.volumeId === '') {
      stream.respond(request, EMPTY);
      return new ManagementStream(stream, this.#options.host);
    }
    if (asked.copiesOf !== 0) return this.#joinCopies(stream, request, asked.copiesOf);
    const { volumeId, replicaId } = asked;
    const replica = this.#options.host.find(volumeId, replicaId);
    if (replica === null) {
      const reason = `replica ${replicaId} of volume ${volumeId} is not on this node`;
      return new Refusal(WireStatus.NotFound, reason);
    }
    const { fault, poolName } = this.#options.host;
    if (fault !== '') {
      // Not unavailable: its node is up, and asking again soon is no use until somebody mends it.
      const reason = `pool ${poolName} on ${this.#options.node} is faulted: ${fault}`;
      this.#log.debug({ volumeId, replica: replicaId, reason }, 'a session was refused');
      return new Refusal(WireStatus.IoError, reason);
    }
    stream.respond(request, EMPTY);
    return this.#startSession(stream, replica);
  }

  onGoAway(): void {}

  onClosed(reason: string): void {
    this.#log.info({ reason }, 'the connection of a coordinator node has ended');
    this.#onGone();
  }

  #startSession(stream: WireStream, replica: HostedReplica): StreamHandler {
    const { volumeId, replicaId } = replica;
    const forget = (): void => {
      this.#sessions.delete(stream.id);
    };
    const end = new MemberEnd(this.#payloads, {
      onMessage: (message) => replica.onMessage(session, message),
      onEnd: (_status, reason) => {
        this.#log.info({ volumeId, replica: replicaId, reason }, 'a session has ended');
        forget();
        replica.endSession(session);
      },
    });
    const handler = end.attachOps(stream);
    this.#sessions.set(stream.id, { end, volumeId, replicaId });
    const session = replica.startSession({
      send: (message) => end.send(message),
      close: () => {
        forget();
        end.close(WireStatus.Aborted, 'the replica ended the session');
      },
    });
    return handler;
  }

  #joinCopies(stream: WireStream, request: number, copiesOf: number): StreamHandler | Refusal {
    const handler = this.#sessions.get(copiesOf)?.end.attachCopies(stream) ?? null;
    if (handler === null) {
      return new Refusal(WireStatus.FailedPrecondition, 'there is no such session to join');
    }
    stream.respond(request, EMPTY);
    return handler;
  }
}

/** Whoever manages replicas asks here. */
class ManagementStream implements StreamHandler {
  readonly #stream: WireStream;
  readonly #host: ReplicaHost;

  constructor(stream: WireStream, host: ReplicaHost) {
    this.#stream = stream;
    this.#host = host;
  }

  onRequest(request: number, method: number, b: Uint8Array, start: number, end: number): void {
    this.#run(method, b, start, end).then(
      (answer) => this.#stream.respond(request, answer),
      (error: unknown) => {
        const refused = error instanceof ReplicaRefusal;
        const status = refused ? STATUS_OF[error.code] : WireStatus.Internal;
        this.#stream.refuse(request, status, refused ? error.message : String(error));
      },
    );
  }

  async #run(method: number, b: Uint8Array, start: number, end: number): Promise<Uint8Array> {
    switch (method) {
      case ManageMethod.Create: {
        const asked = createReplicaCodec.decode(b, start, end);
        if (asked === null) throw new ReplicaRefusal('Invalid', 'no CreateReplica');
        return encodeReplicaIdentity((await this.#host.create(asked)).identity);
      }
      case ManageMethod.Begin: {
        const asked = decodeBegin(b, start, end);
        if (asked === null) throw new ReplicaRefusal('Invalid', 'no BeginReplica');
        return encodeReplicaIdentity(
          (await this.#host.begin(asked.record, asked.replicaId)).identity,
        );
      }
      case ManageMethod.Delete: {
        const asked = deleteReplicaCodec.decode(b, start, end);
        if (asked === null) throw new ReplicaRefusal('Invalid', 'no DeleteReplica');
        await this.#host.delete(asked.volumeId, asked.replicaId, asked.epoch);
        return EMPTY;
      }
      case ManageMethod.List:
        return replicaListCodec.encode({ entries: this.#host.list() });
      default:
        throw new ReplicaRefusal('Invalid', `no method ${method}`);
    }
  }

  place(): null {
    return null;
  }
  onData(): void {}
  onFrame(): void {}
  onEvent(): void {}
  onCancel(): void {}
  onWritable(): void {}
  onReset(): void {}
}

const STATUS_OF: Readonly<Record<ReplicaRefusal['code'], WireStatus>> = {
  NotFound: WireStatus.NotFound,
  Exists: WireStatus.AlreadyExists,
  Invalid: WireStatus.InvalidArgument,
  Fenced: WireStatus.Fenced,
  NoSpace: WireStatus.NoSpace,
  Faulted: WireStatus.IoError,
};
