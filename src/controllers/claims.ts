// PersistentVolumeClaims of our classes: a Volume for each, then a PersistentVolume that says how hosts reach it, then
// the two are bound. A claim that waits says why, in an event and in `kubectl describe`.
import type { KindDefinition } from '../apiserver/index.ts';
import { setCondition } from '../apiserver/index.ts';
import { formatQuantity } from '../base/index.ts';
import {
  BETA_DEFAULT_CLASS,
  blockSizeOf,
  CAS_CONFIG,
  CAS_TYPE,
  type CasConfig,
  CLAIM,
  type Claim,
  DEFAULT_CLASS,
  EXTERNAL_SNAPSHOT,
  EXTERNAL_SNAPSHOT_GROUP,
  PERSISTENT_VOLUME,
  type PersistentVolume,
  PROVISIONER,
  parseCasConfig,
  quantityBytes,
  SECRET,
  SNAPSHOT,
  SNAPSHOT_GROUP,
  SNAPSHOT_PROMOTER,
  STORAGE_CLASS,
  STORAGE_POOL_CLAIM,
  type StorageClass,
  VOLUME,
  VOLUME_SNAPSHOT,
  type Volume,
} from '../kinds/index.ts';
import {
  type Controller,
  hasFinalizer,
  hasReason,
  isDeleting,
  type Surroundings,
  trigger,
  Writer,
} from './controller.ts';
import { WAITING_CLAIMS } from './indexes.ts';
import { keyOf } from './keys.ts';
import { Finalizer, Label, REPLICAS_MISSING, snapshotName, volumeName } from './names.ts';

/** How soon to ask again for room that is not there. */
const ROOM_LOOK_MS = 30_000;
const SELECTED_NODE = 'volume.kubernetes.io/selected-node';
/** How external-storage's users named a snapshot before claims had data sources. */
const SNAPSHOT_ANNOTATION = 'snapshot.alpha.kubernetes.io/snapshot';
const PROVISIONED_BY = 'pv.kubernetes.io/provisioned-by';

/** What a claim begins from: nothing, one of ours, or something that is not there (yet). */
type Source =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'of';
      readonly spec: { snapshot?: string; volume?: string };
      leastBytes: number;
    }
  | { readonly kind: 'wait'; readonly why: string };

