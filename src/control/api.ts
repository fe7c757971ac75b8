// The daemon's API: the API server with this node's kinds, and beside it what a person or a supervisor asks: is it
// alive, is it ready, how much does it do.
import type { FastifyInstance } from 'fastify';
import {
  type Access,
  ApiError,
  addHealth,
  buildHttp,
  type KindDefinition,
  KindRegistry,
  NAMESPACES,
  ownKinds,
  ResourceServer,
} from '../apiserver/index.ts';
import { type Clock, type Log, SystemClock } from '../base/index.ts';
import { MemoryObjectStore, type ObjectStore } from '../objects/index.ts';
import { type NodeKindsOptions, nodeKinds, type PoolFacts, type SessionFacts } from './kinds.ts';
import type { PoolHost } from './pool-host.ts';
import { addImportable } from './pool-kind.ts';
import { addTransfers } from './transfer-routes.ts';
import type { Transfers } from './transfers.ts';
import type { VolumeController } from './volume-controller.ts';

export type { PoolFacts, SessionFacts } from './kinds.ts';

export interface ApiOptions {
  readonly controller: VolumeController;
  readonly pools: PoolHost;
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
  /** Where the objects are that are not shown from elsewhere; in memory where none is given. */
  readonly objects?: ObjectStore;
  /** Kinds beside this node's own. */
  readonly kinds?: readonly KindDefinition[];
  readonly access?: Access | null;
  readonly tls?: { readonly cert: string; readonly key: string } | null;
  readonly clock?: Clock;
  /** Streams and backups of this node's volumes, where there are some. */
  readonly transfers?: Transfers;
}

/** Namespaces that there always are. */
const NAMESPACES_AT_START = ['default', 'openebs', 'ashlar-system'];

/** This node's kinds and the machinery's own, over the object store: what HTTP serves and controllers work with. */
export async function buildResources(
  options: NodeKindsOptions & Pick<ApiOptions, 'kinds' | 'log'> & { objects: ObjectStore },
): Promise<ResourceServer> {
  const registry = new KindRegistry();
  const own = ownKinds(options.objects);
  for (const kind of [...nodeKinds(options), ...(options.kinds ?? []), ...own]) {
    registry.register(kind);
  }
  const server = new ResourceServer({
    registry,
    store: options.objects,
    log: options.log,
    now: () => new Date(),
  });
  for (const name of NAMESPACES_AT_START) {
    try {
      await server.create(NAMESPACES, { metadata: { name } });
    } catch (error) {
      if (!(error instanceof ApiError) || error.reason !== 'AlreadyExists') throw error;
    }
  }
  return server;
}

/** The server, ready to listen or to be injected into. `resources`: where they have been built already. */
export async function buildApi(
  options: ApiOptions,
  resources?: ResourceServer,
): Promise<FastifyInstance> {
  const server =
    resources ??
    (await buildResources({
      ...options,
      objects: options.objects ?? new MemoryObjectStore(),
      clock: options.clock ?? new SystemClock(),
    }));
  const app = await buildHttp({
    server,
    version: options.version,
    loopbackOnly: options.loopbackOnly,
    access: options.access ?? null,
    tls: options.tls ?? null,
  });
  addHealth(app, { ready: { node: options.notReady } });
  addMetrics(app, options);
  addImportable(app, options.pools, options.access ?? null);
  if (options.transfers !== undefined) {
    const { access } = options;
    await app.register(async (scope) => {
      addTransfers(scope, options.transfers!, access ?? null);
    });
  }
  return app;
}

function addMetrics(app: FastifyInstance, options: ApiOptions): void {
  app.get('/metrics', async (request, reply) => {
    options.access?.identify(request.headers.authorization);
    const { contentType, body } = await options.metrics();
    return reply.header('content-type', contentType).send(body);
  });
}
