// Answers that go on: watches and followed logs. Each is bounded in what it may have unsent; all end with the server.
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { assertNever } from '../base/index.ts';
import type { WatchRequest } from './client.ts';
import { ApiError } from './errors.ts';
import { apiVersionOf, type KindDefinition } from './kind.ts';
import type { KubeObject } from './meta.ts';
import type { Shape } from './negotiation.ts';
import { flag, integer, type Query } from './request.ts';
import type { ResourceServer } from './resources.ts';
import { emptyTable, partialOf, tableOf } from './table.ts';
import { WaitingLines } from './waiting-lines.ts';
import { WatchBudget } from './watch-budget.ts';

/** Each has a bounded part unsent (waiting-lines.ts), all of them have together (watch-budget.ts); and each its socket. */
const MAX_STREAMS = 4096;
/** The head of a log's answer waits so long for its first lines. */
const HEAD_MS = 1000;
const BOOKMARK_MS = 30_000;
/** Whoever has not taken what is left of an answer so long after its end is cut off. */
const TAKE_MS = 30_000;
/** Within the time that proxies allow; clients begin anew. */
const STANDARD_TIMEOUT_S = 1800;
/** What a timer can count. */
const MAX_TIMEOUT_S = 2_000_000;

export class Streams {
  readonly #open = new Set<() => void>();
  readonly #takeMs: number;
  readonly #budget = new WatchBudget();

  /** `takeMs`: what is left of an answer that has ended must be taken within that. */
  constructor(takeMs: number = TAKE_MS) {
    this.#takeMs = takeMs;
  }

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
    // 0 is no wish, as in Kubernetes.
    const timeoutS = Math.min(
      integer(query, 'timeoutSeconds') || STANDARD_TIMEOUT_S,
      MAX_TIMEOUT_S,
    );
    const wantsBookmarks = flag(query, 'allowWatchBookmarks');
    const isInitialEndTold = wantsBookmarks && request.initialEvents === true;
    let told = '';
    let first = true;
    let isInitial = request.initialEvents ?? ['', '0'].includes(request.resourceVersion ?? '');
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
    const tellBookmark = (resourceVersion: string, isInitialEnd: boolean): void => {
      told = resourceVersion;
      const object = bookmarkOf(kind, version, shape, resourceVersion, isInitialEnd);
      stream.lines([() => lineOf({ type: 'BOOKMARK', object })]);
    };
    // Refused before anything is sent, where it is; and it tells of nothing before this function has ended.
    const handle = server.watch({ ...kind, version }, request, {
      onEvents: (events) => {
        stream.lines(
          events.map(
            ({ type, object }) =>
              () =>
                lineOf({ type, object: shaped(object) }),
          ),
          isInitial,
        );
      },
      onInitialEnd: (resourceVersion) => {
        isInitial = false;
        if (isInitialEndTold) tellBookmark(resourceVersion, true);
      },
      onEnd: (error) => {
        const status =
          error instanceof ApiError ? error : new ApiError('InternalError', error.message);
        stream.lines([() => lineOf({ type: 'ERROR', object: status.toStatus() })]);
        end();
      },
    });
    const stream = this.#begin(http, reply, 'application/json', () => handle.close());
    /** A kind that rests has its version rise too: a watch begun anew from there is none from long ago. */
    const tellProgress = (): void => {
      const now = handle.progress();
      if (wantsBookmarks && now !== null && now !== told) tellBookmark(now, false);
    };
    const bookmarks = setInterval(tellProgress, BOOKMARK_MS);
    let cutOff: NodeJS.Timeout | undefined;
    /** Nothing more comes: what is left is taken, or not. */
    const end = (): void => {
      handle.close();
      clearInterval(bookmarks);
      cutOff ??= setTimeout(() => stream.cut(), this.#takeMs);
      stream.endWhenTaken();
    };
    const deadline = setTimeout(() => {
      tellProgress();
      end();
    }, timeoutS * 1000);
    stream.onEnd(() => {
      clearInterval(bookmarks);
      clearTimeout(deadline);
      clearTimeout(cutOff);
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
    // What fails at once is answered as a failure; a log that is silent has its head sent all the same.
    const firstChunk = iterator.next();
    const isSilent = await Promise.race([firstChunk.then(() => false), afterMs(HEAD_MS)]);
    if (isSilent) firstChunk.catch(() => {});
    const stream = this.#begin(http, reply, 'text/plain; charset=utf-8', () => aborted.abort());
    try {
      for (let chunk = await firstChunk; chunk.done !== true; chunk = await iterator.next()) {
        if (!(await stream.write(chunk.value))) break;
      }
    } catch (error) {
      // The head is sent: its last line is where it can be said.
      if (error instanceof ApiError) await stream.write(`${error.message}\n`);
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
      if (raw.writableFinished || raw.destroyed) return;
      const late = setTimeout(() => raw.destroy(), this.#takeMs).unref();
      for (const event of ['finish', 'close']) raw.once(event, () => clearTimeout(late));
    };
    this.#open.add(end);
    raw.on('close', end);
    raw.on('error', end);
    const cut = (): void => {
      end();
      raw.destroy();
    };
    const waiting = new WaitingLines(raw, cut, undefined, this.#budget);
    atEnd.push(() => waiting.drop());
    let isRoom: () => void = () => {};
    raw.on('drain', () => isRoom());
    atEnd.push(() => isRoom());
    /** Resolves when there is room for more, with whether anybody still reads. */
    const write = async (text: string): Promise<boolean> => {
      if (ended) return false;
      if (!raw.write(text)) {
        await new Promise<void>((resolve) => {
          isRoom = resolve;
        });
      }
      return !ended;
    };
    // Gone before its answer began: nothing will tell of that any more.
    if (raw.destroyed) end();
    return {
      write,
      lines: (lines: readonly (() => string)[], initial = false): void =>
        waiting.add(lines, initial),
      endWhenTaken: (): void => waiting.whenEmpty(end),
      cut,
      end,
      onEnd: (step: () => void): void => {
        if (ended) step();
        else atEnd.push(step);
      },
    };
  }
}

function lineOf(event: object): string {
  return `${JSON.stringify(event)}\n`;
}

/** A version that everything was told up to, in the shape that the client takes objects in. */
function bookmarkOf(
  kind: KindDefinition,
  version: string,
  shape: Shape,
  resourceVersion: string,
  isInitialEnd: boolean,
): object {
  const metadata = {
    resourceVersion,
    creationTimestamp: null,
    ...(isInitialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}),
  };
  switch (shape.as) {
    case 'object':
      return {
        kind: kind.kind,
        apiVersion: apiVersionOf({ group: kind.group, version }),
        metadata,
      };
    case 'partial':
      return partialOf({ metadata } as unknown as KubeObject, shape.version);
    case 'table':
      return emptyTable(metadata, shape.options);
    default:
      return assertNever(shape);
  }
}

function afterMs(delayMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(true), delayMs);
  });
}
