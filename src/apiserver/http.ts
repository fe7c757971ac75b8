// The API over HTTP. One route takes every path below /api and /apis and looks its kind up in the registry; discovery
// and OpenAPI stand beside it. Without tokens it trusts who reaches it, so it listens on loopback and answers only
// requests that name it so: a web page that talks a browser into calling it (DNS rebinding) brings another Host.
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { stringify as stringifyYaml } from 'yaml';
import type { Access, Identity } from './access.ts';
import type { WriteOptions } from './client.ts';
import { addCompression } from './compression.ts';
import { decodeObject } from './decode.ts';
import { addDiscovery } from './discovery-routes.ts';
import { ApiError, clip, invalid, notFound, type StatusReason } from './errors.ts';
import type { KindDefinition, LogOptions, Verb } from './kind.ts';
import { listVersion, watchVersion } from './list-options.ts';
import type { KubeObject } from './meta.ts';
import { type Shape, wantedShape } from './negotiation.ts';
import { wrongPatchOption } from './object-parts.ts';
import { isNode, nodeAt, type PeerIdentity, peerOptions } from './peer-nodes.ts';
import {
  deleteRequest,
  duplicatesIn,
  flag,
  integer,
  listRequest,
  MAX_REQUEST_BYTES,
  mediaType,
  parseBody,
  parseQuery,
  parseTarget,
  patchType,
  type Query,
  type Target,
  writeOptions,
} from './request.ts';
import type { ResourceServer } from './resources.ts';
import { isOfSelf } from './self-review.ts';
import { Streams } from './streams.ts';
import { checkStructure, type Schema } from './structure.ts';
import { partialOf, tableOf } from './table.ts';
import { endUnusedAtClose } from './unused-connections.ts';

export interface HttpOptions {
  readonly server: ResourceServer;
  readonly version: string;
  /** Listening on loopback only: then only loopback names are answered. */
  readonly loopbackOnly: boolean;
  /** Null: everybody may do everything. */
  readonly access: Access | null;
  /** Certificate and key in PEM; null: without TLS. */
  readonly tls?: { readonly cert: string; readonly key: string } | null;
  /** Over TLS: as whom this node shows itself to other nodes, and whom it knows for one; null: none is. */
  readonly peers?: PeerIdentity | null;
}

