// VolumeSnapshots, in either form: a Snapshot of the claim's volume stands behind each. The coordinator's node takes it.
import type { KindDefinition, KubeObject } from '../apiserver/index.ts';
import { setCondition } from '../apiserver/index.ts';
import { formatQuantity } from '../base/index.ts';
import {
  CLAIM,
  EXTERNAL_SNAPSHOT,
  EXTERNAL_SNAPSHOT_DATA,
  type ExternalSnapshot,
  type ExternalSnapshotData,
  SNAPSHOT,
  SNAPSHOTTER,
  type Snapshot,
  VOLUME,
  VOLUME_SNAPSHOT,
  VOLUME_SNAPSHOT_CLASS,
  VOLUME_SNAPSHOT_CONTENT,
  type VolumeSnapshot,
  type VolumeSnapshotContent,
} from '../kinds/index.ts';
import {
  type Controller,
  hasFinalizer,
  isDeleting,
  type Surroundings,
  trigger,
  Writer,
} from './controller.ts';
import { keyOf } from './keys.ts';
import { Finalizer, Label, snapshotName } from './names.ts';

/** What differs between the two forms. */
interface Form<T extends KubeObject> {
  readonly name: string;
  readonly kind: KindDefinition<T>;
  readonly claimOf: (object: T) => string;
  /** The content's name. */
  readonly contentOf: (object: T) => string;
  /** Makes the content, and says in the object that it is ready. */
  readonly publish: (
    object: T,
    snapshot: Snapshot,
    around: Surroundings,
    writer: Writer,
  ) => Promise<void>;
  readonly say: (
    object: T,
    around: Surroundings,
    writer: Writer,
    reason: string,
    message: string,
  ) => Promise<boolean>;
  readonly removeContent: (object: T, around: Surroundings, writer: Writer) => Promise<boolean>;
  /** Kept when the object is deleted. */
  readonly retains: (object: T, around: Surroundings) => boolean;
}

class SnapshotController<T extends KubeObject> implements Controller {
  readonly name: string;
  readonly kind: KindDefinition;
  readonly triggers;
  readonly #form: Form<T>;
  readonly #around: Surroundings;
  readonly #writer: Writer;

  constructor(around: Surroundings, form: Form<T>) {
    this.name = form.name;
    this.kind = form.kind as unknown as KindDefinition;
    this.#form = form;
    this.#around = around;
    this.#writer = new Writer(around);
    this.triggers = [
      trigger(SNAPSHOT, ({ spec }) =>
        spec.snapshotRef === undefined
          ? []
          : [`${spec.snapshotRef.namespace}/${spec.snapshotRef.name}`],
      ),
      trigger(CLAIM, ({ metadata }, catalog) =>
        catalog
          .all(form.kind)
          .filter((object) => object.metadata.namespace === metadata.namespace)
          .filter((object) => form.claimOf(object) === metadata.name)
          .map(keyOf),
      ),
    ];
  }

  async reconcile(key: string): Promise<undefined> {
    const { catalog, events } = this.#around;
    const object = catalog.get(this.#form.kind, key);
    if (object === null) return;
    if (isDeleting(object)) {
      await this.#tearDown(object);
      return;
    }
    if (!hasFinalizer(object, Finalizer.VolumeSnapshot)) {
      await this.#writer.addFinalizer(this.#form.kind, object, Finalizer.VolumeSnapshot);
      return;
    }
    const name = snapshotName(object.metadata.uid);
    const snapshot = catalog.get(SNAPSHOT, name);
    if (snapshot === null) {
      await this.#ask(object, name);
      return;
    }
    if (snapshot.status?.phase === 'Ready') {
      await this.#form.publish(object, snapshot, this.#around, this.#writer);
    } else {
      const why = snapshot.status?.conditions?.find(({ type }) => type === 'Ready')?.message;
      const message = why ?? `snapshot ${name} is being taken`;
      if (
        await this.#says(
          object,
          snapshot.status?.phase === 'Failed' ? 'Failed' : 'Pending',
          message,
        )
      ) {
        if (why !== undefined) events.record(object, 'Warning', 'SnapshotWaits', message);
      }
    }
  }

