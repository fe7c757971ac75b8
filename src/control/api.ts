// The REST API, shaped like a Kubernetes API server's so that its tools and habits fit: group ashlar.io, version v1.
// Without tokens it trusts who reaches it, so it listens on loopback and answers only requests that name it so: a web
// page that talks a browser into calling it (DNS rebinding) brings another Host.
import swagger from '@fastify/swagger';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import { Type } from 'typebox';
import type { Log } from '../base/index.ts';
import type { Pool } from '../store/types.ts';
import { STORE_BLOCK_BYTES } from '../store/types.ts';
import { ApiError, invalid, notFound, type StatusCause, type StatusReason } from './errors.ts';
import { MAX_REQUEST_BYTES } from './limits.ts';
import { mergePatch } from './merge-patch.ts';
import {
  type Condition,
  GROUP,
  GROUP_VERSION,
  type PoolObject,
  SCHEMAS,
  type SessionObject,
  VolumeManifest,
  type VolumeObject,
} from './schemas.ts';
import { fieldMatcher, labelMatcher } from './selectors.ts';
import type { VolumeController } from './volume-controller.ts';

/** A session as the iSCSI room reports it (SessionInfo). */
export interface SessionFacts {
  readonly tsih: number;
  readonly type: string;
  readonly target: string;
  readonly initiator: string;
  readonly isid: string;
  readonly peer: string;
  readonly portal: string;
  readonly headerDigest: string;
  readonly dataDigest: string;
  readonly authenticatedAs: string | null;
  readonly sinceMs: number;
  readonly commands: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly outstanding: number;
}

export interface PoolFacts {
  readonly pool: Pool;
  readonly path: string;
  readonly cacheBytes: number;
  readonly sparse: boolean;
  readonly openedAt: Date;
}

export interface ApiOptions {
  readonly controller: VolumeController;
  readonly poolFacts: PoolFacts;
  readonly sessions: () => readonly SessionFacts[];
  /** Turns a session's `sinceMs` into wall time. */
  readonly wallTime: (clockMs: number) => Date;
  /** Empty when ready; else why not. */
  readonly notReady: () => string;
  readonly metrics: () => Promise<{ contentType: string; body: string }>;
  readonly version: string;
  readonly iqnPrefix: string;
  /** Listening on loopback only: then only loopback names are answered. */
  readonly loopbackOnly: boolean;
  readonly log: Log;
}

const ListQuery = Type.Object({
  labelSelector: Type.Optional(Type.String({ maxLength: 1024 })),
  fieldSelector: Type.Optional(Type.String({ maxLength: 1024 })),
  pretty: Type.Optional(Type.String()),
});
const WriteQuery = Type.Object({
  dryRun: Type.Optional(Type.Literal('All')),
  fieldManager: Type.Optional(Type.String({ maxLength: 128 })),
  fieldValidation: Type.Optional(Type.String({ maxLength: 16 })),
  pretty: Type.Optional(Type.String()),
});
const DeleteQuery = Type.Object({
  gracePeriodSeconds: Type.Optional(
    Type.String({ pattern: '^\\d{1,9}$', description: '0 ends sessions that are logged in.' }),
  ),
  propagationPolicy: Type.Optional(Type.String({ maxLength: 32 })),
  dryRun: Type.Optional(Type.Literal('All')),
  pretty: Type.Optional(Type.String()),
});
const DeleteOptions = Type.Union([
  Type.Null(),
  Type.Object(
    {
      apiVersion: Type.Optional(Type.String()),
      kind: Type.Optional(Type.Literal('DeleteOptions')),
      gracePeriodSeconds: Type.Optional(Type.Integer({ minimum: 0 })),
      propagationPolicy: Type.Optional(Type.String()),
      orphanDependents: Type.Optional(Type.Boolean()),
      dryRun: Type.Optional(Type.Array(Type.String())),
      preconditions: Type.Optional(
        Type.Object({
          uid: Type.Optional(Type.String()),
          resourceVersion: Type.Optional(Type.String()),
        }),
      ),
    },
    { additionalProperties: false },
  ),
]);
const NameParameter = Type.Object({ name: Type.String({ maxLength: 253 }) });
const failures = { '4xx': Type.Ref('io.k8s.v1.Status'), '5xx': Type.Ref('io.k8s.v1.Status') };
const VOLUMES = `/apis/${GROUP_VERSION}/volumes`;

