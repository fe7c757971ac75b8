// Objects in etcd: several nodes share them. A revision is etcd's own, so versions rise over all nodes alike.
//
// A read that an endpoint does not answer goes to the next one. A change is sent once: where its answer is lost it may
// have happened, which only the caller can find out (OBJECTS_UNAVAILABLE). A watch outlives its connection: it goes on
// from the last revision it told of, at whatever endpoint answers, and ends only where etcd has forgotten that far.
import { readFileSync } from 'node:fs';
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  credentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { assert } from '../base/index.ts';
import {
  COMPACT,
  COMPARE_EQUAL,
  EVENT_DELETE,
  type KeyValue,
  type Method,
  RANGE,
  type RangeResponse,
  TARGET_MOD,
  TXN,
  type TxnResponse,
  WATCH,
  type WatchResponse,
} from './etcd-proto.ts';
import {
  type Entry,
  type EntryList,
  freezeJson,
  isKey,
  type Json,
  type ListOptions,
  MAX_VALUE_BYTES,
  type ObjectStore,
  ObjectStoreError,
  type StoreEvent,
  type Watch,
  type WatchListener,
} from './types.ts';

export interface EtcdOptions {
  /** `host:port` or http(s)://host:port, one or more of the same cluster. */
  readonly endpoints: readonly string[];
  /** Before every key: several ashlars may share one etcd. Begins with '/', ends without. */
  readonly prefix: string;
  /** Files in PEM; needed where the endpoints are https. */
  readonly tls?: {
    readonly caFile?: string;
    readonly certFile?: string;
    readonly keyFile?: string;
  };
  /** A call without an answer for so long has failed. */
  readonly timeoutMs?: number;
}

const STANDARD_TIMEOUT_MS = 5000;
/** A list is read in pages of so many, all of one revision. */
const PAGE = 1000;
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 2000;
/** History older than this is forgotten, as Kubernetes does it. */
const COMPACT_MS = 300_000;

export class EtcdObjectStore implements ObjectStore {
  readonly #clients: readonly Client[];
  readonly #prefix: string;
  readonly #timeoutMs: number;
  readonly #watches = new Set<EtcdWatch>();
  readonly #compactor: NodeJS.Timeout;
  /** The endpoint that answered last. */
  #preferred = 0;
  #compactAt = 0;
  #closed = false;

  constructor(options: EtcdOptions) {
    assert(options.endpoints.length > 0);
    assert(/^(\/[\w.-]+)*$/.test(options.prefix));
    this.#prefix = options.prefix;
    this.#timeoutMs = options.timeoutMs ?? STANDARD_TIMEOUT_MS;
    this.#clients = options.endpoints.map((endpoint) => connect(endpoint, options));
    this.#compactor = setInterval(() => void this.#compact(), COMPACT_MS);
    this.#compactor.unref();
  }

  async get(key: string): Promise<Entry | null> {
    const answer = await this.#range({ key: this.#bytes(key) });
    const [found] = answer.kvs;
    return found === undefined ? null : this.#entry(found);
  }

  async list(prefix: string, options: ListOptions = {}): Promise<EntryList> {
    const { limit, after } = options;
    const end = prefixEnd(this.#bytes(prefix));
    const entries: Entry[] = [];
    let from =
      after !== undefined && after >= prefix ? this.#bytes(`${after}\0`) : this.#bytes(prefix);
    let revision = options.revision ?? 0;
    for (;;) {
      const wanted = limit === undefined ? PAGE : Math.min(PAGE, limit - entries.length);
      const answer = await this.#range({ key: from, rangeEnd: end, limit: wanted, revision });
      // The pages after the first are of the first one's moment.
      if (revision === 0) revision = answer.header.revision;
      for (const found of answer.kvs) entries.push(this.#entry(found));
      const last = answer.kvs.at(-1);
      const isFull = limit !== undefined && entries.length >= limit;
      if (!answer.more || last === undefined || isFull) {
        return {
          entries,
          revision,
          more: answer.more,
          remaining: answer.count - answer.kvs.length,
        };
      }
      from = Buffer.concat([last.key, Buffer.of(0)]);
    }
  }

  async put(key: string, value: Json, expected: number | null): Promise<Entry> {
    const text = JSON.stringify(value);
    if (Buffer.byteLength(text) > MAX_VALUE_BYTES) {
      throw new ObjectStoreError(
        'OBJECTS_TOO_LARGE',
        `an object of ${Buffer.byteLength(text)} bytes; at most ${MAX_VALUE_BYTES} are kept`,
      );
    }
    const answer = await this.#change(key, expected, {
      requestPut: { key: this.#bytes(key), value: Buffer.from(text) },
    });
    const { revision } = answer.header;
    return Object.freeze({ key, value: freezeJson(JSON.parse(text) as Json), revision });
  }

  async delete(key: string, expected: number | null): Promise<number | null> {
    if (expected === 0) {
      const there = await this.get(key);
      if (there !== null) throw conflict(key, expected);
      return null;
    }
    const answer = await this.#change(key, expected, {
      requestDeleteRange: { key: this.#bytes(key) },
    });
    const deleted = answer.responses[0]?.responseDeleteRange?.deleted ?? 0;
    return deleted === 0 ? null : answer.header.revision;
  }