  async #ask(object: T, name: string): Promise<void> {
    const { catalog, events } = this.#around;
    const { namespace = 'default' } = object.metadata;
    const claimName = this.#form.claimOf(object);
    const claim = catalog.get(CLAIM, `${namespace}/${claimName}`);
    const volume = catalog.get(VOLUME, claim?.spec.volumeName ?? '');
    if (claim === null || volume === null || isDeleting(volume)) {
      const message =
        claim === null
          ? `persistentvolumeclaim "${claimName}" not found`
          : `claim ${claimName} is not bound to a volume of ours yet`;
      if (await this.#says(object, 'Pending', message)) {
        events.record(object, 'Warning', 'SnapshotWaits', message);
      }
      return;
    }
    await this.#writer.ensure<Snapshot>(SNAPSHOT, {
      metadata: {
        name,
        labels: { [Label.Volume]: volume.metadata.name },
        finalizers: [Finalizer.Snapshot],
      },
      spec: {
        volumeName: volume.metadata.name,
        snapshotRef: { namespace, name: object.metadata.name, uid: object.metadata.uid },
      },
    });
    events.record(
      object,
      'Normal',
      'CreatingSnapshot',
      `a snapshot of ${volume.metadata.name} is asked for`,
    );
  }

  async #says(object: T, reason: string, message: string): Promise<boolean> {
    return await this.#form.say(object, this.#around, this.#writer, reason, message);
  }

  async #tearDown(object: T): Promise<void> {
    if (!hasFinalizer(object, Finalizer.VolumeSnapshot)) return;
    if (!this.#form.retains(object, this.#around)) {
      const name = snapshotName(object.metadata.uid);
      const snapshot = await this.#writer.live(SNAPSHOT, null, name);
      if (snapshot !== null) {
        await this.#writer.remove(SNAPSHOT, snapshot);
        return; // Its end brings us back here.
      }
      if (await this.#form.removeContent(object, this.#around, this.#writer)) return;
    }
    await this.#writer.removeFinalizer(this.#form.kind, object, Finalizer.VolumeSnapshot);
  }
}

const external: Form<ExternalSnapshot> = {
  name: 'external-snapshots',
  kind: EXTERNAL_SNAPSHOT,
  claimOf: ({ spec }) => spec.persistentVolumeClaimName,
  contentOf: ({ metadata }) => `k8s-volume-snapshot-${metadata.uid}`,
  retains: () => false,
  async publish(object, snapshot, around, writer) {
    const name = external.contentOf(object);
    const { namespace = 'default' } = object.metadata;
    if (around.catalog.get(EXTERNAL_SNAPSHOT_DATA, name) === null) {
      await writer.ensure<ExternalSnapshotData>(EXTERNAL_SNAPSHOT_DATA, {
        metadata: { name, labels: { 'SnapshotMetadata-PVName': snapshot.spec.volumeName } },
        spec: {
          volumeSnapshotRef: {
            kind: 'VolumeSnapshot',
            namespace,
            name: object.metadata.name,
            uid: object.metadata.uid,
          },
          persistentVolumeRef: { kind: 'PersistentVolume', name: snapshot.spec.volumeName },
          openebsVolume: {
            snapshotId: snapshot.metadata.name,
            capacity: formatQuantity(snapshot.status?.sizeBytes ?? 0),
          },
        },
      });
    }
    const named = await writer.update(EXTERNAL_SNAPSHOT, object, ({ spec }) => {
      spec.snapshotDataName = name;
    });
    const said = await writer.status(EXTERNAL_SNAPSHOT, named, (status) => {
      status.creationTimestamp = snapshot.status?.takenAt ?? writer.nowIso;
      status.conditions ??= [];
      const condition = { type: 'Ready', status: 'True', reason: 'SnapshotReady' } as const;
      const message = 'Snapshot created successfully';
      setCondition(status.conditions, { ...condition, message }, around.now());
    });
    if (said !== named)
      around.events.record(object, 'Normal', 'SnapshotReady', 'it can be restored from');
  },
  async say(object, around, writer, reason, message) {
    const said = await writer.status(EXTERNAL_SNAPSHOT, object, (status) => {
      status.conditions ??= [];
      setCondition(
        status.conditions,
        { type: 'Ready', status: 'False', reason, message },
        around.now(),
      );
    });
    return said !== object;
  },
  async removeContent(object, _around, writer) {
    const content = await writer.live(EXTERNAL_SNAPSHOT_DATA, null, external.contentOf(object));
    if (content === null) return false;
    await writer.remove(EXTERNAL_SNAPSHOT_DATA, content);
    return false; // It has no finalizers of ours: it is gone.
  },
};

