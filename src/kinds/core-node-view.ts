// Our nodes in Kubernetes' words, and what is changed of those back in ours.
import { isDeepStrictEqual } from 'node:util';
import {
  ApiError,
  type BackendSink,
  EVERYTHING,
  type KubeObject,
  LEASES,
  type LeaseObject,
  type PageRequest,
  StoreBackend,
} from '../apiserver/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { NODE, type Node } from './ashlar.ts';
import { type CoreNode, nodeLeaseName } from './core-node.ts';
import { metadataOf } from './translate.ts';
import { ViewBackend } from './view-backend.ts';

export function asCoreNode(node: Node): CoreNode {
  const { metadata, spec, status = {} } = node;
  const { machine } = status;
  const isKeptFree = spec.unschedulable === true || spec.drain === true;
  return {
    apiVersion: 'v1',
    kind: 'Node',
    // What holds it is seen: an object that nothing holds would be thought gone.
    metadata: {
      ...metadataOf(node, null),
      ...(metadata.finalizers === undefined ? {} : { finalizers: metadata.finalizers }),
    },
    spec: isKeptFree ? { unschedulable: true } : {},
    status: {
      ...(status.conditions === undefined ? {} : { conditions: status.conditions }),
      addresses: [
        ...(status.addresses ?? []).map((address) => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: metadata.name },
      ],
      ...(machine === undefined
        ? {}
        : {
            capacity: {
              cpu: String(machine.processors),
              memory: `${Math.floor(machine.memoryBytes / 1024)}Ki`,
            },
          }),
      nodeInfo: {
        architecture: machine?.architecture ?? '',
        bootID: machine?.bootId ?? '',
        containerRuntimeVersion: '',
        kernelVersion: machine?.kernelVersion ?? '',
        kubeProxyVersion: '',
        kubeletVersion: status.version === undefined ? '' : `v${status.version}`,
        machineID: '',
        operatingSystem: machine?.operatingSystem ?? '',
        osImage: machine?.osImage ?? '',
        systemUUID: '',
      },
      pools: status.pools ?? 0,
      replicas: status.replicas ?? 0,
      coordinators: status.coordinators ?? 0,
    },
  };
}

/** Labels, annotations and spec.unschedulable; `before`: as it was shown. Throws for anything else. */
export function changedNode(source: Node, object: CoreNode, before: CoreNode): Node {
  if (JSON.stringify(object.status) !== JSON.stringify(before.status)) {
    throw new ApiError('MethodNotAllowed', 'the status of a node is told by that node');
  }
  const { labels: _, annotations: __, ...metadata } = source.metadata;
  const { labels, annotations, generation } = object.metadata;
  const { unschedulable: ___, drain: ____, ...others } = source.spec;
  const now = object.spec?.unschedulable === true;
  // As `ashlar uncordon` does: what is drained stays so until it may get something again.
  const spec = now
    ? before.spec?.unschedulable === true
      ? source.spec
      : { ...source.spec, unschedulable: true }
    : others;
  return {
    ...source,
    metadata: {
      ...metadata,
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
      ...(generation === undefined ? {} : { generation }),
    },
    spec,
  };
}

export class CoreNodeView extends ViewBackend<Node> {
  readonly #nodes: StoreBackend;
  readonly #leases: StoreBackend;
  readonly #leaseNamespace: string;

  constructor(store: ObjectStore, leaseNamespace: string) {
    const nodes = new StoreBackend(store, NODE);
    super(nodes, null, asCoreNode);
    this.#nodes = nodes;
    this.#leases = new StoreBackend(store, LEASES);
    this.#leaseNamespace = leaseNamespace;
  }

  override async get(namespace: string | null, name: string): Promise<KubeObject | null> {
    const node = await super.get(namespace, name);
    if (node === null) return null;
    const lease = await this.#leases.get(this.#leaseNamespace, nodeLeaseName(name));
    return heard(node as CoreNode, lease);
  }

  override async list(namespace: string | null, request: PageRequest) {
    const page = await super.list(namespace, request);
    const shown = await this.#hearing();
    return { ...page, items: page.items.map(shown) };
  }

  /** Leases are read before an event is told, one after the other: it looks as `get` would show it then. */
  override watch(namespace: string | null, resourceVersion: string, sink: BackendSink) {
    let told = resourceVersion;
    let waiting = 0;
    let closed = false;
    let turn = Promise.resolve();
    const inTurn = (work: () => Promise<void>): void => {
      waiting += 1;
      turn = turn.then(work).finally(() => {
        waiting -= 1;
      });
    };
    const watch = super.watch(namespace, resourceVersion, {
      onEvents: (events) =>
        inTurn(async () => {
          // The store is away: the change is known all the same.
          const shown = await this.#hearing().catch(() => (node: KubeObject) => node);
          if (closed) return;
          told = events.at(-1)!.resourceVersion;
          sink.onEvents(
            events.map((event) => ({
              ...event,
              after: event.after === null ? null : shown(event.after),
            })),
          );
        }),
      onEnd: (error) =>
        inTurn(async () => {
          if (!closed) sink.onEnd(error);
        }),
    });
    return {
      close: () => {
        closed = true;
        watch.close();
      },
      progress: () => (waiting === 0 ? watch.progress() : told),
    };
  }

  /** How nodes are shown by the leases of now. */
  async #hearing(): Promise<(node: KubeObject) => KubeObject> {
    const { items } = await this.#leases.list(this.#leaseNamespace, EVERYTHING);
    const leases = new Map(items.map((lease) => [lease.metadata.name, lease]));
    return (node) => heard(node as CoreNode, leases.get(nodeLeaseName(node.metadata.name)) ?? null);
  }

  override async update(
    object: KubeObject,
    before: KubeObject,
    dryRun: boolean,
  ): Promise<KubeObject> {
    const { name, resourceVersion } = before.metadata;
    const source = await this.#nodes.get(null, name);
    if (source?.metadata.resourceVersion !== resourceVersion) {
      throw new ApiError('Conflict', `nodes "${name}" was changed meanwhile`);
    }
    const next = changedNode(source as Node, object as CoreNode, before as CoreNode);
    if (isDeepStrictEqual(next, source)) return asCoreNode(source as Node);
    return asCoreNode((await this.#nodes.update(next, source, dryRun)) as Node);
  }
}

/** With when it was heard of: `describe` shows that of each condition. */
function heard(node: CoreNode, lease: KubeObject | null): CoreNode {
  const renewed = (lease as LeaseObject | null)?.spec?.renewTime;
  const { conditions } = node.status ?? {};
  if (renewed === undefined || conditions === undefined) return node;
  const lastHeartbeatTime = `${renewed.slice(0, 19)}Z`;
  return {
    ...node,
    status: {
      ...node.status,
      conditions: conditions.map((one) =>
        one.type === 'Ready' ? { ...one, lastHeartbeatTime } : one,
      ),
    },
  };
}
