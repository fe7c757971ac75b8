// The parts of this node as pods, in the namespace and with the labels that OpenEBS' users know, so that `kubectl get
// pods` and `kubectl logs -l` find them: the API server, the provisioner and the operator, one a pool, one a target.
import { randomUUID } from 'node:crypto';
import { EVERYTHING, type KubeObject, kubeTime, type StoreBackend } from '../../apiserver/index.ts';
import { OPENEBS_NAMESPACE, type Pod } from '../../kinds/index.ts';
import type { LogFilter } from './log-book.ts';

export const COMPONENT_LABEL = 'openebs.io/component-name';
const POOL_LABEL = 'ashlar.io/pool';
const VOLUME_LABEL = 'openebs.io/persistent-volume';

export interface Part {
  readonly component: string;
  readonly pool?: string;
  readonly volume?: string;
}

export interface PodKeeperOptions {
  /** Written below the API's rules: clients may only read pods. */
  readonly backend: StoreBackend;
  readonly nodeName: string;
  readonly address: string;
  readonly version: string;
  readonly now: () => Date;
}

export class PodKeeper {
  readonly #options: PodKeeperOptions;
  readonly #startedAt: string;
  /** Those of this node, by name; null: to be read. Nobody else writes them while it runs. */
  #there: Map<string, Pod> | null = null;

  constructor(options: PodKeeperOptions) {
    this.#options = options;
    this.#startedAt = kubeTime(options.now());
  }

  /**
   * These parts run on this node, and no others but those that `coming` names: of a process that has just started and is about to
   * run them again the pods stay as they are. After an error it begins from what there is.
   */
  async agree(parts: readonly Part[], coming: readonly Part[] = []): Promise<void> {
    const there = this.#there ?? (await this.#read());
    this.#there = null;
    const { backend } = this.#options;
    const wanted = new Map(parts.map((part) => [this.#nameOf(part), part]));
    const kept = new Set(coming.map((part) => this.#nameOf(part)));
    for (const [name, pod] of there) {
      if (wanted.has(name) || kept.has(name)) continue;
      await backend.remove(pod, false);
      there.delete(name);
    }
    for (const [name, part] of wanted) {
      const before = there.get(name);
      if (before?.status?.startTime === this.#startedAt && before.status.phase === 'Running')
        continue;
      const pod = this.#podOf(name, part, before);
      const after =
        before === undefined
          ? await backend.create(pod, false)
          : await backend.update(pod, before, false);
      there.set(name, after as Pod);
    }
    this.#there = there;
  }

  async #read(): Promise<Map<string, Pod>> {
    const { items } = await this.#options.backend.list(OPENEBS_NAMESPACE, EVERYTHING);
    const mine = (items as Pod[]).filter(({ spec }) => spec.nodeName === this.#options.nodeName);
    return new Map(mine.map((pod) => [pod.metadata.name, pod]));
  }

  #nameOf({ component, pool, volume }: Part): string {
    if (pool !== undefined) return pool;
    if (volume !== undefined) return `${volume}-target`;
    return `${component}-${this.#options.nodeName.toLowerCase()}`;
  }

  #podOf(name: string, { component, pool, volume }: Part, before: Pod | undefined): KubeObject {
    const { nodeName, address, version, now } = this.#options;
    const restarts = before?.status?.containerStatuses?.[0]?.restartCount;
    const image = `ashlar:${version}`;
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name,
        namespace: OPENEBS_NAMESPACE,
        uid: before?.metadata.uid ?? randomUUID(),
        resourceVersion: before?.metadata.resourceVersion ?? '',
        creationTimestamp: before?.metadata.creationTimestamp ?? kubeTime(now()),
        labels: {
          [COMPONENT_LABEL]: component,
          app: component,
          ...(pool === undefined ? {} : { [POOL_LABEL]: pool }),
          ...(volume === undefined ? {} : { [VOLUME_LABEL]: volume }),
        },
      },
      spec: { nodeName, containers: [{ name: component, image }] },
      status: {
        phase: 'Running',
        hostIP: address,
        podIP: address,
        startTime: this.#startedAt,
        conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: this.#startedAt }],
        containerStatuses: [
          {
            name: component,
            ready: true,
            restartCount: restarts === undefined ? 0 : restarts + 1,
            image,
            imageID: '',
            state: { running: { startedAt: this.#startedAt } },
          },
        ],
      },
    };
  }
}

/** Whose lines a pod's log are. */
export function logFilterOf({ metadata: { labels = {} } }: Pod): LogFilter {
  return {
    component: labels[COMPONENT_LABEL] ?? '',
    pool: labels[POOL_LABEL] ?? '',
    volume: labels[VOLUME_LABEL] ?? '',
  };
}