const standard: Form<VolumeSnapshot> = {
  name: 'snapshots',
  kind: VOLUME_SNAPSHOT,
  claimOf: ({ spec }) => spec.source.persistentVolumeClaimName ?? '',
  contentOf: ({ metadata }) => `snapcontent-${metadata.uid}`,
  retains: ({ spec }, { catalog }) =>
    catalog.get(VOLUME_SNAPSHOT_CLASS, spec.volumeSnapshotClassName ?? '')?.deletionPolicy ===
    'Retain',
  async publish(object, snapshot, around, writer) {
    const name = standard.contentOf(object);
    const { namespace = 'default' } = object.metadata;
    const className = object.spec.volumeSnapshotClassName;
    let content = around.catalog.get(VOLUME_SNAPSHOT_CONTENT, name);
    if (content === null) {
      content = await writer.ensure<VolumeSnapshotContent>(VOLUME_SNAPSHOT_CONTENT, {
        metadata: { name },
        spec: {
          driver: SNAPSHOTTER,
          deletionPolicy: standard.retains(object, around) ? 'Retain' : 'Delete',
          volumeSnapshotRef: {
            apiVersion: 'snapshot.storage.k8s.io/v1',
            kind: 'VolumeSnapshot',
            namespace,
            name: object.metadata.name,
            uid: object.metadata.uid,
          },
          source: { volumeHandle: snapshot.spec.volumeName },
          ...(className === undefined ? {} : { volumeSnapshotClassName: className }),
        },
      });
    }
    const takenAt = snapshot.status?.takenAt ?? snapshot.metadata.creationTimestamp;
    const sizeBytes = snapshot.status?.sizeBytes ?? 0;
    if (content.status?.readyToUse !== true) {
      await writer.status(VOLUME_SNAPSHOT_CONTENT, content, (status) => {
        status.snapshotHandle = snapshot.metadata.name;
        status.restoreSize = sizeBytes;
        status.readyToUse = true;
      });
    }
    const said = await writer.status(VOLUME_SNAPSHOT, object, (status) => {
      status.boundVolumeSnapshotContentName = name;
      status.creationTime = takenAt;
      status.readyToUse = true;
      status.restoreSize = formatQuantity(sizeBytes);
      delete status.error;
    });
    if (said !== object)
      around.events.record(object, 'Normal', 'SnapshotReady', 'it can be restored from');
  },
  async say(object, _around, writer, reason, message) {
    if (object.status?.error?.message === message) return false;
    await writer.status(VOLUME_SNAPSHOT, object, (status) => {
      status.readyToUse = false;
      status.error = { time: writer.nowIso, message: `${reason}: ${message}` };
    });
    return object.status?.error?.message !== `${reason}: ${message}`;
  },
  async removeContent(object, _around, writer) {
    const content = await writer.live(VOLUME_SNAPSHOT_CONTENT, null, standard.contentOf(object));
    if (content !== null) await writer.remove(VOLUME_SNAPSHOT_CONTENT, content);
    return false;
  },
};

export function snapshotControllers(around: Surroundings): Controller[] {
  return [new SnapshotController(around, external), new SnapshotController(around, standard)];
}