  watch(prefix: string, revision: number, listener: WatchListener): Watch {
    const watch = new EtcdWatch({
      key: this.#bytes(prefix),
      rangeEnd: prefixEnd(this.#bytes(prefix)),
      revision,
      listener,
      entry: (found) => this.#entry(found),
      client: (tries) => this.#clients[(this.#preferred + tries) % this.#clients.length]!,
      onEnd: () => this.#watches.delete(watch),
    });
    this.#watches.add(watch);
    if (this.#closed) watch.end(closedError());
    else watch.begin();
    return watch;
  }

  async revision(): Promise<number> {
    const answer = await this.#range({ key: this.#bytes('/'), limit: 1 });
    return answer.header.revision;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#compactor);
    for (const watch of [...this.#watches]) watch.end(closedError());
    for (const client of this.#clients) client.close();
  }

  async #change(key: string, expected: number | null, change: object): Promise<TxnResponse> {
    assert(isKey(key), `'${key}' is no key`);
    const target = { result: COMPARE_EQUAL, target: TARGET_MOD, key: this.#bytes(key) };
    const compare = expected === null ? [] : [{ ...target, modRevision: expected }];
    const client = this.#clients[this.#preferred]!;
    let answer: TxnResponse;
    try {
      answer = (await this.#call(client, TXN, { compare, success: [change] })) as TxnResponse;
    } catch (error) {
      // Not again, but elsewhere the next time.
      this.#preferred = (this.#preferred + 1) % this.#clients.length;
      throw error;
    }
    if (!answer.succeeded) throw conflict(key, expected);
    return answer;
  }

  async #range(request: object): Promise<RangeResponse> {
    let failure: unknown;
    for (let tries = 0; tries < this.#clients.length; tries += 1) {
      const index = (this.#preferred + tries) % this.#clients.length;
      try {
        const answer = (await this.#call(this.#clients[index]!, RANGE, request)) as RangeResponse;
        this.#preferred = index;
        return answer;
      } catch (error) {
        failure = error;
        if ((error as ObjectStoreError).code !== 'OBJECTS_UNAVAILABLE') break;
      }
    }
    throw failure;
  }

  #call(client: Client, { path, encode, decode }: Method, request: object): Promise<object> {
    if (this.#closed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + this.#timeoutMs;
      client.makeUnaryRequest(path, encode, decode, request, { deadline }, (error, answer) => {
        if (error !== null) reject(toStoreError(error));
        else resolve(answer ?? {});
      });
    });
  }

  async #compact(): Promise<void> {
    try {
      const now = await this.revision();
      const to = this.#compactAt;
      this.#compactAt = now;
      if (to > 0) await this.#call(this.#clients[this.#preferred]!, COMPACT, { revision: to });
    } catch {
      // Another node has done it already, or etcd is away: the next time will do.
    }
  }

  #bytes(key: string): Buffer {
    return Buffer.from(this.#prefix + key);
  }

  #entry({ key, value, modRevision }: KeyValue): Entry {
    const name = Buffer.from(key).toString().slice(this.#prefix.length);
    try {
      const json = freezeJson(JSON.parse(Buffer.from(value).toString()) as Json);
      return Object.freeze({ key: name, value: json, revision: modRevision });
    } catch (cause) {
      throw new ObjectStoreError('OBJECTS_CORRUPT', `${name} in etcd is not JSON`, { cause });
    }
  }
}

interface EtcdWatchOptions {
  readonly key: Buffer;
  readonly rangeEnd: Buffer;
  readonly revision: number;
  readonly listener: WatchListener;
  readonly entry: (found: KeyValue) => Entry;
  /** To be asked at the n-th try in a row. */
  readonly client: (tries: number) => Client;
  readonly onEnd: () => void;
}

class EtcdWatch implements Watch {
  readonly #options: EtcdWatchOptions;
  #stream: ClientDuplexStream<object, WatchResponse> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #tries = 0;
  #after: number;
  #over = false;

  constructor(options: EtcdWatchOptions) {
    this.#options = options;
    this.#after = options.revision;
  }

  begin(): void {
    const { key, rangeEnd, client } = this.#options;
    const stream = client(this.#tries).makeBidiStreamRequest(
      WATCH.path,
      WATCH.encode,
      WATCH.decode as (bytes: Buffer) => WatchResponse,
    );
    this.#stream = stream;
    stream.on('data', (answer: WatchResponse) => {
      if (stream === this.#stream) this.#take(answer);
    });
    const lost = (): void => {
      if (stream === this.#stream) this.#again();
    };
    stream.on('error', lost);
    stream.on('end', lost);
    // Progress is told of too, so that a quiet watch begins anew from where etcd is, not from where it once was.
    const createRequest = {
      key,
      rangeEnd,
      startRevision: this.#after + 1,
      prevKv: true,
      progressNotify: true,
    };
    stream.write({ createRequest });
  }

  progress(): number {
    return this.#after;
  }

  close(): void {
    this.#stop();
    this.#options.onEnd();
  }

  end(error: ObjectStoreError): void {
    if (this.#over) return;
    this.close();
    this.#options.listener.onEnd(error);
  }

  #take(answer: WatchResponse): void {
    if (this.#over) return;
    if (answer.compactRevision > 0) {
      const message = `revision ${this.#after} is too old: etcd begins at ${answer.compactRevision}`;
      this.end(new ObjectStoreError('OBJECTS_COMPACTED', message));
      return;
    }
    if (answer.canceled) {
      this.#again();
      return;
    }
    this.#tries = 0;
    if (answer.created) return;
    // What an object was before decides what its change is to whoever selects: without that, nobody can be told.
    const isForgotten = answer.events.some(
      ({ type, kv, prevKv }) => prevKv === null && (type === EVENT_DELETE || kv.version > 1),
    );
    if (isForgotten) {
      this.end(new ObjectStoreError('OBJECTS_COMPACTED', 'etcd no longer knows what was there'));
      return;
    }
    const events = answer.events.map((event): StoreEvent => {
      const before = event.prevKv === null ? null : this.#options.entry(event.prevKv);
      if (event.type !== EVENT_DELETE) {
        return { type: 'put', entry: this.#options.entry(event.kv), before };
      }
      const { key } = this.#options.entry({ ...event.kv, value: Buffer.from('{}') });
      return { type: 'delete', key, revision: event.kv.modRevision, before };
    });
    const last = answer.events.at(-1);
    // Only an answer without events says that there are none up to its revision: one that catches up may be behind it.
    this.#after = last?.kv.modRevision ?? Math.max(this.#after, answer.header?.revision ?? 0);
    if (events.length > 0) this.#options.listener.onEvents(events);
  }

  #again(): void {
    if (this.#over || this.#timer !== null) return;
    this.#drop();
    this.#tries += 1;
    const delayMs = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#tries, 8));
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.begin();
    }, delayMs);
  }

  #drop(): void {
    const stream = this.#stream;
    this.#stream = null;
    stream?.cancel();
  }

  #stop(): void {
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#drop();
  }
}

function connect(endpoint: string, options: EtcdOptions): Client {
  const isTls = endpoint.startsWith('https://') || options.tls !== undefined;
  const address = endpoint.replace(/^https?:\/\//, '').replace(/\/$/, '');
  return new Client(address, isTls ? tlsCredentials(options) : credentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    // Each endpoint has a connection of its own; and a dead peer is noticed.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5000,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 2000,
    // A change is sent once.
    'grpc.enable_retries': 0,
  });
}

function tlsCredentials({ tls = {} }: EtcdOptions): ChannelCredentials {
  const read = (file: string | undefined): Buffer | null =>
    file === undefined ? null : readFileSync(file);
  return credentials.createSsl(read(tls.caFile), read(tls.keyFile), read(tls.certFile));
}

/** The first key after all that begin with `prefix`; of none, the end of everything. */
function prefixEnd(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let at = end.length - 1; at >= 0; at -= 1) {
    if (end[at]! < 0xff) {
      end[at]! += 1;
      return end.subarray(0, at + 1);
    }
  }
  return Buffer.of(0);
}

function toStoreError(error: ServiceError): ObjectStoreError {
  const options = { cause: error };
  const { details } = error;
  if (error.code === status.OUT_OF_RANGE) {
    return new ObjectStoreError('OBJECTS_COMPACTED', `etcd: ${details}`, options);
  }
  if (error.code === status.INVALID_ARGUMENT && /too large/i.test(details)) {
    return new ObjectStoreError('OBJECTS_TOO_LARGE', `etcd: ${details}`, options);
  }
  if (error.code === status.RESOURCE_EXHAUSTED && /space/i.test(details)) {
    const message = `etcd takes no changes: ${details}`;
    return new ObjectStoreError('OBJECTS_FAULTED', message, options);
  }
  return new ObjectStoreError('OBJECTS_UNAVAILABLE', `etcd does not answer: ${details}`, options);
}

function closedError(): ObjectStoreError {
  return new ObjectStoreError('OBJECTS_CLOSED', 'the object store is closed');
}

function conflict(key: string, expected: number | null): ObjectStoreError {
  return new ObjectStoreError('OBJECTS_CONFLICT', `${key} has another revision than ${expected}`);
}