/** The server, ready to listen or to be injected into. */
export async function buildApi(options: ApiOptions): Promise<FastifyInstance> {
  const app = fastify({
    bodyLimit: MAX_REQUEST_BYTES,
    // The daemon logs what was changed; a log of every poll of /metrics helps nobody.
    logger: false,
    // Requests are small and local: who takes longer is stuck.
    requestTimeout: 30_000,
    connectionTimeout: 60_000,
    routerOptions: { maxParamLength: 253 },
    ajv: {
      customOptions: {
        // A field that nobody knows is a mistake to be told of, not to be dropped; "5" is not 5.
        removeAdditional: false,
        coerceTypes: false,
        useDefaults: false,
        allErrors: true,
      },
    },
  }).withTypeProvider<TypeBoxTypeProvider>();
  // Answers are what the code made: a schema describes them, and does not silently cut them.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  for (const schema of SCHEMAS) app.addSchema(schema);
  app.removeContentTypeParser('text/plain');
  app.addContentTypeParser(
    ['application/merge-patch+json', 'application/strategic-merge-patch+json'],
    { parseAs: 'string' },
    app.getDefaultJsonParser('error', 'error'),
  );
  await app.register(swagger, {
    openapi: {
      openapi: '3.0.3',
      info: {
        title: 'ashlar',
        description: 'Replicated block storage. Objects follow Kubernetes API conventions.',
        version: options.version,
        license: { name: 'Apache-2.0' },
      },
    },
    refResolver: {
      buildLocalReference: (json, _base, _fragment, index) =>
        typeof json['$id'] === 'string' ? json['$id'] : `schema-${index}`,
    },
  });
  refuseForeignHosts(app, options);
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const answer = toApiError(error, request.url);
    if (answer.code === 500)
      options.log.error({ err: error, url: request.url }, 'a request failed');
    sendStatus(reply, answer);
  });
  app.setNotFoundHandler((request, reply) => {
    sendStatus(reply, new ApiError('NotFound', `the server has no ${clip(request.url)}`));
  });
  await app.register(async (scope) => {
    const plain = scope as unknown as FastifyInstance;
    addVolumes(plain, options);
    addReadOnly(plain, options);
    addDiscovery(plain, options);
    addHealth(plain, options);
  });
  return app as unknown as FastifyInstance;
}

