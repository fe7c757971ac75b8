// What clients ask before anything else: the version, which groups and kinds there are, and how they are made.
import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Access } from './access.ts';
import {
  aggregatedDiscovery,
  coreVersions,
  groupList,
  groupOf,
  resourceList,
} from './discovery.ts';
import { ApiError } from './errors.ts';
import type { KindRegistry } from './kind.ts';
import { openapiV2, openapiV3, openapiV3Index } from './openapi.ts';
import { encodeOpenapiV2, OPENAPI_PROTOBUF } from './openapi-protobuf.ts';

/** Whose conventions this API follows. Clients compare it with what they were made for, and warn where that is far away. */
const KUBERNETES = { major: '1', minor: '32' };

export interface DiscoveryOptions {
  readonly registry: KindRegistry;
  readonly version: string;
  readonly access: Access | null;
}

export function addDiscovery(app: FastifyInstance, options: DiscoveryOptions): void {
  const { registry, version } = options;
  const found = (value: object | null): object => {
    if (value === null)
      throw new ApiError('NotFound', 'the server could not find the requested resource');
    return value;
  };
  const known = (request: FastifyRequest): void => {
    options.access?.identify(request.headers.authorization);
  };
  app.get('/version', () => {
    return {
      major: KUBERNETES.major,
      minor: KUBERNETES.minor,
      gitVersion: `v${KUBERNETES.major}.${KUBERNETES.minor}.0+ashlar.${version}`,
      ashlarVersion: version,
      platform: `${process.platform}/${process.arch}`,
      // Clients that check their answers (Kubernetes' own for Python) want all of these.
      buildDate: '1970-01-01T00:00:00Z',
      compiler: 'v8',
      gitCommit: '',
      gitTreeState: '',
      goVersion: `none; node ${process.version}`,
      nodeVersion: process.version,
    };
  });
  const root = (core: boolean) => (request: FastifyRequest, reply: FastifyReply) => {
    known(request);
    const wish = /application\/json;[^,]*as=APIGroupDiscoveryList[^,]*/.exec(
      (request.headers.accept ?? '').replaceAll(' ', ''),
    )?.[0];
    const asked = /v=(v2beta1|v2)(;|$)/.exec(wish ?? '')?.[1];
    if (asked === undefined) return core ? coreVersions() : groupList(registry);
    reply.type(`application/json;g=apidiscovery.k8s.io;v=${asked};as=APIGroupDiscoveryList`);
    return aggregatedDiscovery(registry, core, asked);
  };
  app.get('/api', root(true));
  app.get('/apis', root(false));
  app.get('/api/:version', (request) => {
    known(request);
    return found(resourceList(registry, '', (request.params as { version: string }).version));
  });
  app.get('/apis/:group', (request) => {
    known(request);
    return found(groupOf(registry, (request.params as { group: string }).group));
  });
  app.get('/apis/:group/:version', (request) => {
    known(request);
    const params = request.params as { group: string; version: string };
    return found(resourceList(registry, params.group, params.version));
  });
  // kubectl looks here for a kind that it does not find elsewhere: there are no others.
  for (const crds of ['v1', 'v1beta1']) {
    app.get(`/apis/apiextensions.k8s.io/${crds}/customresourcedefinitions`, (request) => {
      known(request);
      return {
        kind: 'CustomResourceDefinitionList',
        apiVersion: `apiextensions.k8s.io/${crds}`,
        metadata: { resourceVersion: '0' },
        items: [],
      };
    });
  }
  addAbsentWorkloads(app, known);
  app.get('/', (request) => {
    known(request);
    return { paths: pathsOf(registry) };
  });
  const hash = createHash('sha256')
    .update(JSON.stringify(openapiV3(registry, version, null)))
    .digest('hex')
    .slice(0, 32);
  app.get('/openapi.json', (request, reply) =>
    tagged(request, reply, hash, openapiV3(registry, version, null)),
  );
  app.get('/openapi/v2', (request, reply) => {
    known(request);
    const document = openapiV2(registry, version);
    if ((request.headers.accept ?? '').includes('proto-openapi.spec.v2')) {
      reply.type(OPENAPI_PROTOBUF);
      return tagged(request, reply, `${hash}P`, encodeOpenapiV2(document));
    }
    return tagged(request, reply, hash, document);
  });
  app.get('/openapi/v3', (request, reply) => {
    known(request);
    return tagged(request, reply, hash, openapiV3Index(registry, hash));
  });
  for (const path of ['api/:version', 'apis/:group/:version']) {
    app.get(`/openapi/v3/${path}`, (request, reply) => {
      known(request);
      const only = { group: '', ...(request.params as { version: string }) };
      if (registry.inGroupVersion(only.group, only.version).length === 0) return found(null);
      // The index names it with its hash: what has that never changes.
      if ((request.query as { hash?: unknown }).hash === hash) {
        reply.header('cache-control', 'private, max-age=31536000, immutable');
      }
      return tagged(request, reply, hash, openapiV3(registry, version, only));
    });
  }
}

/**
 * What `kubectl cluster-info dump` lists beside pods and services. There are none, and no such kinds either: discovery names none of
 * them, so that whoever asks for one by name hears that.
 */
function addAbsentWorkloads(app: FastifyInstance, known: (request: FastifyRequest) => void): void {
  const kinds = [
    ['/api/v1', 'v1', 'ReplicationController'],
    ['/apis/apps/v1', 'apps/v1', 'DaemonSet'],
    ['/apis/apps/v1', 'apps/v1', 'Deployment'],
    ['/apis/apps/v1', 'apps/v1', 'ReplicaSet'],
  ] as const;
  for (const [base, apiVersion, kind] of kinds) {
    app.get(`${base}/namespaces/:namespace/${kind.toLowerCase()}s`, (request) => {
      known(request);
      return { kind: `${kind}List`, apiVersion, metadata: { resourceVersion: '0' }, items: [] };
    });
  }
}

/** Sends it, or says that the client has it already: RFC 9110 §13.1.2. The documents are large, and rarely change. */
function tagged(
  request: FastifyRequest,
  reply: FastifyReply,
  tag: string,
  document: unknown,
): FastifyReply {
  const etag = `"${tag}"`;
  reply.header('etag', etag).header('vary', 'Accept');
  const known = (request.headers['if-none-match'] ?? '').split(',').map((one) => one.trim());
  if (known.some((one) => one === etag || one === '*' || one === `W/${etag}`)) {
    // What there is none of has no type; and that of protobuf, with its @, is no type that Go can read.
    return reply.removeHeader('content-type').code(304).send();
  }
  return reply.send(document);
}

/** What `kubectl get --raw /` shows. */
function pathsOf(registry: KindRegistry): string[] {
  const groups = [...registry.groups()].flatMap(([group, versions]) =>
    group === ''
      ? versions.map((one) => `/api/${one}`)
      : [`/apis/${group}`, ...versions.map((one) => `/apis/${group}/${one}`)],
  );
  const beside = ['/healthz', '/livez', '/metrics', '/openapi.json', '/openapi/v2', '/openapi/v3'];
  return ['/api', '/apis', ...groups, ...beside, '/readyz', '/version'].sort();
}
