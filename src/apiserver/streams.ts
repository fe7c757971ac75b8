// Answers that go on: watches and followed logs. Each is bounded in what it may have unsent; all end with the server.
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { WatchRequest } from './client.ts';
import { ApiError } from './errors.ts';
import type { KindDefinition } from './kind.ts';
import type { KubeObject } from './meta.ts';
import { flag, integer, type Query } from './request.ts';
import type { ResourceServer } from './resources.ts';
import { partialOf, type TableOptions, tableOf } from './table.ts';

/** A client that reads slower than things change is cut off and lists again. */
const MAX_UNSENT_BYTES = 8 * 1024 * 1024;
const MAX_STREAMS = 1024;
const BOOKMARK_MS = 30_000;
/** Within the time that proxies allow; clients begin anew. */
const STANDARD_TIMEOUT_S = 1800;

export type Shape =
  | { as: 'object' }
  | { as: 'table'; options: TableOptions }
  | { as: 'partial'; version: string };

export class Streams {
  readonly #open = new Set<() => void>();

  get count(): number {
    return this.#open.size;
  }

  closeAll(): void {
    for (const end of [...this.#open]) end();
  }

  watch(
    server: ResourceServer,
    kind: KindDefinition,
    version: string,
    query: Query,
    request: WatchRequest,
    shape: Shape,
    http: FastifyRequest,
    reply: FastifyReply,
  ): void {
    this.#assertRoom();
    const timeoutS = integer(query, 'timeoutSeconds') ?? STANDARD_TIMEOUT_S;
    const isInitialWanted = flag(query, 'sendInitialEvents');
    const wantsBookmarks = flag(query, 'allowWatchBookmarks');
    let bookmark = '';
    let first = true;
    const shaped = (object: KubeObject): unknown => {
      if (shape.as === 'partial') return partialOf(object, shape.version);
      if (shape.as === 'object') return object;
      const { resourceVersion } = object.metadata;
      const table = tableOf(kind, [object], { resourceVersion }, shape.options, server.now());
      // Columns go along once: whoever prints them has them by then.
      const sent = first ? table : { ...table, columnDefinitions: [] };
      first = false;
      return sent;
    };
    const sendBookmark = (resourceVersion: string, isInitialEnd: boolean): void => {
      const annotations = isInitialEnd
        ? { annotations: { 'k8s.io/initial-events-end': 'true' } }
        : {};
      const object = {
        kind: kind.kind,
        apiVersion: kind.group === '' ? version : `${kind.group}/${version}`,
        metadata: { resourceVersion, creationTimestamp: null, ...annotations },
      };
      stream.line({ type: 'BOOKMARK', object });
    };
    // Refused before anything is sent, where it is; and it tells of nothing before this function has ended.
    const handle = server.watch({ ...kind, version }, request, {
      onEvents: (events) => {
        for (const { type, object } of events) stream.line({ type, object: shaped(object) });
      },
      onBookmark: (resourceVersion, initial) => {
        if (initial && isInitialWanted && wantsBookmarks) sendBookmark(resourceVersion, true);
        else bookmark = resourceVersion;
      },
      onEnd: (error) => {
        const status =
          error instanceof ApiError ? error : new ApiError('InternalError', error.message);
        stream.line({ type: 'ERROR', object: status.toStatus() });
        stream.end();
      },
    });
    const stream = this.#begin(http, reply, 'application/json', () => handle.close());
    const bookmarks = setInterval(() => {
      if (bookmark === '' || !wantsBookmarks) return;
      sendBookmark(bookmark, false);
      bookmark = '';
    }, BOOKMARK_MS);
    const deadline = setTimeout(() => stream.end(), timeoutS * 1000);
    stream.onEnd(() => {
      clearInterval(bookmarks);
      clearTimeout(deadline);
    });
  }

  /** Text as it comes; the stream's end is the iterable's. */
  async text(
    http: FastifyRequest,
    reply: FastifyReply,
    chunks: (signal: AbortSignal) => AsyncIterable<string>,
  ): Promise<void> {
    this.#assertRoom();
    const aborted = new AbortController();
    const iterator = chunks(aborted.signal)[Symbol.asyncIterator]();
    // The first chunk before the head: what fails at once is answered as a failure.
    const firstChunk = await iterator.next();
    const stream = this.#begin(http, reply, 'text/plain; charset=utf-8', () => aborted.abort());
    try {
      for (let chunk = firstChunk; chunk.done !== true; chunk = await iterator.next()) {
        if (!stream.write(chunk.value)) break;
      }
    } catch {
      // The head is sent; a log that breaks off is all that can be said.
    } finally {
      await iterator.return?.();
      stream.end();
    }
  }

  #assertRoom(): void {
    if (this.#open.size < MAX_STREAMS) return;
    throw new ApiError('TooManyRequests', `${MAX_STREAMS} streams are open; try again later`, {
      retryAfterSeconds: 1,
    });
  }

  #begin(http: FastifyRequest, reply: FastifyReply, contentType: string, onClosed: () => void) {
    const { raw } = reply;
    // A quiet watch is no dead one.
    // (A request that is injected, as tests do, has no real socket.)
    (http.raw.socket as Partial<Socket>).setTimeout?.(0);
    reply.hijack();
    raw.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-cache, private' });
    raw.flushHeaders();
    const atEnd: (() => void)[] = [onClosed];
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      this.#open.delete(end);
      for (const step of atEnd) step();
      raw.end();
    };
    this.#open.add(end);
    raw.on('close', end);
    raw.on('error', end);
    const write = (text: string): boolean => {
      if (ended) return false;
      raw.write(text);
      if (raw.writableLength > MAX_UNSENT_BYTES) {
        end();
        raw.destroy();
      }
      return !ended;
    };
    return {
      write,
      line: (value: unknown): boolean => write(`${JSON.stringify(value)}\n`),
      end,
      onEnd: (step: () => void): void => {
        if (ended) step();
        else atEnd.push(step);
      },
    };
  }
}