function addVolumes(plain: FastifyInstance, options: ApiOptions): void {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { controller } = options;
  const volume = Type.Ref('io.ashlar.v1.Volume');

  app.get(
    VOLUMES,
    {
      schema: {
        tags: ['volumes'],
        summary: 'List volumes',
        querystring: ListQuery,
        response: { 200: Type.Ref('io.ashlar.v1.VolumeList'), ...failures },
      },
    },
    (request) => listOf('Volume', controller.list(), request.query, controller.resourceVersion),
  );
  app.post(
    VOLUMES,
    {
      schema: {
        tags: ['volumes'],
        summary: 'Create a volume. Answers when hosts can log in to it',
        querystring: WriteQuery,
        body: VolumeManifest,
        response: { 201: volume, ...failures },
      },
    },
    async (request, reply) => {
      const dryRun = request.query.dryRun !== undefined;
      const made = await controller.create(request.body, { dryRun });
      reply.code(201);
      return made;
    },
  );
  app.get(
    `${VOLUMES}/:name`,
    {
      schema: {
        tags: ['volumes'],
        summary: 'Read a volume',
        params: NameParameter,
        response: { 200: volume, ...failures },
      },
    },
    (request) => controller.get(request.params.name),
  );
  app.put(
    `${VOLUMES}/:name`,
    {
      schema: {
        tags: ['volumes'],
        summary: 'Replace what is wanted of a volume',
        params: NameParameter,
        querystring: WriteQuery,
        body: VolumeManifest,
        response: { 200: volume, ...failures },
      },
    },
    (request) => {
      const dryRun = request.query.dryRun !== undefined;
      return controller.update(request.params.name, () => request.body, { dryRun });
    },
  );
  app.patch(
    `${VOLUMES}/:name`,
    {
      schema: {
        tags: ['volumes'],
        summary: 'Change what is wanted of a volume: a JSON merge patch',
        consumes: ['application/merge-patch+json'],
        params: NameParameter,
        querystring: WriteQuery,
        body: Type.Object({}, { additionalProperties: true }),
        response: { 200: volume, ...failures },
      },
    },
    (request) => {
      const type = request.headers['content-type']?.split(';')[0]?.trim();
      if (type === 'application/json') {
        throw new ApiError(
          'UnsupportedMediaType',
          'a patch is sent as application/merge-patch+json',
        );
      }
      const dryRun = request.query.dryRun !== undefined;
      const { name } = request.params;
      const check = request.compileValidationSchema(VolumeManifest);
      return controller.update(
        name,
        (current) => {
          const { resourceVersion: _, ...metadata } = current.metadata;
          // Without a version in the patch, it applies to whatever there is.
          const merged = mergePatch({ ...current, metadata }, request.body);
          if (!check(merged)) {
            throw invalid('Volume', name, (check.errors ?? []).map(toCause));
          }
          return merged as VolumeManifest;
        },
        { dryRun },
      );
    },
  );
  app.delete(
    `${VOLUMES}/:name`,
    {
      schema: {
        tags: ['volumes'],
        summary: 'Delete a volume and its data. Refused while an initiator is logged in',
        params: NameParameter,
        querystring: DeleteQuery,
        body: DeleteOptions,
        response: { 200: volume, ...failures },
      },
    },
    async (request): Promise<VolumeObject> => {
      const sent = request.body ?? {};
      const { name } = request.params;
      const dryRun = request.query.dryRun !== undefined || (sent.dryRun ?? []).length > 0;
      if (dryRun) return controller.get(name);
      const grace = request.query.gracePeriodSeconds ?? sent.gracePeriodSeconds;
      const { uid, resourceVersion } = sent.preconditions ?? {};
      return controller.delete(name, {
        force: grace !== undefined && Number(grace) === 0,
        ...(uid === undefined ? {} : { uid }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
      });
    },
  );
}

type ReadOnlyObject = SessionObject | PoolObject;

function addReadOnly(plain: FastifyInstance, options: ApiOptions): void {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const kinds = [
    ['Session', 'sessions', (): ReadOnlyObject[] => presentSessions(options)],
    ['Pool', 'pools', (): ReadOnlyObject[] => [presentPool(options)]],
  ] as const;
  for (const [kind, plural, objects] of kinds) {
    app.get(
      `/apis/${GROUP_VERSION}/${plural}`,
      {
        schema: {
          tags: [plural],
          summary: `List ${plural}`,
          querystring: ListQuery,
          response: { 200: Type.Ref(`io.ashlar.v1.${kind}List`), ...failures },
        },
      },
      (request) => listOf(kind, objects(), request.query, options.controller.resourceVersion),
    );
    app.get(
      `/apis/${GROUP_VERSION}/${plural}/:name`,
      {
        schema: {
          tags: [plural],
          summary: `Read one of the ${plural}`,
          params: NameParameter,
          response: { 200: Type.Ref(`io.ashlar.v1.${kind}`), ...failures },
        },
      },
      (request) => {
        const { name } = request.params;
        const found = objects().find((object) => object.metadata.name === name);
        if (found === undefined) throw notFound(plural, name);
        return found;
      },
    );
  }
}

/** What kubectl asks before anything else. */
function addDiscovery(plain: FastifyInstance, options: ApiOptions): void {
  const hide = { schema: { hide: true } };
  const [major = '0', minor = '0'] = options.version.split('.');
  plain.get('/version', { schema: { tags: ['server'], summary: 'The version' } }, () => ({
    major,
    minor,
    gitVersion: `v${options.version}`,
    platform: `${process.platform}/${process.arch}`,
    nodeVersion: process.version,
  }));
  const groupVersion = { groupVersion: GROUP_VERSION, version: 'v1' };
  const group = { name: GROUP, versions: [groupVersion], preferredVersion: groupVersion };
  const named = (kind: string, fields: object): object => ({ kind, apiVersion: 'v1', ...fields });
  plain.get('/api', hide, () => named('APIVersions', { versions: ['v1'] }));
  plain.get('/api/v1', hide, () => named('APIResourceList', { groupVersion: 'v1', resources: [] }));
  plain.get('/apis', hide, () => named('APIGroupList', { groups: [group] }));
  plain.get(`/apis/${GROUP}`, hide, () => named('APIGroup', group));
  const read = ['get', 'list'];
  const resource = (kind: string, name: string, verbs: string[], shortNames: string[]): object => ({
    name,
    singularName: kind.toLowerCase(),
    namespaced: false,
    kind,
    verbs,
    shortNames,
  });
  plain.get(`/apis/${GROUP_VERSION}`, hide, () =>
    named('APIResourceList', {
      groupVersion: GROUP_VERSION,
      resources: [
        resource('Volume', 'volumes', [...read, 'create', 'update', 'patch', 'delete'], ['vol']),
        resource('Session', 'sessions', read, []),
        resource('Pool', 'pools', read, []),
      ],
    }),
  );
  plain.get('/openapi.json', hide, () => plain.swagger());
}

function addHealth(plain: FastifyInstance, options: ApiOptions): void {
  const tags = ['server'];
  plain.get('/livez', { schema: { tags, summary: 'The process runs' } }, (_, reply) => {
    reply.type('text/plain; charset=utf-8').send('ok');
  });
  plain.get('/readyz', { schema: { tags, summary: 'Volumes are served' } }, (_, reply) => {
    const why = options.notReady();
    reply
      .code(why === '' ? 200 : 503)
      .type('text/plain; charset=utf-8')
      .send(why === '' ? 'ok' : `not ready: ${why}`);
  });
  plain.get('/metrics', { schema: { tags, summary: 'Prometheus' } }, async (_, reply) => {
    const { contentType, body } = await options.metrics();
    return reply.header('content-type', contentType).send(body);
  });
}

function listOf<T extends { metadata: { name: string; labels?: Record<string, string> } }>(
  kind: string,
  objects: readonly T[],
  query: { labelSelector?: string; fieldSelector?: string },
  resourceVersion: string,
): object {
  const byLabel = labelMatcher(query.labelSelector ?? '');
  const byField = fieldMatcher(query.fieldSelector ?? '');
  const items = objects.filter((object) => byLabel(object) && byField(object));
  return {
    apiVersion: GROUP_VERSION,
    kind: `${kind}List`,
    metadata: { resourceVersion },
    items,
  };
}

function presentSessions(options: ApiOptions): SessionObject[] {
  return options.sessions().map((session) => {
    const { sinceMs, ...status } = session;
    const prefix = `${options.iqnPrefix}:`;
    const volume = session.target.startsWith(prefix) ? session.target.slice(prefix.length) : null;
    const name = `tsih-${session.tsih}`;
    return {
      apiVersion: GROUP_VERSION,
      kind: 'Session',
      metadata: {
        name,
        uid: `${name}-${session.isid}`,
        resourceVersion: options.controller.resourceVersion,
        generation: 1,
        creationTimestamp: seconds(options.wallTime(sinceMs)),
      },
      spec: {},
      status: { ...status, volume },
    };
  });
}

function presentPool(options: ApiOptions): PoolObject {
  const { pool, path, cacheBytes, sparse, openedAt } = options.poolFacts;
  const stats = pool.stats();
  const bytes = (blocks: number): number => blocks * STORE_BLOCK_BYTES;
  const volumes = pool.volumes();
  const provisioned = volumes.reduce((sum, volume) => sum + volume.info().sizeBlocks, 0);
  const online = stats.state === 'Online';
  const condition: Condition = {
    type: 'Ready',
    status: online ? 'True' : 'False',
    reason: stats.state,
    message: online ? 'volumes are served' : stats.fault,
    lastTransitionTime: seconds(openedAt),
  };
  return {
    apiVersion: GROUP_VERSION,
    kind: 'Pool',
    metadata: {
      name: pool.name,
      uid: pool.id,
      resourceVersion: options.controller.resourceVersion,
      generation: 1,
      creationTimestamp: seconds(openedAt),
    },
    spec: { path, cacheBytes, sparse },
    status: {
      phase: stats.state,
      sizeBytes: bytes(stats.sizeBlocks),
      usableBytes: bytes(stats.usableBlocks),
      allocatedBytes: bytes(stats.allocatedBlocks),
      freeBytes: bytes(stats.freeBlocks),
      dataBytes: bytes(stats.dataBlocks),
      metadataBytes: bytes(stats.metadataBlocks),
      pendingFreeBytes: bytes(stats.pendingFreeBlocks),
      provisionedBytes: bytes(provisioned),
      volumes: volumes.length,
      checksumErrors: stats.checksumErrors,
      ioErrors: stats.ioErrors,
      logDamaged: stats.logDamaged,
      conditions: [condition],
    },
  };
}

function refuseForeignHosts(
  app: { addHook: FastifyInstance['addHook'] },
  options: ApiOptions,
): void {
  if (!options.loopbackOnly) return;
  app.addHook('onRequest', async (request) => {
    if (namesLoopback(request.headers.host ?? '')) return;
    throw new ApiError('Forbidden', 'this API answers only to localhost (check the Host header)');
  });
}

/** `localhost`, `127.x.y.z` or `[::1]`, with or without a port. */
export function namesLoopback(host: string): boolean {
  const name = host.startsWith('[') ? host.slice(1, host.indexOf(']')) : (host.split(':')[0] ?? '');
  if (/^127(\.\d{1,3}){3}$/.test(name)) return true;
  return name === '::1' || name.toLowerCase() === 'localhost';
}

interface ValidationFault {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message?: string;
  readonly params: Record<string, unknown>;
}

function toApiError(error: FastifyError, url: string): ApiError {
  if (error instanceof ApiError) return error;
  if (error.validation !== undefined) {
    const causes = (error.validation as unknown as ValidationFault[]).map(toCause);
    if (error.validationContext === 'body') return invalid('Volume', '', causes);
    const what = causes.map((cause) => `${cause.field}: ${cause.message}`).join('; ');
    return new ApiError('BadRequest', `bad ${error.validationContext}: ${what}`, { causes });
  }
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
  return new ApiError(
    'InternalError',
    `${clip(url)} failed: ${error.message}`,
    {},
    { cause: error },
  );
}

/** An ajv error in words: the field's path, what is wrong, and what would be right. */
function toCause(fault: ValidationFault): StatusCause {
  const path = fault.instancePath
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`))
    .join('')
    .replace(/^\./, '');
  const within = (key: unknown): string => (path === '' ? String(key) : `${path}.${String(key)}`);
  switch (fault.keyword) {
    case 'additionalProperties':
      return {
        reason: 'FieldValueNotSupported',
        field: clip(within(fault.params['additionalProperty'])),
        message: 'unknown field',
      };
    case 'required':
      return {
        reason: 'FieldValueRequired',
        field: within(fault.params['missingProperty']),
        message: 'is required',
      };
    case 'const':
      return {
        reason: 'FieldValueInvalid',
        field: path,
        message: `must be ${JSON.stringify(fault.params['allowedValue'])}`,
      };
    default:
      return { reason: 'FieldValueInvalid', field: path, message: fault.message ?? 'is not valid' };
  }
}

function sendStatus(reply: FastifyReply, error: ApiError): void {
  void reply.code(error.code).type('application/json; charset=utf-8').send(error.toStatus());
}

function seconds(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}

function clip(text: string): string {
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
