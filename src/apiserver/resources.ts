// The API's rules, the same for every kind and every way in: HTTP and the controllers both come through here.
// A write is decoded, completed, checked, then handed to the kind's backend, which compares and swaps; whoever was
// slower tries again on what there is now, unless he said which version he meant.
import { randomUUID } from 'node:crypto';
import type { Log } from '../base/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { type Backend, StoreBackend } from './backend.ts';
import type {
  DeleteRequest,
  KindRef,
  ListRequest,
  ObjectClient,
  Patch,
  ProgressingWatch,
  WatchRequest,
  WatchSink,
  WriteOptions,
} from './client.ts';
import { checkMetadata, type DecodeOptions, decodeObject, isLabel, schemaOf } from './decode.ts';
import {
  ApiError,
  clip,
  conflict,
  invalid,
  MODIFIED,
  notFound,
  resourceDetails,
  type Status,
  type StatusCause,
} from './errors.ts';
import {
  apiVersionOf,
  type KindDefinition,
  type KindRegistry,
  type Verb,
  verbsOf,
} from './kind.ts';
import { listBackend } from './listing.ts';
import { type KubeObject, kubeTime, type ObjectList, type ObjectMeta } from './meta.ts';
import {
  applyPatch,
  assertSame,
  clientMetadata,
  finalizersFor,
  generatedName,
  isAddressable,
  listHeader,
  matcherOf,
  ownersSent,
  removedStatus,
  wantedParts,
  withName,
  withStatusOf,
  wrongPatchOption,
} from './object-parts.ts';
import { afterUpdate, applyConfig, type Manager } from './patch/apply.ts';
import { sameJson } from './patch/json-patch.ts';
import { isObject } from './structure.ts';
import { watchBackend } from './watching.ts';

export interface ResourceServerOptions {
  readonly registry: KindRegistry;
  readonly store: ObjectStore;
  readonly log: Log;
  /** Wall time, for timestamps that people read. */
  readonly now: () => Date;
}

/** Somebody else's change came between so often: the caller is told, and may try again. */
const MAX_TRIES = 16;

type Subresource = '' | 'status';

export class ResourceServer implements ObjectClient {
  readonly registry: KindRegistry;
  readonly now: () => Date;
  readonly log: Log;
  readonly #store: ObjectStore;
  readonly #backends = new Map<KindDefinition, Backend>();

  constructor(options: ResourceServerOptions) {
    this.registry = options.registry;
    this.now = options.now;
    this.log = options.log;
    this.#store = options.store;
  }

  async get<T extends KubeObject>(
    ref: KindRef<T>,
    namespace: string | null,
    name: string,
  ): Promise<T> {
    const kind = this.#allowed(ref, 'get');
    return this.#present(kind, ref.version, await this.#find(kind, namespace, name)) as T;
  }

