// Which kinds the server has, found out by asking it; and where their objects are.
import type { Client } from './client.ts';
import { UsageError } from './usage.ts';

export interface Kind {
  /** As in `volume.ashlar.io`; of our own kinds without the group. */
  readonly shown: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly group: string;
  readonly version: string;
  readonly apiVersion: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
}

interface ResourceAnswer {
  readonly name: string;
  readonly singularName: string;
  readonly namespaced: boolean;
  readonly kind: string;
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
}

const OWN_GROUP = 'ashlar.io';

export async function fetchKinds(client: Client): Promise<Kind[]> {
  const groups = (await client.get('/apis')) as {
    groups: { name: string; versions: { groupVersion: string }[] }[];
  };
  const versions = groups.groups.flatMap(({ versions: all }) =>
    all.map(({ groupVersion }) => groupVersion),
  );
  // In the server's order: where two groups have a kind of one name, the first is meant, as kubectl takes it.
  const lists = await Promise.all(
    ['v1', ...versions].map(async (apiVersion) => {
      const path = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
      return { apiVersion, list: (await client.get(path)) as { resources: ResourceAnswer[] } };
    }),
  );
  return lists.flatMap(({ apiVersion, list }) =>
    list.resources
      .filter(({ name }) => !name.includes('/'))
      .map((resource) => toKind(apiVersion, resource)),
  );
}

function toKind(apiVersion: string, resource: ResourceAnswer): Kind {
  const [group = '', version = ''] = apiVersion.includes('/')
    ? apiVersion.split('/')
    : ['', apiVersion];
  const singular = resource.singularName || resource.kind.toLowerCase();
  return {
    shown: group === '' || group === OWN_GROUP ? singular : `${singular}.${group}`,
    kind: resource.kind,
    plural: resource.name,
    singular,
    group,
    version,
    apiVersion,
    namespaced: resource.namespaced,
    verbs: resource.verbs,
    shortNames: resource.shortNames ?? [],
    categories: resource.categories ?? [],
  };
}

/** By any of its names, with or without its group, upper case or lower. */
export function findKind(kinds: readonly Kind[], name: string): Kind {
  const [wanted = '', ...rest] = name.toLowerCase().split('.');
  const group = rest.join('.');
  const all = kinds.filter(
    (kind) =>
      [kind.plural, kind.singular, kind.kind.toLowerCase(), ...kind.shortNames].includes(wanted) &&
      (group === '' ||
        kind.group === group ||
        `${kind.version}.${kind.group}` === group ||
        kind.group.startsWith(`${group}.`)),
  );
  // Nodes are told of twice: in Kubernetes' words for its own clients, and in ours.
  const own = all.find((kind) => kind.group === OWN_GROUP);
  const found = all[0]?.group === '' && own !== undefined ? own : all[0];
  if (found !== undefined) return found;
  const known = [...new Set(kinds.map((kind) => kind.plural))].join(', ');
  throw new UsageError(`no kind '${name}'${whoHas(kinds, wanted)}; there are ${known}`);
}

/** Kinds of `ashlar node` alone, by all that they are called. */
const OF_NODES = new RegExp(
  `^(${[
    'storagepoolclaims?|spc|cstorpools?|csp|cstorvolumes?|cvolumes?|cv|cstorvolumereplicas?|cvr|jivavolumes?|jv',
    'blockdevices?|bd|storageclass(es)?|sc|persistentvolumes?|pv|persistentvolumeclaims?|pvc',
    'volumesnapshots?|vs|volumesnapshotclass(es)?|volumesnapshotcontents?|volumesnapshotdatas?',
    'volumepolic(y|ies)|nodes?|no|ano|pods?|po|services?|svc|secrets?|namespaces?|ns|leases?',
  ].join('|')})$`,
);

/** Of a kind that this server has not: who has it; empty: nobody. */
function whoHas(kinds: readonly Kind[], name: string): string {
  const isServe = kinds.every(({ plural }) => plural !== 'persistentvolumeclaims');
  if (!isServe || !OF_NODES.test(name.toLowerCase())) return '';
  return ': this is `ashlar serve`; claims, classes, StoragePoolClaims, block devices and nodes are kinds of `ashlar node` (docs/nodes.md), here there are volumes and pools';
}

/** `volumes,pools`, or a category as `all`. */
export function findKinds(kinds: readonly Kind[], names: string): Kind[] {
  return names.split(',').flatMap((name) => {
    const category = kinds.filter((kind) => kind.categories.includes(name));
    return category.length > 0 ? category : [findKind(kinds, name)];
  });
}

/** A kind, and which of its objects; no names: all. */
export interface Wanted {
  readonly kind: Kind;
  readonly names: readonly string[];
}

/** `volumes`, `volume NAME`, `volume/NAME pool/NAME`, as kubectl takes it. */
export async function wantedOf(
  client: Client,
  first: string,
  rest: readonly string[],
): Promise<Wanted[]> {
  const kinds = await fetchKinds(client);
  if (!first.includes('/')) {
    const found = findKinds(kinds, first);
    if (found.length > 1 && rest.length > 0) {
      throw new UsageError('names go with one kind; write several as kind/name');
    }
    return found.map((kind) => ({ kind, names: rest }));
  }
  return [first, ...rest].map((text) => {
    const [kind = '', name = ''] = text.split('/', 2);
    if (name === '') throw new UsageError(`'${text}': write each as kind/name`);
    return { kind: findKind(kinds, kind), names: [name] };
  });
}

/** The kind and the name of `volume db` or `volume/db`. */
export function kindAndName(first: string, name: string | undefined): [string, string] {
  const [kind = '', rest = ''] = first.split('/', 2);
  if (first.includes('/') && name !== undefined) {
    throw new UsageError(`'${first} ${name}': write ${kind}/NAME or ${kind} NAME`);
  }
  const named = name ?? rest;
  if (named === '') throw new UsageError(`which ${kind}? Give its name`);
  return [kind, named];
}

export function findManifestKind(kinds: readonly Kind[], apiVersion: string, kind: string): Kind {
  const found = kinds.find((known) => known.apiVersion === apiVersion && known.kind === kind);
  if (found !== undefined) return found;
  throw new UsageError(
    `no matches for kind "${kind}" in version "${apiVersion}"${whoHas(kinds, kind)}`,
  );
}

/** Of a collection (name null) or of an object; `namespace` null: of all namespaces. */
export function pathOf(kind: Kind, namespace: string | null, name: string | null): string {
  const base = kind.group === '' ? `/api/${kind.version}` : `/apis/${kind.apiVersion}`;
  const scope =
    kind.namespaced && namespace !== null ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  // People write db@monday; an object's name has a dot there.
  const isSnapshot = kind.group === OWN_GROUP && kind.plural === 'snapshots';
  const named = isSnapshot ? name?.replace('@', '.') : name;
  const end = named === null || named === undefined ? '' : `/${encodeURIComponent(named)}`;
  return `${base}${scope}/${kind.plural}${end}`;
}