export class ClaimController implements Controller {
  readonly name = 'claims';
  readonly kind = CLAIM as unknown as KindDefinition;
  readonly triggers = [
    trigger(VOLUME, ({ spec }, catalog) => {
      const own = spec.claimRef;
      const clones = catalog.where(WAITING_CLAIMS, 'yes').map(keyOf);
      return own === undefined ? clones : [`${own.namespace}/${own.name}`, ...clones];
    }),
    trigger(PERSISTENT_VOLUME, ({ spec }) =>
      spec.claimRef?.name === undefined
        ? []
        : [`${spec.claimRef.namespace ?? 'default'}/${spec.claimRef.name}`],
    ),
    trigger(STORAGE_CLASS, (_storageClass, catalog) => catalog.all(CLAIM).map(keyOf)),
    trigger(SNAPSHOT, (_snapshot, catalog) => catalog.where(WAITING_CLAIMS, 'yes').map(keyOf)),
    trigger(EXTERNAL_SNAPSHOT, (_s, catalog) => catalog.where(WAITING_CLAIMS, 'yes').map(keyOf)),
    trigger(VOLUME_SNAPSHOT, (_s, catalog) => catalog.where(WAITING_CLAIMS, 'yes').map(keyOf)),
    trigger(STORAGE_POOL_CLAIM, (_s, catalog) => catalog.where(WAITING_CLAIMS, 'yes').map(keyOf)),
    trigger(SECRET, (_s, catalog) => catalog.where(WAITING_CLAIMS, 'yes').map(keyOf)),
  ];
  readonly #around: Surroundings;
  readonly #writer: Writer;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#writer = new Writer(around);
  }

  async reconcile(key: string): Promise<number | undefined> {
    let claim = this.#around.catalog.get(CLAIM, key);
    if (claim === null) return undefined;
    if (isDeleting(claim)) {
      await this.#release(claim);
      return undefined;
    }
    const storageClass = await this.#classOf(claim);
    if (storageClass === null) return undefined;
    claim = this.#around.catalog.get(CLAIM, key);
    if (claim === null) return undefined;
    if (!hasFinalizer(claim, Finalizer.Claim)) {
      await this.#writer.addFinalizer(CLAIM, claim, Finalizer.Claim);
      return undefined; // Its own change brings it back here.
    }
    if (claim.status?.phase === undefined) {
      await this.#writer.status(CLAIM, claim, (status) => {
        status.phase = 'Pending';
      });
      return undefined;
    }
    if ((claim.spec.volumeName ?? '') === '') await this.#provision(claim, storageClass);
    else return await this.#keep(claim, storageClass);
    return undefined;
  }

  /** Null: not ours, or not yet. */
  async #classOf(claim: Claim): Promise<StorageClass | null> {
    const { catalog } = this.#around;
    const name = claim.spec.storageClassName;
    if (name === undefined) {
      const standard = defaultClass(catalog.all(STORAGE_CLASS));
      if (standard === null) {
        await this.#waits(
          claim,
          'NoStorageClass',
          'it names no storageClassName, and no class is the default one',
        );
      } else {
        await this.#writer.update(CLAIM, claim, ({ spec }) => {
          spec.storageClassName = standard.metadata.name;
        });
      }
      return null;
    }
    if (name === '') return null; // Kubernetes: binds only to volumes that somebody made by hand.
    const storageClass = catalog.get(STORAGE_CLASS, name);
    if (storageClass === null) {
      await this.#waits(
        claim,
        'ProvisioningFailed',
        `storageclass.storage.k8s.io "${name}" not found`,
      );
      return null;
    }
    const { provisioner } = storageClass;
    return provisioner === PROVISIONER || provisioner === SNAPSHOT_PROMOTER ? storageClass : null;
  }

  async #provision(claim: Claim, storageClass: StorageClass): Promise<void> {
    const { catalog, events } = this.#around;
    const name = volumeName(claim.metadata.uid);
    const volume = catalog.get(VOLUME, name);
    if (volume === null) {
      const spec = await this.#volumeSpec(claim, storageClass);
      if (spec === null) return;
      const { name: claimName, namespace = 'default' } = claim.metadata;
      await this.#writer.ensure<Volume>(VOLUME, {
        metadata: {
          name,
          labels: { [Label.Claim]: claimName },
          annotations: { [PROVISIONED_BY]: PROVISIONER },
          finalizers: [Finalizer.Volume],
        },
        spec,
      });
      events.record(
        claim,
        'Normal',
        'Provisioning',
        `volume ${name} is asked for (${namespace}/${claimName})`,
      );
      const { annotations } = this.#settingsFor(
        claim,
        storageClass,
        this.#sourceOf(claim),
      ).metadata;
      const { warnings } = parseCasConfig(annotations?.[CAS_CONFIG]);
      if (warnings.length > 0)
        events.record(claim, 'Warning', 'PolicyIgnored', warnings.join('; '));
      return;
    }
    if (volume.status?.phase !== 'Ready') {
      const why = volume.status?.conditions?.find(({ type }) => type === 'Ready')?.message;
      const text = `volume ${name}: ${why ?? 'is being made'}`;
      if (!(await this.#saysThat(claim, 'Waiting', 'True', 'WaitForVolume', text))) return;
      // What a volume goes through on its way is told by its own events; who looks at the claim is told that it waits, once, and
      // of what only a person can help with.
      const health = volume.status?.conditions?.find(({ type }) => type === 'Healthy');
      if (health?.reason === REPLICAS_MISSING)
        events.record(claim, 'Warning', 'WaitForVolume', text);
      else events.record(claim, 'Normal', 'WaitForVolume', `volume ${name} is being made`);
      return;
    }
    const there = catalog.get(PERSISTENT_VOLUME, name);
    if (there === null) {
      await this.#writer.ensure<PersistentVolume>(PERSISTENT_VOLUME, {
        metadata: {
          name,
          annotations: {
            [PROVISIONED_BY]: PROVISIONER,
            [CAS_TYPE]: volume.spec.casType ?? 'cstor',
          },
          labels: { [CAS_TYPE]: volume.spec.casType ?? 'cstor' },
          finalizers: [Finalizer.PersistentVolume],
        },
        spec: persistentVolumeSpec(claim, storageClass, volume),
      });
      return;
    }
    await this.#writer.update(CLAIM, claim, ({ metadata, spec }) => {
      spec.volumeName = name;
      metadata.annotations = {
        ...metadata.annotations,
        'pv.kubernetes.io/bind-completed': 'yes',
        'pv.kubernetes.io/bound-by-controller': 'yes',
        'volume.beta.kubernetes.io/storage-provisioner': storageClass.provisioner,
      };
    });
    events.record(
      claim,
      'Normal',
      'ProvisioningSucceeded',
      `Successfully provisioned volume ${name}`,
    );
  }

  /** Null: it has to wait, and says so. */
  async #volumeSpec(claim: Claim, storageClass: StorageClass): Promise<object | null> {
    const { catalog } = this.#around;
    const { metadata, spec } = claim;
    if (
      storageClass.volumeBindingMode === 'WaitForFirstConsumer' &&
      metadata.annotations?.[SELECTED_NODE] === undefined
    ) {
      const text = `waiting for first consumer to be created before binding (annotation ${SELECTED_NODE})`;
      await this.#waits(claim, 'WaitForFirstConsumer', text, 'Normal');
      return null;
    }
    const source = this.#sourceOf(claim);
    if (source.kind === 'wait') {
      await this.#waits(claim, 'WaitForSource', source.why);
      return null;
    }
    const { storage } = spec.resources.requests;
    const sizeBytes = Math.ceil((quantityBytes(storage) ?? 0) / 4096) * 4096;
    if (source.kind === 'of' && sizeBytes < source.leastBytes) {
      const text = `spec.resources.requests.storage: ${storage} is less than its source has (${formatQuantity(source.leastBytes)})`;
      await this.#waits(claim, 'ProvisioningFailed', text);
      return null;
    }
    const settings = this.#settingsFor(claim, storageClass, source);
    const { config, causes } = parseCasConfig(settings.metadata.annotations?.[CAS_CONFIG]);
    if (causes.length > 0) {
      const text = causes.map(({ field, message }) => `${field}: ${message}`).join('; ');
      await this.#waits(
        claim,
        'ProvisioningFailed',
        `StorageClass ${settings.metadata.name}: ${text}`,
      );
      return null;
    }
    const casType = settings.metadata.annotations?.[CAS_TYPE] === 'jiva' ? 'jiva' : 'cstor';
    const pool = config.storagePoolClaim;
    if (pool !== undefined && catalog.get(STORAGE_POOL_CLAIM, pool) === null) {
      await this.#waits(
        claim,
        'ProvisioningFailed',
        `StoragePoolClaim "${pool}" of class ${settings.metadata.name} not found`,
      );
      return null;
    }
    return {
      size: formatQuantity(sizeBytes),
      casType,
      ...policyOf(config, metadata.namespace ?? 'default'),
      ...this.#blocksOf(source),
      ...(pool === undefined ? {} : { storagePoolClaim: pool }),
      ...(source.kind === 'of' ? { source: source.spec } : {}),
      claimRef: {
        namespace: metadata.namespace ?? 'default',
        name: metadata.name,
        uid: metadata.uid,
      },
    };
  }

  /** A copy has blocks as its source has them, whatever its class says of new volumes. */
  #blocksOf(source: Source): { blockSize?: 512 | 4096 } {
    if (source.kind !== 'of') return {};
    const { catalog } = this.#around;
    const of =
      source.spec.volume ?? catalog.get(SNAPSHOT, source.spec.snapshot ?? '')?.spec.volumeName;
    const from = catalog.get(VOLUME, of ?? '');
    return from === null ? {} : { blockSize: blockSizeOf(from.spec) };
  }

  /** The promoter's class has no settings of its own: the source's class has them. */
  #settingsFor(claim: Claim, storageClass: StorageClass, source: Source): StorageClass {
    if (storageClass.provisioner !== SNAPSHOT_PROMOTER || source.kind !== 'of') return storageClass;
    const { catalog } = this.#around;
    const of =
      source.spec.volume ?? catalog.get(SNAPSHOT, source.spec.snapshot ?? '')?.spec.volumeName;
    const persistent = of === undefined ? null : catalog.get(PERSISTENT_VOLUME, of);
    const name = persistent?.spec.storageClassName ?? '';
    return (
      catalog.get(STORAGE_CLASS, name) ?? {
        ...storageClass,
        metadata: { ...storageClass.metadata, name: claim.metadata.name },
      }
    );
  }

  #sourceOf({ metadata, spec }: Claim): Source {
    const { catalog } = this.#around;
    const { namespace = 'default' } = metadata;
    const named = spec.dataSource ?? spec.dataSourceRef;
    const old = metadata.annotations?.[SNAPSHOT_ANNOTATION];
    if (named === undefined && old === undefined) return { kind: 'none' };
    const {
      kind,
      name,
      apiGroup = '',
    } = named ?? {
      kind: 'VolumeSnapshot',
      name: old ?? '',
      apiGroup: EXTERNAL_SNAPSHOT_GROUP,
    };
    if (kind === 'PersistentVolumeClaim' && apiGroup === '') {
      const from = catalog.get(CLAIM, `${namespace}/${name}`);
      const volume = catalog.get(VOLUME, from?.spec.volumeName ?? '');
      if (from === null) return { kind: 'wait', why: `persistentvolumeclaim "${name}" not found` };
      if (volume === null || volume.status?.phase !== 'Ready') {
        return { kind: 'wait', why: `claim ${name} is not bound yet` };
      }
      const leastBytes = volume.status.capacityBytes ?? quantityBytes(volume.spec.size) ?? 0;
      return { kind: 'of', spec: { volume: volume.metadata.name }, leastBytes };
    }
    if (
      kind !== 'VolumeSnapshot' ||
      (apiGroup !== EXTERNAL_SNAPSHOT_GROUP && apiGroup !== SNAPSHOT_GROUP)
    ) {
      return {
        kind: 'wait',
        why: `spec.dataSource: ${apiGroup === '' ? '' : `${apiGroup}/`}${kind} is neither a PersistentVolumeClaim nor a VolumeSnapshot of ${EXTERNAL_SNAPSHOT_GROUP} or ${SNAPSHOT_GROUP}`,
      };
    }
    // Either form: who restores often names the group of the other one.
    const at = `${namespace}/${name}`;
    const [first, second] =
      apiGroup === SNAPSHOT_GROUP
        ? [catalog.get(VOLUME_SNAPSHOT, at), catalog.get(EXTERNAL_SNAPSHOT, at)]
        : [catalog.get(EXTERNAL_SNAPSHOT, at), catalog.get(VOLUME_SNAPSHOT, at)];
    const found = first ?? second;
    if (found === null) return { kind: 'wait', why: `volumesnapshot "${name}" not found` };
    const snapshot = catalog.get(SNAPSHOT, snapshotName(found.metadata.uid));
    if (snapshot?.status?.phase !== 'Ready') {
      return { kind: 'wait', why: `volumesnapshot ${name} is not ready yet` };
    }
    if (isDeleting(found) || isDeleting(snapshot)) {
      return { kind: 'wait', why: `volumesnapshot ${name} is being deleted` };
    }
    const leastBytes = snapshot.status.sizeBytes ?? 0;
    return { kind: 'of', spec: { snapshot: snapshot.metadata.name }, leastBytes };
  }

  /** Bound: follows growth. */
  async #keep(claim: Claim, storageClass: StorageClass): Promise<number | undefined> {
    const { catalog, events } = this.#around;
    const persistent = catalog.get(PERSISTENT_VOLUME, claim.spec.volumeName ?? '');
    if (persistent === null || persistent.spec.claimRef?.uid !== claim.metadata.uid) {
      if (claim.status?.phase === 'Bound' && persistent === null) {
        await this.#writer.status(CLAIM, claim, (status) => {
          status.phase = 'Lost';
        });
        events.record(claim, 'Warning', 'ClaimLost', `its volume ${claim.spec.volumeName} is gone`);
      }
      return undefined;
    }
    const { storage } = claim.spec.resources.requests;
    const wantedBytes = Math.ceil((quantityBytes(storage) ?? 0) / 4096) * 4096;
    const hasBytes = quantityBytes(persistent.spec.capacity.storage) ?? 0;
    const volume = catalog.get(VOLUME, persistent.metadata.name);
    if (wantedBytes > hasBytes && volume !== null) {
      return await this.#grow(claim, storageClass, volume, persistent, wantedBytes);
    }
    const health = volume?.status?.conditions?.find(({ type }) => type === 'Healthy');
    const before = claim.status?.conditions?.find(({ type }) => type === 'VolumeHealthy');
    const kept = await this.#writer.status(CLAIM, claim, (status) => {
      status.phase = 'Bound';
      status.accessModes = [...persistent.spec.accessModes];
      status.capacity = { storage: persistent.spec.capacity.storage };
      const left = (status.conditions ?? []).filter(
        ({ type }) => type !== 'Resizing' && type !== 'Waiting',
      );
      if (health !== undefined) {
        const { status: is, reason = '', message = '' } = health;
        const condition = { type: 'VolumeHealthy', status: is, reason, message };
        setCondition(left, condition, this.#around.now());
      }
      if (left.length > 0) status.conditions = left;
      else delete status.conditions;
    });
    if (kept === claim || health === undefined) return undefined;
    if (health.status !== 'True' && health.message !== before?.message) {
      const state = volume?.status?.state ?? 'Offline';
      events.record(claim, 'Warning', `Volume${state}`, health.message ?? '');
    } else if (health.status === 'True' && before !== undefined && before.status !== 'True') {
      events.record(claim, 'Normal', 'VolumeHealthy', health.message ?? '');
    }
    return undefined;
  }

  async #grow(
    claim: Claim,
    storageClass: StorageClass,
    volume: Volume,
    persistent: PersistentVolume,
    wantedBytes: number,
  ): Promise<number | undefined> {
    const { events } = this.#around;
    const size = formatQuantity(wantedBytes);
    if (storageClass.allowVolumeExpansion !== true) {
      const text = `spec.resources.requests.storage: class ${storageClass.metadata.name} does not allow expansion (allowVolumeExpansion)`;
      await this.#says(claim, 'Resizing', 'False', 'ExpansionNotAllowed', text, 'Warning');
      return undefined;
    }
    if ((quantityBytes(volume.spec.size) ?? 0) < wantedBytes) {
      try {
        await this.#writer.update(VOLUME, volume, ({ spec }) => {
          spec.size = size;
        });
      } catch (error) {
        if (!hasReason(error, 'Invalid')) throw error;
        const text = `spec.resources.requests.storage: ${(error as Error).message}`;
        await this.#says(claim, 'Resizing', 'False', 'NoRoom', text, 'Warning');
        return ROOM_LOOK_MS;
      }
      await this.#says(claim, 'Resizing', 'True', 'Resizing', `growing to ${size}`, 'Normal');
      return undefined;
    }
    if ((volume.status?.capacityBytes ?? 0) < wantedBytes) return undefined; // Its node is at it.
    await this.#writer.update(PERSISTENT_VOLUME, persistent, ({ spec }) => {
      spec.capacity = { storage: size };
    });
    events.record(
      claim,
      'Normal',
      'VolumeResizeSuccessful',
      `grown to ${size}; rescan on the host`,
    );
    return undefined;
  }

  /** Deleted: waits for hosts to log out, then lets the volume's reclaim policy decide. */
  async #release(claim: Claim): Promise<void> {
    if (!hasFinalizer(claim, Finalizer.Claim)) return;
    const name = claim.spec.volumeName ?? volumeName(claim.metadata.uid);
    const volume = await this.#writer.live(VOLUME, null, name);
    const initiators = volume?.status?.initiators ?? [];
    if ((volume?.status?.sessions ?? 0) > 0) {
      const text = `it is in use: ${initiators.join(', ')} ${initiators.length === 1 ? 'is' : 'are'} logged in; log out there first`;
      await this.#says(claim, 'Waiting', 'True', 'VolumeInUse', text, 'Warning');
      return;
    }
    // Never bound: nobody else will take its volume away.
    if (volume !== null && (await this.#writer.live(PERSISTENT_VOLUME, null, name)) === null) {
      await this.#writer.remove(VOLUME, volume);
    }
    await this.#writer.removeFinalizer(CLAIM, claim, Finalizer.Claim);
  }

  async #waits(
    claim: Claim,
    reason: string,
    message: string,
    type: 'Normal' | 'Warning' = 'Warning',
  ): Promise<void> {
    await this.#says(claim, 'Waiting', 'True', reason, message, type);
  }

  /** A condition, and an event when it is news. */
  async #says(
    claim: Claim,
    type: string,
    is: 'True' | 'False',
    reason: string,
    message: string,
    severity: 'Normal' | 'Warning',
  ): Promise<void> {
    if (!(await this.#saysThat(claim, type, is, reason, message))) return;
    this.#around.events.record(claim, severity, reason, message);
  }

  /** The condition alone; whether it is news. */
  async #saysThat(
    claim: Claim,
    type: string,
    is: 'True' | 'False',
    reason: string,
    message: string,
  ): Promise<boolean> {
    const said = await this.#writer.status(CLAIM, claim, (status) => {
      status.phase ??= 'Pending';
      status.conditions ??= [];
      setCondition(status.conditions, { type, status: is, reason, message }, this.#around.now());
    });
    return said !== claim;
  }
}