  async list<T extends KubeObject>(
    ref: KindRef<T>,
    request: ListRequest = {},
  ): Promise<ObjectList<T>> {
    const kind = this.#allowed(ref, 'list');
    const header = listHeader(kind, ref.version);
    return await listBackend({ header, ...this.#selected<T>(kind, ref.version, request) }, request);
  }

  async create<T extends KubeObject>(
    ref: KindRef<T>,
    sent: unknown,
    options: WriteOptions = {},
  ): Promise<T> {
    const kind = this.#allowed(ref, 'create');
    const object = decodeObject(kind, ref.version, sent, options, kind.hasStatus === true);
    return (await this.#createDecoded(kind, ref.version, object, options, 'Update')) as T;
  }

  async update<T extends KubeObject>(
    ref: KindRef<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    return (await this.#replace(ref, object, '', options)) as T;
  }

  async updateStatus<T extends KubeObject>(
    ref: KindRef<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    return (await this.#replace(ref, object, 'status', options)) as T;
  }

  async patch<T extends KubeObject>(
    ref: KindRef<T>,
    namespace: string | null,
    name: string,
    patch: Patch,
    options: WriteOptions & { subresource?: 'status' } = {},
  ): Promise<T> {
    const kind = this.#allowed(ref, 'patch');
    const subresource = this.#subresource(kind, options.subresource ?? '');
    if (patch.type === 'apply') {
      if (kind.instead?.['apply'] !== undefined) throw notSupported(kind, 'apply');
      return (await this.#apply(
        kind,
        ref.version,
        namespace,
        name,
        patch.body,
        subresource,
        options,
      )) as T;
    }
    const patched = await this.#modify(
      kind,
      ref.version,
      namespace,
      name,
      subresource,
      (current) => {
        const result = applyPatch(current, patch, kind) as KubeObject;
        // A patch that says nothing of the version applies to whatever there is.
        const isAnyVersion =
          isObject(result) &&
          isObject(result.metadata) &&
          result.metadata.resourceVersion === current.metadata.resourceVersion;
        if (!isAnyVersion) return result;
        return { ...result, metadata: { ...result.metadata, resourceVersion: '' } };
      },
      { ...options, ofPatch: true },
    );
    return patched as T;
  }

  async delete<T extends KubeObject>(
    ref: KindRef<T>,
    namespace: string | null,
    name: string,
    request: DeleteRequest = {},
  ): Promise<T | Status> {
    const kind = this.#allowed(ref, 'delete');
    const backend = this.#backend(kind);
    for (let tries = 1; ; tries += 1) {
      const before = await this.#find(kind, namespace, name);
      const { metadata } = before;
      if (request.uid !== undefined && request.uid !== metadata.uid) {
        throw conflict(
          kind,
          name,
          `the UID in the precondition (${clip(request.uid)}) is not ${metadata.uid}`,
        );
      }
      if (
        request.resourceVersion !== undefined &&
        request.resourceVersion !== metadata.resourceVersion
      ) {
        throw conflict(kind, name, MODIFIED);
      }
      await kind.beforeDelete?.(before, { force: request.force === true });
      const finalizers = finalizersFor(metadata, request);
      try {
        if (finalizers.length === 0) {
          await backend.remove(before, request.dryRun === true, request.force === true);
          return removedStatus(kind, metadata);
        }
        if (metadata.deletionTimestamp !== undefined && sameJson(finalizers, metadata.finalizers)) {
          return this.#present(kind, ref.version, before) as T;
        }
        const marked: KubeObject = {
          ...before,
          metadata: {
            ...metadata,
            finalizers,
            generation: (metadata.generation ?? 1) + 1,
            deletionTimestamp: metadata.deletionTimestamp ?? kubeTime(this.now()),
            deletionGracePeriodSeconds: 0,
          },
        };
        const after = await backend.update(marked, before, request.dryRun === true);
        return this.#present(kind, ref.version, after) as T;
      } catch (error) {
        const isRace =
          error instanceof ApiError &&
          error.reason === 'Conflict' &&
          request.resourceVersion === undefined;
        if (!isRace || tries >= MAX_TRIES || error.details.causes !== undefined) throw error;
      }
    }
  }

  watch<T extends KubeObject>(
    ref: KindRef<T>,
    request: WatchRequest,
    sink: WatchSink<T>,
  ): ProgressingWatch {
    const kind = this.#allowed(ref, 'watch');
    return watchBackend(this.#selected<T>(kind, ref.version, request), request, sink);
  }

  /** Which objects a list or a watch is of, and how they are shown. */
  #selected<T extends KubeObject>(kind: KindDefinition, version: string, request: ListRequest) {
    return {
      backend: this.#backend(kind),
      namespace: kind.namespaced ? (request.namespace ?? null) : null,
      matches: matcherOf(kind, request),
      present: (object: KubeObject) => this.#present(kind, version, object) as T,
    };
  }

  /** The definition behind a reference. Throws NotFound for a kind that is not served. */
  kindOf(ref: KindRef<never> | KindRef): KindDefinition {
    const kind = this.registry.find(ref.group, ref.version, ref.plural);
    if (kind === null) {
      throw new ApiError('NotFound', 'the server could not find the requested resource');
    }
    return kind;
  }

  #allowed(ref: KindRef<never> | KindRef, verb: Verb): KindDefinition {
    const kind = this.kindOf(ref);
    if (!verbsOf(kind).includes(verb)) throw notSupported(kind, verb);
    return kind;
  }

  #backend(kind: KindDefinition): Backend {
    let backend = this.#backends.get(kind);
    if (backend === undefined) {
      backend = kind.backend ?? new StoreBackend(this.#store, kind);
      this.#backends.set(kind, backend);
    }
    return backend;
  }

  #subresource(kind: KindDefinition, subresource: Subresource): Subresource {
    if (subresource === 'status' && kind.hasStatus !== true) {
      throw new ApiError('NotFound', `${kind.plural} have no status of their own`);
    }
    return subresource;
  }

  async #find(kind: KindDefinition, namespace: string | null, name: string): Promise<KubeObject> {
    const found =
      isAddressable(namespace) && isAddressable(name)
        ? await this.#backend(kind).get(kind.namespaced ? namespace : null, name)
        : null;
    if (found === null) throw notFound(kind, name);
    return found;
  }

