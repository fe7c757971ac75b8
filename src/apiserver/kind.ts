// A kind is a declaration; the server derives everything else from it: routes, discovery, checks, tables, OpenAPI.

import type { TSchema } from 'typebox';
import { assert } from '../base/index.ts';
import type { Access, Identity } from './access.ts';
import type { Backend } from './backend.ts';
import type { ObjectClient } from './client.ts';
import type { StatusCause } from './errors.ts';
import type { KubeObject } from './meta.ts';

export interface Column<T extends KubeObject = KubeObject> {
  /** As in `Size`; kubectl writes it in capitals. */
  readonly name: string;
  readonly type?: 'string' | 'integer' | 'number' | 'boolean';
  readonly description?: string;
  /** Shown only with `-o wide`. */
  readonly wide?: boolean;
  /** Empty and null are shown as `<none>`. */
  readonly value: (object: T) => string | number | boolean | null | undefined;
}

export interface CheckContext {
  /** Reads other objects: a class that must exist, a claim's volume. */
  readonly client: ObjectClient;
  /** The stored object, null at creation. */
  readonly subresource: '' | 'status';
}

export interface LogOptions {
  readonly container: string | null;
  readonly follow: boolean;
  readonly previous: boolean;
  readonly timestamps: boolean;
  readonly tailLines: number | null;
  readonly sinceSeconds: number | null;
  readonly sinceTime: string | null;
  readonly limitBytes: number | null;
  /** Aborted when the reader has gone. */
  readonly signal: AbortSignal;
}

/** Something that can be done to one object beyond changing it: a subresource, as `volumes/db/rollback`. */
export interface KindAction<T extends KubeObject = KubeObject> {
  readonly method: 'GET' | 'POST';
  readonly description: string;
  /** The query's fields, with what they mean. */
  readonly query?: Readonly<Record<string, string>>;
  /** Of a POST: checked before `run`. */
  readonly body?: TSchema;
  /** Resolves with what is answered. Throws an ApiError. */
  readonly run: (
    object: T,
    input: { query: ReadonlyMap<string, string>; body: unknown; dryRun: boolean },
  ) => Promise<unknown>;
}

/** Who asks, and what his answer is made from. */
export interface ReviewContext {
  readonly kinds: readonly KindDefinition[];
  /** Null: everybody may do everything. */
  readonly access: Access | null;
  readonly identity: Identity | null;
}

export type Verb =
  | 'get'
  | 'list'
  | 'watch'
  | 'create'
  | 'update'
  | 'patch'
  | 'delete'
  | 'deletecollection';
export const ALL_VERBS: readonly Verb[] = [
  'create',
  'delete',
  'deletecollection',
  'get',
  'list',
  'patch',
  'update',
  'watch',
];
export const READ_VERBS: readonly Verb[] = ['get', 'list', 'watch'];

