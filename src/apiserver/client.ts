// What controllers do with objects. The API server is one of these, in process; a client over HTTP, also to a real
// Kubernetes API server, could be another. Objects that are handed out must not be changed: copy first.

import type { Status } from './errors.ts';
import type { KindDefinition } from './kind.ts';
import type { KubeObject, ObjectList } from './meta.ts';

/** Whatever names a kind well enough; a KindDefinition does. */
export type KindRef<T extends KubeObject = KubeObject> = Pick<
  KindDefinition<T>,
  'group' | 'version' | 'kind' | 'plural' | 'namespaced'
>;

export interface ListRequest {
  /** Without it, of all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly limit?: number;
  readonly continue?: string;
  /** Of a list: as new as this at least, or (Exact) just as new. */
  readonly resourceVersion?: string;
  readonly resourceVersionMatch?: 'Exact' | 'NotOlderThan';
}

export interface WriteOptions {
  readonly dryRun?: boolean;
  readonly fieldManager?: string;
  /** Unknown fields: refused (standard), told of, or dropped silently. */
  readonly fieldValidation?: 'Strict' | 'Warn' | 'Ignore';
  /** Server-side apply: take fields that others own. */
  readonly force?: boolean;
  /** Is told of warnings for the client. */
  readonly onWarning?: (message: string) => void;
  /** Is called where an apply made what was not there. */
  readonly onCreated?: () => void;
  /** Fields that stand twice in what was sent: judged as unknown ones are. */
  readonly duplicates?: readonly string[];
}

export interface DeleteRequest {
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan';
  readonly dryRun?: boolean;
  /** `gracePeriodSeconds: 0`: also while in use. */
  readonly force?: boolean;
}

export type PatchType = 'json' | 'merge' | 'strategic' | 'apply';
export interface Patch {
  readonly type: PatchType;
  readonly body: unknown;
}

export type WatchEvent<T extends KubeObject = KubeObject> = {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: T;
};

export interface WatchRequest extends ListRequest {
  /** Events after this version; without it (or '0'), what there is comes first, as ADDED. */
  readonly resourceVersion?: string;
  /** Whether what there is comes first, whatever the version; then it must be as new as that. */
  readonly initialEvents?: boolean;
}

export interface WatchSink<T extends KubeObject = KubeObject> {
  onEvents(events: readonly WatchEvent<T>[]): void;
  /** What there was at the beginning, by this version, has been told. */
  onInitialEnd?(resourceVersion: string): void;
  /** `Expired` (410): list again and watch from there. */
  onEnd(error: Error): void;
}

export interface WatchHandle {
  close(): void;
}

export interface ProgressingWatch extends WatchHandle {
  /** Everything up to this version has been told of; null: it has not begun yet. */
  progress(): string | null;
}

export interface ObjectClient {
  /** Rejects with NotFound. */
  get<T extends KubeObject>(kind: KindRef<T>, namespace: string | null, name: string): Promise<T>;
  list<T extends KubeObject>(kind: KindRef<T>, request?: ListRequest): Promise<ObjectList<T>>;
  /** `object` may leave out apiVersion, kind, and all metadata but the name (and the namespace). */
  create<T extends KubeObject>(
    kind: KindRef<T>,
    object: unknown,
    options?: WriteOptions,
  ): Promise<T>;
  /** Replaces. With metadata.resourceVersion in it, only that version: else Conflict. */
  update<T extends KubeObject>(kind: KindRef<T>, object: T, options?: WriteOptions): Promise<T>;
  updateStatus<T extends KubeObject>(
    kind: KindRef<T>,
    object: T,
    options?: WriteOptions,
  ): Promise<T>;
  patch<T extends KubeObject>(
    kind: KindRef<T>,
    namespace: string | null,
    name: string,
    patch: Patch,
    options?: WriteOptions & { subresource?: 'status' },
  ): Promise<T>;
  /** Resolves with the object where it waits for finalizers, with a Status where it is gone. */
  delete<T extends KubeObject>(
    kind: KindRef<T>,
    namespace: string | null,
    name: string,
    request?: DeleteRequest,
  ): Promise<T | Status>;
  watch<T extends KubeObject>(
    kind: KindRef<T>,
    request: WatchRequest,
    sink: WatchSink<T>,
  ): WatchHandle;
}