  #present(kind: KindDefinition, version: string, object: KubeObject): KubeObject {
    const shown = kind.present === undefined ? object : kind.present(object);
    const apiVersion = apiVersionOf({ group: kind.group, version });
    return shown.apiVersion === apiVersion ? shown : { ...shown, apiVersion };
  }

  async #createDecoded(
    kind: KindDefinition,
    version: string,
    sent: KubeObject,
    options: WriteOptions,
    operation: 'Apply' | 'Update',
  ): Promise<KubeObject> {
    const { metadata } = sent;
    if ((metadata.resourceVersion ?? '') !== '') {
      throw new ApiError(
        'BadRequest',
        'resourceVersion should not be set on objects to be created',
      );
    }
    const { generateName } = metadata;
    const isGenerated = (metadata.name ?? '') === '' && (generateName ?? '') !== '';
    for (let tries = 1; ; tries += 1) {
      const name = isGenerated ? generatedName(generateName!) : metadata.name;
      const object: KubeObject = {
        ...sent,
        apiVersion: apiVersionOf(kind),
        metadata: {
          ...clientMetadata(metadata),
          name,
          ...(generateName === undefined || generateName === '' ? {} : { generateName }),
          ...(kind.namespaced ? { namespace: metadata.namespace || 'default' } : {}),
          uid: randomUUID(),
          resourceVersion: '',
          generation: 1,
          creationTimestamp: kubeTime(this.now()),
        },
      };
      if (kind.hasStatus === true) delete object['status'];
      kind.defaults?.(object, null);
      await this.#check(kind, object, null, '', options);
      if (kind.namespaced) await this.#checkNamespace(object.metadata.namespace!);
      const manager = this.#manager(kind, options, operation, '');
      object.metadata.managedFields =
        operation === 'Apply'
          ? metadata.managedFields!
          : afterUpdate(null, object, schemaOf(kind), manager);
      try {
        const made = await this.#backend(kind).create(object, options.dryRun === true);
        return this.#present(kind, version, made);
      } catch (error) {
        const isTaken = error instanceof ApiError && error.reason === 'AlreadyExists';
        if (!isGenerated || !isTaken || tries >= MAX_TRIES) throw error;
      }
    }
  }

  async #replace(
    ref: KindRef<never> | KindRef,
    object: KubeObject,
    subresource: Subresource,
    options: WriteOptions,
  ): Promise<KubeObject> {
    const kind = this.#allowed(ref, 'update');
    this.#subresource(kind, subresource);
    const name = (object as { metadata?: ObjectMeta }).metadata?.name ?? '';
    const namespace = object.metadata?.namespace ?? null;
    return await this.#modify(
      kind,
      ref.version,
      namespace,
      name,
      subresource,
      () => object,
      options,
    );
  }

  async #apply(
    kind: KindDefinition,
    version: string,
    namespace: string | null,
    name: string,
    body: unknown,
    subresource: Subresource,
    options: WriteOptions,
  ): Promise<KubeObject> {
    if ((options.fieldManager ?? '') === '') {
      throw wrongPatchOption('fieldManager', 'is required for apply patch', 'FieldValueRequired');
    }
    // Decoded first: what is applied must be right by itself, but for what may be left to others.
    const sent = withName(body, kind, namespace, name);
    if (isObject(sent['metadata']) && sent['metadata']['managedFields'] !== undefined) {
      throw new ApiError('BadRequest', 'metadata.managedFields must be nil');
    }
    const manager = this.#manager(kind, options, 'Apply', subresource);
    for (let tries = 1; ; tries += 1) {
      const live = await this.#backend(kind).get(kind.namespaced ? namespace : null, name);
      if (live === null) {
        if (subresource === 'status') throw notFound(kind, name);
        if (!verbsOf(kind).includes('create')) throw notSupported(kind, 'create');
        const object = decodeObject(kind, version, sent, options, kind.hasStatus === true);
        const applied = applyConfig(null, object, schemaOf(kind), manager, true) as KubeObject;
        try {
          const made = await this.#createDecoded(kind, version, applied, options, 'Apply');
          options.onCreated?.();
          return made;
        } catch (error) {
          const isRace = error instanceof ApiError && error.reason === 'AlreadyExists';
          if (!isRace || tries >= MAX_TRIES) throw error;
          continue;
        }
      }
      return await this.#modify(
        kind,
        version,
        namespace,
        name,
        subresource,
        (current) => {
          const config = structuredClone(sent);
          const sentVersion = isObject(config['metadata'])
            ? config['metadata']['resourceVersion']
            : undefined;
          const merged = applyConfig(
            current,
            config,
            schemaOf(kind),
            manager,
            options.force === true,
          );
          const metadata = {
            ...(merged['metadata'] as object),
            resourceVersion: sentVersion ?? '',
          };
          return { ...merged, metadata };
        },
        options,
        'Apply',
      );
    }
  }

  /** Read, change, check, compare and swap; again where somebody came between. */
  async #modify(
    kind: KindDefinition,
    version: string,
    namespace: string | null,
    name: string,
    subresource: Subresource,
    change: (current: KubeObject) => unknown,
    options: DecodeOptions,
    operation: 'Apply' | 'Update' = 'Update',
  ): Promise<KubeObject> {
    const backend = this.#backend(kind);
    for (let tries = 1; ; tries += 1) {
      const before = await this.#find(kind, namespace, name);
      const shown = this.#present(kind, version, before);
      const changed = change(shown);
      const sent = decodeObject(
        kind,
        version,
        subresource === 'status' ? withStatusOf(changed, shown) : changed,
        options,
        kind.hasStatus === true && subresource === '',
      );
      const wantedVersion = sent.metadata.resourceVersion ?? '';
      assertSame(kind, sent.metadata, before.metadata);
      if (wantedVersion !== '' && wantedVersion !== before.metadata.resourceVersion) {
        throw conflict(kind, name, MODIFIED);
      }
      const next = this.#next(kind, sent, before, subresource, operation, options);
      const stripped = (object: KubeObject): KubeObject => ({
        ...object,
        metadata: { ...object.metadata, managedFields: [] },
      });
      if (subresource === '') {
        kind.restore?.(next, before, {
          ofPatch: operation === 'Apply' || options.ofPatch === true,
          anyVersion: wantedVersion === '',
        });
        kind.defaults?.(next, before);
        await this.#check(kind, next, before, subresource, options);
      }
      // Who owns what may be changed by itself, too; a change of the status leaves that as it is.
      const isOfOwners = subresource === '' && ownersSent(sent, before) !== null;
      const isSame = sameJson(stripped(next), stripped(before)) && !isOfOwners;
      if (isSame && (operation === 'Update' || sameJson(next, before))) {
        return this.#present(kind, version, before);
      }
      const { metadata } = next;
      if (subresource === '' && !sameJson(wantedParts(next), wantedParts(before))) {
        metadata.generation = (before.metadata.generation ?? 1) + 1;
      }
      try {
        if (metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0) {
          // It was asked for when it was marked, and allowed.
          await backend.remove(before, options.dryRun === true, true);
          return this.#present(kind, version, next);
        }
        const after = await backend.update(next, before, options.dryRun === true);
        return this.#present(kind, version, after);
      } catch (error) {
        const isRace =
          error instanceof ApiError &&
          error.reason === 'Conflict' &&
          error.details.causes === undefined;
        if (!isRace || wantedVersion !== '' || tries >= MAX_TRIES) throw error;
      }
    }
  }

  /** The object as it would be kept. */
  #next(
    kind: KindDefinition,
    sent: KubeObject,
    before: KubeObject,
    subresource: Subresource,
    operation: 'Apply' | 'Update',
    options: WriteOptions,
  ): KubeObject {
    const manager = this.#manager(kind, options, operation, subresource);
    let next: KubeObject;
    if (subresource === 'status') {
      next = { ...before, metadata: { ...before.metadata } };
      if (sent['status'] === undefined) delete next['status'];
      else next['status'] = sent['status'];
    } else {
      const {
        resourceVersion,
        uid,
        creationTimestamp,
        generation,
        deletionTimestamp,
        deletionGracePeriodSeconds,
        generateName,
        namespace,
      } = before.metadata;
      next = {
        ...sent,
        apiVersion: before.apiVersion,
        metadata: {
          ...clientMetadata(sent.metadata),
          name: before.metadata.name,
          ...(namespace === undefined ? {} : { namespace }),
          ...(generateName === undefined ? {} : { generateName }),
          uid,
          resourceVersion,
          creationTimestamp,
          ...(generation === undefined ? {} : { generation }),
          ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
          ...(deletionGracePeriodSeconds === undefined ? {} : { deletionGracePeriodSeconds }),
        },
      };
      if (kind.hasStatus === true) {
        if (before['status'] === undefined) delete next['status'];
        else next['status'] = before['status'];
      }
    }
    next.metadata.managedFields =
      operation === 'Apply'
        ? (sent.metadata.managedFields ?? [])
        : afterUpdate(
            (subresource === '' ? ownersSent(sent, before) : null) ?? before,
            next,
            schemaOf(kind),
            manager,
          );
    return next;
  }

  async #check(
    kind: KindDefinition,
    object: KubeObject,
    before: KubeObject | null,
    subresource: Subresource,
    options: WriteOptions,
  ): Promise<void> {
    const causes: StatusCause[] = checkMetadata(kind, object.metadata);
    if (kind.namespaced && !isLabel(object.metadata.namespace ?? '')) {
      causes.push({
        reason: 'FieldValueInvalid',
        field: 'metadata.namespace',
        message: `'${clip(object.metadata.namespace ?? '')}' cannot be a namespace`,
      });
    }
    if (before?.metadata.deletionTimestamp !== undefined) {
      const known = before.metadata.finalizers ?? [];
      const added = (object.metadata.finalizers ?? []).filter((name) => !known.includes(name));
      if (added.length > 0) {
        causes.push({
          reason: 'FieldValueForbidden',
          field: 'metadata.finalizers',
          message: `no new finalizers can be added while the object is being deleted: ${clip(added.join(', '))}`,
        });
      }
    }
    causes.push(...((await kind.validate?.(object, before, { client: this, subresource })) ?? []));
    if (causes.length > 0) throw invalid(kind, object.metadata.name ?? '', causes);
    for (const warning of kind.warnings?.(object, before) ?? []) options.onWarning?.(warning);
  }

  async #checkNamespace(name: string): Promise<void> {
    const kind = this.registry.find('', 'v1', 'namespaces');
    if (kind === null) return;
    const namespace = await this.#find(kind, null, name);
    if (namespace.metadata.deletionTimestamp !== undefined) {
      throw new ApiError(
        'Forbidden',
        `namespace "${name}" is being deleted: nothing new can be made in it`,
        resourceDetails(kind, name),
      );
    }
  }

  #manager(
    kind: KindDefinition,
    options: WriteOptions,
    operation: 'Apply' | 'Update',
    subresource: Subresource,
  ): Manager {
    return {
      name:
        options.fieldManager === undefined || options.fieldManager === ''
          ? 'ashlar'
          : options.fieldManager,
      operation,
      apiVersion: apiVersionOf(kind),
      subresource,
      time: kubeTime(this.now()),
    };
  }
}

function notSupported(kind: KindDefinition, verb: Verb | 'apply'): ApiError {
  const instead = kind.instead?.[verb];
  return new ApiError(
    'MethodNotAllowed',
    `${verb} is not supported on ${kind.plural}${instead === undefined ? '' : `: ${instead}`}`,
    resourceDetails(kind, ''),
  );
}