export interface KindDefinition<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** Also served, with the same schema: `v1beta1` beside `v1`. */
  readonly alsoVersions?: readonly string[];
  readonly kind: string;
  readonly plural: string;
  /** Standard: the kind in lower case. */
  readonly singular?: string;
  readonly shortNames?: readonly string[];
  /** `all`, for `kubectl get all`; `ashlar` for all of ours. */
  readonly categories?: readonly string[];
  readonly namespaced: boolean;
  readonly description: string;
  /** The fields beside apiVersion, kind and metadata: `spec`, `status`, or what the kind has at its top. */
  readonly fields: Readonly<Record<string, TSchema>>;
  /** Those of `fields` that must be there. */
  readonly required?: readonly string[];
  /** `status` is written by controllers, through /status only. */
  readonly hasStatus?: boolean;
  readonly verbs?: readonly Verb[];
  /**
   * What clients of Kubernetes ask of such objects and is not done here: what to do instead, by verb or subresource;
   * `apply`: by the server.
   */
  readonly instead?: Readonly<Record<string, string>>;
  /** NAME comes first by itself; AGE is `ageColumn`. */
  readonly columns: readonly Column<T>[];
  /** Field selectors beside metadata.name and metadata.namespace. */
  readonly selectable?: Readonly<Record<string, (object: T) => string>>;
  /** What a name must look like: a DNS subdomain (standard) or one label of one. */
  readonly nameRule?: 'subdomain' | 'label';
  /** Fills in what was left out. May change `object`, which is nobody else's. */
  readonly defaults?: (object: T, before: T | null) => void;
  /** What the schema cannot say. */
  readonly validate?: (
    object: T,
    before: T | null,
    context: CheckContext,
  ) => readonly StatusCause[] | Promise<readonly StatusCause[]>;
  /** Accepted, but worth a word: kubectl prints it. */
  readonly warnings?: (object: T, before: T | null) => readonly string[];
  /** May a change of the wanted state be made at all; a reason against deletion throws an ApiError (409). */
  readonly beforeDelete?: (object: T, options: { force: boolean }) => void | Promise<void>;
  /** The object as it leaves the server: without what must not (secrets). Must not change its argument. */
  readonly present?: (object: T) => T;
  /**
   * Puts back what `present` left out of `before`, where a client sends what it read, and what is not to be taken away by
   * saying nothing of it. `ofPatch`: what a patch made; `anyVersion`: it was not said which version is meant.
   */
  readonly restore?: (
    object: T,
    before: T,
    write: { readonly ofPatch: boolean; readonly anyVersion: boolean },
  ) => void;
  /** The `log` subresource. */
  readonly log?: (object: T, options: LogOptions) => AsyncIterable<string>;
  /** By name; each is a subresource. */
  readonly actions?: Readonly<Record<string, KindAction<T>>>;
  /** It is a question: what is sent is answered with this status, and kept nowhere. */
  readonly review?: (object: T, context: ReviewContext) => object;
  /** Its objects are another kind's, told in other words: whoever works on all kinds leaves it out. */
  readonly shows?: KindDefinition;
  /** What it holds is for administrators only. */
  readonly secret?: boolean;
  /** Where its objects are; standard: the object store. */
  readonly backend?: Backend;
  /** The definition's name in the OpenAPI document; standard: reversed group, version, kind. */
  readonly schemaName?: string;
}

/** Kinds are registered once, at start, before the server is built. */
export class KindRegistry {
  readonly #byPath = new Map<string, KindDefinition>();
  readonly #definitions: KindDefinition[] = [];

  register<T extends KubeObject>(definition: KindDefinition<T>): void {
    const kind = definition as unknown as KindDefinition;
    for (const version of versionsOf(kind)) {
      const path = `${kind.group}/${version}/${kind.plural}`;
      assert(!this.#byPath.has(path), `${path} is registered twice`);
      this.#byPath.set(path, kind);
    }
    this.#definitions.push(kind);
  }

  get all(): readonly KindDefinition[] {
    return this.#definitions;
  }

  find(group: string, version: string, plural: string): KindDefinition | null {
    return this.#byPath.get(`${group}/${version}/${plural}`) ?? null;
  }

  findKind(group: string, kind: string): KindDefinition | null {
    return this.#definitions.find((known) => known.group === group && known.kind === kind) ?? null;
  }

  /** Groups in the order of registration, each with its versions, the preferred first. The core group is ''. */
  groups(): Map<string, string[]> {
    const groups = new Map<string, string[]>();
    for (const kind of this.#definitions) {
      const versions = groups.get(kind.group) ?? [];
      for (const version of versionsOf(kind)) {
        if (!versions.includes(version)) versions.push(version);
      }
      groups.set(kind.group, versions.sort(stableFirst));
    }
    return groups;
  }

  inGroupVersion(group: string, version: string): KindDefinition[] {
    return this.#definitions.filter(
      (kind) => kind.group === group && versionsOf(kind).includes(version),
    );
  }
}

export function versionsOf(kind: KindDefinition): string[] {
  return [kind.version, ...(kind.alsoVersions ?? [])];
}

export function apiVersionOf(kind: { group: string; version: string }): string {
  return kind.group === '' ? kind.version : `${kind.group}/${kind.version}`;
}

export function singularOf(kind: KindDefinition): string {
  return kind.singular ?? kind.kind.toLowerCase();
}

export function verbsOf(kind: KindDefinition): readonly Verb[] {
  return kind.verbs ?? ALL_VERBS;
}

/** v1 before v1beta1 before v1alpha1. */
function stableFirst(a: string, b: string): number {
  const rank = (version: string): number =>
    version.includes('alpha') ? 2 : version.includes('beta') ? 1 : 0;
  return rank(a) - rank(b) || (a < b ? 1 : -1);
}
