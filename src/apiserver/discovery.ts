// What kubectl asks before anything else: which groups, versions and kinds there are.
import {
  apiVersionOf,
  type KindDefinition,
  type KindRegistry,
  singularOf,
  verbsOf,
} from './kind.ts';

/** /api: the core group's versions. */
export function coreVersions(): object {
  return {
    kind: 'APIVersions',
    versions: ['v1'],
    serverAddressByClientCIDRs: [],
  };
}

/** /apis: every group but the core one. */
export function groupList(registry: KindRegistry): object {
  const groups = [...registry.groups().keys()].filter((group) => group !== '');
  return {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: groups.map((group) => groupFields(registry, group)),
  };
}

/** /apis/GROUP; null for a group that is not served. */
export function groupOf(registry: KindRegistry, group: string): object | null {
  if (group === '' || !registry.groups().has(group)) return null;
  return { kind: 'APIGroup', apiVersion: 'v1', ...groupFields(registry, group) };
}

function groupFields(registry: KindRegistry, group: string) {
  const versions = (registry.groups().get(group) ?? []).map((version) => ({
    groupVersion: apiVersionOf({ group, version }),
    version,
  }));
  return { name: group, versions, preferredVersion: versions[0] };
}

/** /api/v1 and /apis/GROUP/VERSION; null for one that is not served. */
export function resourceList(
  registry: KindRegistry,
  group: string,
  version: string,
): object | null {
  const kinds = registry.inGroupVersion(group, version);
  if (kinds.length === 0 && group !== '') return null;
  if (group === '' && version !== 'v1') return null;
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: apiVersionOf({ group, version }),
    resources: kinds.flatMap((kind) => [
      {
        name: kind.plural,
        singularName: singularOf(kind),
        namespaced: kind.namespaced,
        kind: kind.kind,
        verbs: verbsOf(kind),
        shortNames: kind.shortNames ?? [],
        categories: kind.categories ?? [],
      },
      ...subresourcesOf(kind).map(({ name, verbs }) => ({
        name: `${kind.plural}/${name}`,
        singularName: '',
        namespaced: kind.namespaced,
        kind: kind.kind,
        verbs,
      })),
    ]),
  };
}

function subresourcesOf(kind: KindDefinition): { name: string; verbs: string[] }[] {
  const found: { name: string; verbs: string[] }[] = [];
  if (kind.hasStatus === true) found.push({ name: 'status', verbs: ['get', 'patch', 'update'] });
  if (kind.log !== undefined) found.push({ name: 'log', verbs: ['get'] });
  for (const [name, { method }] of Object.entries(kind.actions ?? {})) {
    found.push({ name, verbs: [method === 'GET' ? 'get' : 'create'] });
  }
  return found;
}

/** /api or /apis in one answer, as newer clients ask for it. */
export function aggregatedDiscovery(
  registry: KindRegistry,
  core: boolean,
  version: string,
): object {
  const groups = [...registry.groups()].filter(([group]) => (group === '') === core);
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map(([group, versions]) => ({
      metadata: { name: group, creationTimestamp: null },
      versions: versions.map((one) => ({
        version: one,
        freshness: 'Current',
        resources: registry.inGroupVersion(group, one).map((kind) => ({
          resource: kind.plural,
          responseKind: { group, version: one, kind: kind.kind },
          scope: kind.namespaced ? 'Namespaced' : 'Cluster',
          singularResource: singularOf(kind),
          verbs: verbsOf(kind),
          shortNames: kind.shortNames ?? [],
          categories: kind.categories ?? [],
          subresources: subresourcesOf(kind).map(({ name, verbs }) => ({
            subresource: name,
            responseKind: { group, version: one, kind: kind.kind },
            verbs,
          })),
        })),
      })),
    })),
  };
}
