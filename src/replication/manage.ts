// Asks a node to make, begin, delete and list replicas: a client of the management stream. Calls wait for the connection,
// within their deadline, so a node that restarts just then is no error.
import type { Clock, Turn } from '../base/index.ts';
import {
  type CallDone,
  type CreateReplica,
  createReplicaCodec,
  type DeleteReplica,
  decodeReplicaIdentity,
  deleteReplicaCodec,
  encodeBegin,
  listReplicasCodec,
  ManageMethod,
  openStreamBytes,
  type PeerNodes,
  type PeerNodeUser,
  type ReplicaIdentity,
  type ReplicaListEntry,
  replicaListCodec,
  type StreamHandler,
  statusName,
  type WireConnection,
  WireStatus,
} from '../wire/index.ts';
import type { VolumeRecord } from '../wire/record.ts';

export interface NodePlace {
  readonly host: string;
  readonly port: number;
}

/** What a node answered, or that it did not. */
export class ManageError extends Error {
  override readonly name = 'ManageError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class ReplicaManager {
  readonly #nodes: PeerNodes;
  readonly #clock: Clock;
  readonly #turn: Turn;
  readonly #timeoutMs: number;

  constructor(options: { nodes: PeerNodes; clock: Clock; turn: Turn; timeoutMs: number }) {
    this.#nodes = options.nodes;
    this.#clock = options.clock;
    this.#turn = options.turn;
    this.#timeoutMs = options.timeoutMs;
  }

  /** A blank replica, or the one that is there. Rejects with ManageError, as all of these. */
  async create(at: NodePlace, wanted: CreateReplica): Promise<ReplicaIdentity> {
    const b = await this.#call(at, ManageMethod.Create, createReplicaCodec.encode(wanted));
    return known(decodeReplicaIdentity(b, 0, b.length));
  }

  /** The first record of a new volume, given to a blank replica that it names. */
  async begin(at: NodePlace, record: VolumeRecord, replicaId: string): Promise<ReplicaIdentity> {
    const b = await this.#call(at, ManageMethod.Begin, encodeBegin(record, replicaId));
    return known(decodeReplicaIdentity(b, 0, b.length));
  }

  /** `epoch`: the caller's (E8). */
  async delete(at: NodePlace, which: DeleteReplica, timeoutMs = this.#timeoutMs): Promise<void> {
    await this.#call(at, ManageMethod.Delete, deleteReplicaCodec.encode(which), timeoutMs);
  }

  async list(at: NodePlace): Promise<ReplicaListEntry[]> {
    const b = await this.#call(at, ManageMethod.List, listReplicasCodec.encode({}));
    return known(replicaListCodec.decode(b, 0, b.length)).entries;
  }

  #call(
    at: NodePlace,
    method: number,
    message: Uint8Array,
    timeoutMs = this.#timeoutMs,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const where = `node at ${at.host}:${at.port}`;
      let reason = 'it cannot be reached';
      let asked = false;
      const timer = this.#clock.schedule(timeoutMs, () => {
        finish(new ManageError(WireStatus.DeadlineExceeded, `${where}: ${reason}`), null);
      });
      const finish = (error: ManageError | null, answer: Uint8Array | null): void => {
        timer.cancel();
        this.#turn.enter();
        node.leave(user);
        this.#turn.leave();
        if (error !== null) reject(error);
        else resolve(answer!);
      };
      const answered: CallDone = (status, why, b, start, end) => {
        if (status === WireStatus.Ok) finish(null, new Uint8Array(b.subarray(start, end)));
        else
          finish(
            new ManageError(status, `${where}: ${why === '' ? statusName(status) : why}`),
            null,
          );
      };
      const user: PeerNodeUser = {
        onUp: (connection: WireConnection) => {
          if (asked) return;
          asked = true;
          const stream = connection.open(
            NOBODY,
            openStreamBytes('', '', 0),
            timeoutMs,
            (status, why) => {
              if (status !== WireStatus.Ok) {
                finish(new ManageError(status, `${where}: ${why}`), null);
                return;
              }
              stream.request(method, message, timeoutMs, (...end) => {
                answered(...end);
                stream.reset(WireStatus.Ok, '');
              });
            },
          );
        },
        onDown: (why) => {
          reason = why;
        },
      };
      this.#turn.enter();
      const node = this.#nodes.join(at.host, at.port, user);
      this.#turn.leave();
    });
  }
}

function known<T>(answer: T | null): T {
  if (answer === null) throw new ManageError(WireStatus.Internal, 'an answer that cannot be read');
  return answer;
}

const NOBODY: StreamHandler = {
  place: () => null,
  onData() {},
  onFrame() {},
  onEvent() {},
  onRequest() {},
  onCancel() {},
  onWritable() {},
  onReset() {},
};