function defaultClass(classes: readonly StorageClass[]): StorageClass | null {
  const standard = classes
    .filter(({ metadata: { annotations = {} } }) =>
      [DEFAULT_CLASS, BETA_DEFAULT_CLASS].some((key) => annotations[key] === 'true'),
    )
    // As Kubernetes: of several, the newest.
    .sort((a, b) => (a.metadata.creationTimestamp < b.metadata.creationTimestamp ? 1 : -1));
  return standard[0] ?? null;
}

function policyOf(config: CasConfig, namespace: string): object {
  const limits = {
    ...(config.iops === undefined ? {} : { iops: config.iops }),
    ...(config.iopsBurst === undefined ? {} : { iopsBurst: config.iopsBurst }),
    ...(config.bandwidth === undefined ? {} : { bandwidth: config.bandwidth }),
    ...(config.bandwidthBurst === undefined ? {} : { bandwidthBurst: config.bandwidthBurst }),
    ...(config.queueDepth === undefined ? {} : { queueDepth: config.queueDepth }),
  };
  const timeouts = {
    ...(config.holdSeconds === undefined ? {} : { holdSeconds: config.holdSeconds }),
    ...(config.ioSeconds === undefined ? {} : { ioSeconds: config.ioSeconds }),
    ...(config.hedgeMilliseconds === undefined
      ? {}
      : { hedgeMilliseconds: config.hedgeMilliseconds }),
  };
  return {
    ...(config.replicaCount === undefined ? {} : { replicaCount: config.replicaCount }),
    ...(config.minimumReplicas === undefined ? {} : { minimumReplicas: config.minimumReplicas }),
    ...(config.witness === undefined ? {} : { witness: config.witness }),
    ...(config.replicaPlacement === undefined ? {} : { replicaPlacement: config.replicaPlacement }),
    ...(config.writeCache === undefined ? {} : { writeCache: config.writeCache }),
    ...(config.blockSize === undefined ? {} : { blockSize: config.blockSize }),
    ...(config.initiators === undefined ? {} : { initiators: [...config.initiators] }),
    ...(config.policy === undefined ? {} : { policy: config.policy }),
    ...(config.chapSecret === undefined
      ? {}
      : { chapSecret: { name: config.chapSecret, namespace } }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    ...(config.syncPolicy === undefined ? {} : { syncPolicy: config.syncPolicy }),
    ...(config.readPolicy === undefined ? {} : { readPolicy: config.readPolicy }),
    ...(Object.keys(timeouts).length === 0 ? {} : { timeouts }),
    ...(config.cacheSize === undefined ? {} : { cacheSize: config.cacheSize }),
    ...(config.ioWorkers === undefined ? {} : { ioWorkers: config.ioWorkers }),
  };
}

function persistentVolumeSpec(claim: Claim, storageClass: StorageClass, volume: Volume): object {
  const { metadata, spec } = claim;
  const { namespace = 'default' } = metadata;
  const { config } = parseCasConfig(storageClass.metadata.annotations?.[CAS_CONFIG]);
  const [targetPortal = '', ...portals] = volume.status?.portals ?? [];
  const { chapSecret } = volume.spec;
  return {
    capacity: { storage: volume.spec.size },
    accessModes: spec.accessModes,
    persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? 'Delete',
    storageClassName: storageClass.metadata.name,
    volumeMode: spec.volumeMode ?? 'Filesystem',
    ...(storageClass.mountOptions === undefined ? {} : { mountOptions: storageClass.mountOptions }),
    claimRef: {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      namespace,
      name: metadata.name,
      uid: metadata.uid,
    },
    iscsi: {
      targetPortal,
      ...(portals.length === 0 ? {} : { portals }),
      iqn: volume.status?.iqn ?? '',
      lun: volume.status?.lun ?? 0,
      iscsiInterface: 'default',
      fsType: config.fsType ?? 'ext4',
      readOnly: false,
      ...(chapSecret === undefined
        ? {}
        : {
            chapAuthSession: true,
            secretRef: { name: chapSecret.name, namespace: chapSecret.namespace ?? namespace },
          }),
    },
  };
}