/** The server, ready to listen or to be injected into; more routes may be added to it. */
export async function buildHttp(options: HttpOptions): Promise<FastifyInstance> {
  const { server } = options;
  const streams = new Streams();
  const app = fastify({
    bodyLimit: MAX_REQUEST_BYTES,
    // The daemon logs what was changed; a log of every poll of /metrics helps nobody.
    logger: false,
    // By the hook below: a stream that is received takes as long as it takes.
    requestTimeout: 0,
    connectionTimeout: 60_000,
    // Generated clients ask for /apis/ and /version/.
    routerOptions: { maxParamLength: 4096, ignoreTrailingSlash: true },
    ...(options.tls === undefined || options.tls === null
      ? {}
      : {
          https: {
            cert: options.tls.cert,
            key: options.tls.key,
            minVersion: 'TLSv1.2',
            ...(options.peers ? peerOptions(options.peers) : {}),
          },
        }),
  } as object) as unknown as FastifyInstance;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.addHook('onRequest', async (request) => {
    if (options.loopbackOnly && !namesLoopback(request.headers.host ?? '')) {
      throw new ApiError('Forbidden', 'this API answers only to localhost (check the Host header)');
    }
  });
  addDeadline(app);
  addCompression(app);
  endUnusedAtClose(app);
  app.addHook('preClose', async () => streams.closeAll());
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const answer = toApiError(error, request.url);
    if (answer.code === 500) server.log.error({ err: error, url: request.url }, 'a request failed');
    sendStatus(reply, answer);
  });
  app.setNotFoundHandler((request, reply) => {
    sendStatus(reply, new ApiError('NotFound', `the server has no ${clip(request.url)}`));
  });
  await app.register(async (scope) => {
    addDiscovery(scope, { ...options, registry: server.registry });
    const handle = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
      await new ResourceRequest(options, streams, request, reply).answer();
    for (const url of ['/api/*', '/apis/*']) {
      scope.route({ method: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'], url, handler: handle });
    }
  });
  return app;
}

/** What carries a stream of data and has no length worth a limit; its socket still must not fall silent. */
export const STREAM_TYPE = 'application/vnd.ashlar.stream';
/** Requests are small: who takes longer to send one is stuck. */
const REQUEST_DEADLINE_MS = 30_000;

function addDeadline(app: FastifyInstance): void {
  const deadlines = new WeakMap<FastifyRequest, NodeJS.Timeout>();
  const end = async (request: FastifyRequest): Promise<void> => {
    clearTimeout(deadlines.get(request));
  };
  app.addHook('onRequest', async (request) => {
    if (request.headers['content-type'] === STREAM_TYPE) return;
    const late = setTimeout(() => request.raw.socket.destroy(), REQUEST_DEADLINE_MS);
    late.unref();
    deadlines.set(request, late);
  });
  // The body has been read by then.
  app.addHook('preHandler', end);
  app.addHook('onResponse', end);
  app.addHook('onRequestAbort', end);
}

/** More are not read. */
const MAX_WARNINGS = 16;

/** Of all kinds: what people type who know other objects. */
const INSTEAD: Readonly<Record<string, string>> = {
  scale:
    'how many copies there are of a volume is its spec.replicaCount (ashlar scale volume NAME, or kubectl patch); how large it is, the request of its claim',
};

/** One request below /api or /apis. */
class ResourceRequest {
  readonly #options: HttpOptions;
  readonly #streams: Streams;
  readonly #request: FastifyRequest;
  readonly #reply: FastifyReply;
  readonly #query: Query;
  readonly #path: string;
  readonly #warnings: string[] = [];
  /** Of an answer with objects; what cannot be answered is refused before anything is done. */
  #shape: Shape | null = null;

  constructor(
    options: HttpOptions,
    streams: Streams,
    request: FastifyRequest,
    reply: FastifyReply,
  ) {
    this.#options = options;
    this.#streams = streams;
    this.#request = request;
    this.#reply = reply;
    const { path, query } = parseQuery(request.raw.url ?? '/');
    this.#path = path;
    this.#query = query;
  }

  async answer(): Promise<unknown> {
    const { server, access } = this.#options;
    const identity =
      nodeAt(this.#request.raw.socket) ??
      access?.identify(this.#request.headers.authorization) ??
      null;
    const target = parseTarget(this.#path);
    const kind =
      target === null ? null : server.registry.find(target.group, target.version, target.plural);
    if (target === null || kind === null) {
      throw new ApiError(
        'NotFound',
        `the server could not find the requested resource: ${clip(this.#path)}`,
      );
    }
    if (!kind.namespaced && target.namespace !== null) {
      throw new ApiError('NotFound', `${kind.plural} have no namespace`);
    }
    if (kind.namespaced && target.namespace === null && target.name !== null) {
      throw new ApiError('NotFound', `${kind.plural} are in namespaces: ${clip(this.#path)}`);
    }
    let result = await this.#dispatch(kind, target, identity);
    // At once: a header that is set again replaces the one before.
    if (this.#warnings.length > 0) this.#reply.header('warning', this.#warnings.map(warningHeader));
    if (result !== this.#reply && this.#shape?.as === 'object' && this.#shape.format === 'yaml') {
      this.#reply.type('application/yaml');
      result = yamlOf(result);
    }
    return result;
  }

  async #dispatch(
    kind: KindDefinition,
    target: Target,
    identity: Identity | null,
  ): Promise<unknown> {
    const { method } = this.#request;
    const { name, subresource } = target;
    if (isNode(identity) && !(subresource === 'log' && method === 'GET')) {
      throw new ApiError('Forbidden', 'nodes read logs here, and nothing else');
    }
    const allow = (verb: Verb | 'connect'): void =>
      this.#options.access?.assertAllowed(identity, verb, kind, subresource);
    if (name !== null && subresource !== null && subresource !== 'status') {
      return await this.#connect(kind, target, name, subresource, allow);
    }
    const shape = wantedShape(this.#request.headers.accept ?? '*/*', this.#query);
    this.#shape = shape;
    if (name === null) {
      switch (method) {
        case 'GET':
          return await this.#list(kind, target, shape, allow);
        case 'POST':
          if (kind.review !== undefined) return await this.#review(kind, target, identity, allow);
          allow('create');
          return await this.#create(kind, target);
        case 'DELETE':
          allow('deletecollection');
          return await this.#deleteCollection(kind, target);
        default:
          throw notAllowed(method);
      }
    }
    switch (method) {
      case 'GET':
        // As older clients watch one object.
        if (subresource === null && flag(this.#query, 'watch')) {
          return await this.#list(kind, target, shape, allow, `metadata.name=${name}`);
        }
        allow('get');
        if (subresource === 'status' && kind.hasStatus !== true)
          throw notFound(kind, `${name}/status`);
        return await this.#shaped(
          kind,
          target,
          await this.#options.server.get(refOf(kind, target), target.namespace, name),
        );
      case 'PUT':
        allow('update');
        return await this.#replace(kind, target, name);
      case 'PATCH':
        allow('patch');
        return await this.#patch(kind, target, name);
      case 'DELETE':
        if (subresource !== null) throw notAllowed(method);
        allow('delete');
        return await this.#options.server.delete(
          refOf(kind, target),
          target.namespace,
          name,
          deleteRequest(this.#query, this.#body()),
        );
      default:
        throw notAllowed(method);
    }
  }

  async #list(
    kind: KindDefinition,
    target: Target,
    shape: Shape,
    allow: (verb: Verb) => void,
    fieldSelector?: string,
  ): Promise<unknown> {
    const { server } = this.#options;
    const asked = listRequest(this.#query, target.namespace);
    const request = fieldSelector === undefined ? asked : { ...asked, fieldSelector };
    if (flag(this.#query, 'watch')) {
      allow('watch');
      const from = watchVersion(this.#query);
      // Everything about it is checked before its head is sent.
      integer(this.#query, 'timeoutSeconds');
      flag(this.#query, 'allowWatchBookmarks');
      if (shape.as === 'object' && shape.format === 'yaml') {
        throw new ApiError('NotAcceptable', 'a watch is answered in application/json');
      }
      this.#streams.watch(
        server,
        kind,
        target.version,
        this.#query,
        { ...request, ...from },
        shape,
        this.#request,
        this.#reply,
      );
      return this.#reply;
    }
    allow('list');
    const wanted = { ...request, ...listVersion(this.#query) };
    const list = await server.list(refOf(kind, target), wanted);
    if (shape.as === 'table') {
      return tableOf(kind, list.items, list.metadata, shape.options, server.now());
    }
    if (shape.as === 'partial') {
      return {
        kind: 'PartialObjectMetadataList',
        apiVersion: `meta.k8s.io/${shape.version}`,
        metadata: list.metadata,
        items: list.items.map((item) => partialOf(item, shape.version)),
      };
    }
    return list;
  }

  async #create(kind: KindDefinition, target: Target): Promise<unknown> {
    const body = this.#body();
    if (kind.namespaced && target.namespace === null) {
      throw new ApiError('BadRequest', 'an empty namespace may not be set during creation');
    }
    const sent = inNamespace(kind, target, body);
    const made = await this.#options.server.create(refOf(kind, target), sent, this.#writeOptions());
    this.#reply.code(201);
    return await this.#shaped(kind, target, made);
  }

  /** A question: answered, and kept nowhere. */
  async #review(
    kind: KindDefinition,
    target: Target,
    identity: Identity | null,
    allow: (verb: Verb) => void,
  ): Promise<unknown> {
    if (!isOfSelf(kind)) allow('create');
    const { access, server } = this.#options;
    const sent = inNamespace(kind, target, this.#body() ?? {});
    const asked = decodeObject(kind, target.version, sent, this.#writeOptions(), true);
    const causes = (await kind.validate?.(asked, null, { client: server, subresource: '' })) ?? [];
    if (causes.length > 0) throw invalid(kind, '', causes);
    const status = kind.review!(asked, { kinds: server.registry.all, access, identity });
    this.#reply.code(201);
    const shown = kind.present?.(asked) ?? asked;
    return await this.#shaped(kind, target, { ...shown, status } as KubeObject);
  }

  async #replace(kind: KindDefinition, target: Target, name: string): Promise<unknown> {
    const { server } = this.#options;
    const sent = inNamespace(kind, target, this.#body()) as KubeObject;
    const sentName = sent?.metadata?.name;
    if (sentName !== undefined && sentName !== name) {
      const message = `the name of the object (${clip(String(sentName))}) does not match the name on the URL (${clip(name)})`;
      throw new ApiError('BadRequest', message);
    }
    const object = { ...sent, metadata: { ...(sent?.metadata ?? {}), name } } as KubeObject;
    const ref = refOf(kind, target);
    const done =
      target.subresource === 'status'
        ? await server.updateStatus(ref, object, this.#writeOptions())
        : await server.update(ref, object, this.#writeOptions());
    return await this.#shaped(kind, target, done);
  }

  async #patch(kind: KindDefinition, target: Target, name: string): Promise<unknown> {
    const type = patchType(mediaType(this.#request.headers['content-type']));
    const body = this.#body();
    const isApply = type === 'apply';
    if (!isApply && this.#query.has('force')) {
      const why = 'may not be specified for non-apply patch';
      throw wrongPatchOption('force', why, 'FieldValueForbidden');
    }
    const patched = await this.#options.server.patch(
      refOf(kind, target),
      target.namespace,
      name,
      { type, body },
      {
        ...this.#writeOptions(),
        // Who applies owns what he applies: he must say who he is.
        ...(isApply ? { fieldManager: this.#query.get('fieldManager') ?? '' } : {}),
        onCreated: () => {
          this.#reply.code(201);
        },
        ...(target.subresource === 'status' ? { subresource: 'status' as const } : {}),
      },
    );
    return await this.#shaped(kind, target, patched);
  }

  async #deleteCollection(kind: KindDefinition, target: Target): Promise<unknown> {
    const { server } = this.#options;
    const ref = refOf(kind, target);
    const request = deleteRequest(this.#query, this.#body());
    const list = await server.list(ref, listRequest(this.#query, target.namespace));
    for (const { metadata } of list.items) {
      try {
        await server.delete(ref, metadata.namespace ?? null, metadata.name, request);
      } catch (error) {
        // Somebody else deleted it: that is what was wanted.
        if (!(error instanceof ApiError) || error.reason !== 'NotFound') throw error;
      }
    }
    return list;
  }

  async #connect(
    kind: KindDefinition,
    target: Target,
    name: string,
    subresource: string,
    allow: (verb: Verb | 'connect') => void,
  ): Promise<unknown> {
    const { server } = this.#options;
    const { method } = this.#request;
    const action = Object.hasOwn(kind.actions ?? {}, subresource)
      ? kind.actions?.[subresource]
      : undefined;
    if (subresource === 'log' && kind.log !== undefined && method === 'GET') {
      allow('get');
      const object = await server.get(refOf(kind, target), target.namespace, name);
      const { log } = kind;
      await this.#streams.text(this.#request, this.#reply, (signal) =>
        log(object, logOptions(this.#query, signal)),
      );
      return this.#reply;
    }
    if (action === undefined) {
      const words = { ...INSTEAD, ...kind.instead };
      const instead = Object.hasOwn(words, subresource) ? words[subresource] : undefined;
      if (instead === undefined) throw notFound(kind, `${name}/${subresource}`);
      throw new ApiError('MethodNotAllowed', `${kind.plural} have no ${subresource}: ${instead}`);
    }
    if (action.method !== method) throw notAllowed(method);
    allow(method === 'GET' ? 'get' : 'connect');
    const object = await server.get(refOf(kind, target), target.namespace, name);
    const body = method === 'GET' ? undefined : (this.#body() ?? {});
    if (action.body !== undefined) {
      const found = checkStructure(action.body as unknown as Schema, body);
      const unknown = found.unknown.map((field) => ({
        reason: 'FieldValueNotSupported' as const,
        ...field,
      }));
      const causes = [...found.causes, ...unknown];
      if (causes.length > 0) throw invalid(kind, name, causes);
    }
    const dryRun = this.#writeOptions().dryRun === true;
    return await action.run(object, { query: this.#query, body, dryRun });
  }

  #body(): unknown {
    const { body, headers } = this.#request;
    return parseBody(body as Buffer | undefined, mediaType(headers['content-type']));
  }

  #writeOptions(): WriteOptions {
    const { body, headers } = this.#request;
    return {
      duplicates: duplicatesIn(body as Buffer | undefined, mediaType(headers['content-type'])),
      ...writeOptions(this.#query, this.#request.headers['user-agent'] ?? ''),
      onWarning: (message) => {
        if (this.#warnings.length < MAX_WARNINGS) this.#warnings.push(message);
      },
    };
  }

  async #shaped(kind: KindDefinition, _target: Target, object: KubeObject): Promise<unknown> {
    const shape = this.#shape;
    if (shape === null || shape.as === 'object') return object;
    if (shape.as === 'partial') return partialOf(object, shape.version);
    const { resourceVersion } = object.metadata;
    return tableOf(kind, [object], { resourceVersion }, shape.options, this.#options.server.now());
  }
}

/** RFC 7234 §5.5, as Kubernetes' API server sends it. */
function warningHeader(warning: string): string {
  const text = clip(warning)
    .replaceAll(/[^\x20-\x7e]/g, '?')
    .replaceAll(/["\\]/g, '\\$&');
  return `299 - "${text}"`;
}

function refOf(kind: KindDefinition, target: Target) {
  return { ...kind, version: target.version };
}

/** The namespace of the path goes into the object; another one in it is a mistake. */
function inNamespace(kind: KindDefinition, target: Target, body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new ApiError('BadRequest', `the body must be a ${kind.kind}, as a JSON object`);
  }
  const object = body as { metadata?: unknown };
  const metadata = object.metadata ?? {};
  // What is wrong with it is told by whoever decodes it.
  if (!kind.namespaced || typeof metadata !== 'object' || Array.isArray(metadata)) return body;
  const { namespace } = metadata as { namespace?: unknown };
  if (
    namespace !== undefined &&
    namespace !== '' &&
    namespace !== null &&
    namespace !== target.namespace
  ) {
    throw new ApiError(
      'BadRequest',
      `the namespace of the provided object (${clip(String(namespace))}) does not match the namespace sent on the request (${target.namespace})`,
    );
  }
  return { ...object, metadata: { ...metadata, namespace: target.namespace } };
}

function logOptions(query: Query, signal: AbortSignal): LogOptions {
  return {
    container: query.get('container') ?? null,
    follow: flag(query, 'follow'),
    previous: flag(query, 'previous'),
    timestamps: flag(query, 'timestamps'),
    tailLines: integer(query, 'tailLines'),
    sinceSeconds: integer(query, 'sinceSeconds'),
    sinceTime: timeIn(query, 'sinceTime'),
    limitBytes: integer(query, 'limitBytes', 1),
    signal,
  };
}

function timeIn(query: Query, name: string): string | null {
  const value = query.get(name) ?? '';
  if (value === '') return null;
  if (!Number.isNaN(Date.parse(value))) return value;
  throw new ApiError('BadRequest', `bad query: ${name}: '${clip(value)}' is no time`);
}

/** JSON is YAML, too: what is long is not worth the time that a nicer one takes. */
function yamlOf(value: unknown): string {
  const isLong = Array.isArray((value as { items?: unknown }).items);
  return isLong ? JSON.stringify(value, null, 2) : stringifyYaml(value);
}

/** `localhost`, `127.x.y.z` or `[::1]`, with or without a port. */
export function namesLoopback(host: string): boolean {
  const name = host.startsWith('[') ? host.slice(1, host.indexOf(']')) : (host.split(':')[0] ?? '');
  if (/^127(\.\d{1,3}){3}$/.test(name)) return true;
  return name === '::1' || name.toLowerCase() === 'localhost';
}

function notAllowed(method: string): ApiError {
  return new ApiError('MethodNotAllowed', `${method} is not allowed here`);
}

function toApiError(error: FastifyError, url: string): ApiError {
  if (error instanceof ApiError) return error;
  const byCode: Readonly<Record<number, StatusReason>> = {
    400: 'BadRequest',
    404: 'NotFound',
    405: 'MethodNotAllowed',
    413: 'RequestEntityTooLarge',
    415: 'UnsupportedMediaType',
  };
  const code = error.statusCode ?? 500;
  // What Fastify calls the client's fault is not ours, whatever its number.
  const reason = byCode[code] ?? (code >= 400 && code < 500 ? 'BadRequest' : undefined);
  if (reason !== undefined) return new ApiError(reason, error.message);
  const todo =
    error.code === 'ENOSPC'
      ? ': the disk below dataDir of this daemon is full; make room and try again'
      : '';
  return new ApiError(
    'InternalError',
    `${clip(url)} failed: ${error.message}${todo}`,
    {},
    { cause: error },
  );
}

function sendStatus(reply: FastifyReply, error: ApiError): void {
  if (error.details.retryAfterSeconds !== undefined) {
    reply.header('retry-after', String(error.details.retryAfterSeconds));
  }
  if (error.reason === 'Unauthorized') reply.header('www-authenticate', 'Bearer realm="ashlar"');
  void reply.code(error.code).type('application/json; charset=utf-8').send(error.toStatus());
}
