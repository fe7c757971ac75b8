// Snapshots on one node: objects of kind Snapshot, as the pool has them. The pool is the truth; what is here shows it.
//
// A snapshot's object is named VOLUME.NAME (a volume's name has no dot; '@', which people write, cannot be in an object's
// name): the snapshot `monday` of `db`, `db@monday` in the pool and on the command line, is the object `db.monday`.
import { type Static, Type } from 'typebox';
import {
  type KindAction,
  type KindDefinition,
  kubeTime,
  type ObjectMeta,
  PolledBackend,
  type StatusCause,
} from '../apiserver/index.ts';
import type { Clock } from '../base/index.ts';
import {
  checkSnapshot,
  foreignSnapshotFields,
  SNAPSHOT_DECLARATION,
  type Snapshot,
  type SnapshotStatus,
} from '../kinds/index.ts';
import { STORE_BLOCK_BYTES } from '../store/types.ts';
import { snapshotActions } from './clone-tools.ts';
import { notFound } from './errors.ts';
import type { ExposedSnapshot } from './exposed-snapshots.ts';
import type { KeptSnapshot } from './kept-snapshots.ts';
import { MAX_SNAPSHOT_NAME_CHARACTERS } from './limits.ts';
import { GROUP_VERSION } from './schemas.ts';
import type { VolumeController } from './volume-controller.ts';

/** As it is shown: it has been taken. */
export type SnapshotObject = Snapshot & {
  status: SnapshotStatus & Required<Pick<SnapshotStatus, 'phase' | 'takenAt' | 'sizeBytes'>>;
};

const SHORT_NAME = new RegExp(
  `^[a-z0-9]([-a-z0-9]{0,${MAX_SNAPSHOT_NAME_CHARACTERS - 2}}[a-z0-9])?$`,
);

export interface SnapshotKindOptions {
  readonly controller: VolumeController;
  readonly clock: Clock;
}

export function snapshotKind(options: SnapshotKindOptions): KindDefinition<SnapshotObject> {
  const { controller, clock } = options;
  const present = (found: KeptSnapshot): SnapshotObject =>
    presentSnapshot(found, controller.snapshots.exposure(`${found.volume}@${found.name}`));
  const presentNow = (full: string): SnapshotObject => present(controller.snapshots.get(full)!);
  const backend = new PolledBackend(
    {
      list: () =>
        // What replicas of others' volumes keep is theirs.
        controller
          .list()
          .flatMap(({ metadata }) => controller.snapshots.of(metadata.name).map(present)),
      get: (_namespace, name) => {
        const found = controller.snapshots.get(fullNameOf(name));
        return found === null ? null : present(found);
      },
      create: async (object, dryRun) => {
        const { spec, metadata } = object as SnapshotObject;
        const [, short] = split(metadata.name);
        const volumes = [spec.volumeName, ...(spec.alsoVolumes ?? [])];
        for (const volume of volumes) {
          if (controller.find(volume) === null) throw notFound('volumes', volume);
        }
        if (dryRun) return object;
        const [made] = await controller.snapshots.take(volumes, short);
        return present(made!);
      },
      remove: async (before, dryRun) => {
        if (dryRun) return;
        await controller.snapshots.delete(fullNameOf(before.metadata.name));
      },
    },
    clock,
    Date.now(),
  );
  return {
    ...(SNAPSHOT_DECLARATION as unknown as KindDefinition<SnapshotObject>),
    verbs: ['create', 'delete', 'deletecollection', 'get', 'list', 'watch'],
    validate: ({ metadata, spec }) => [
      ...checkName(metadata, spec.volumeName),
      ...checkSnapshot(spec),
      ...foreignSnapshotFields(spec, 'serve'),
    ],
    selectable: { 'spec.volumeName': ({ spec }) => spec.volumeName },
    actions: {
      ...snapshotActions(controller),
      ...exposureActions(controller, presentNow),
    },
    backend,
  };
}

function checkName({ name }: ObjectMeta, volume: string): StatusCause[] {
  const [of, short] = split(name ?? '');
  if (of === volume && SHORT_NAME.test(short)) return [];
  return [
    {
      reason: 'FieldValueInvalid',
      field: 'metadata.name',
      message: `'${name}' cannot name a snapshot of ${volume}; write it ${volume}.NAME, where NAME has lower-case letters, digits and '-', at most ${MAX_SNAPSHOT_NAME_CHARACTERS}`,
    },
  ];
}

function split(name: string): [volume: string, short: string] {
  const at = name.indexOf('.');
  return at < 0 ? [name, ''] : [name.slice(0, at), name.slice(at + 1)];
}

function fullNameOf(name: string): string {
  const [volume, short] = split(name);
  return `${volume}@${short}`;
}

const Force = Type.Object(
  { force: Type.Optional(Type.Boolean({ description: 'Also while in use: sessions are ended.' })) },
  { additionalProperties: false },
);

function exposureActions(
  controller: VolumeController,
  present: (fullName: string) => SnapshotObject,
): Readonly<Record<string, KindAction<SnapshotObject>>> {
  return {
    expose: {
      method: 'POST',
      description: 'Let hosts see it, as a read-only disk of its own',
      body: Type.Object({}, { additionalProperties: false }),
      run: async ({ metadata }, { dryRun }) => {
        const full = fullNameOf(metadata.name);
        if (!dryRun) await controller.snapshots.expose(full);
        return present(full);
      },
    },
    unexpose: {
      method: 'POST',
      description: 'Hosts see it no more',
      body: Force,
      run: async ({ metadata }, { body, dryRun }) => {
        const full = fullNameOf(metadata.name);
        const { force = false } = body as Static<typeof Force>;
        if (!dryRun) await controller.snapshots.unexpose(full, { force });
        return present(full);
      },
    },
  };
}

function presentSnapshot(snapshot: KeptSnapshot, exposure: ExposedSnapshot | null): SnapshotObject {
  const { id, volume, name, createdMs, sizeBlocks, usage, holders } = snapshot;
  const bytes = (blocks: number): number => blocks * STORE_BLOCK_BYTES;
  const takenAt = kubeTime(new Date(createdMs));
  return {
    apiVersion: GROUP_VERSION,
    kind: 'Snapshot',
    metadata: {
      name: `${volume}.${name}`,
      uid: id,
      resourceVersion: '',
      generation: 1,
      creationTimestamp: takenAt,
    },
    spec: { volumeName: volume },
    status: {
      phase: 'Ready',
      takenAt,
      sizeBytes: bytes(sizeBlocks),
      ...(usage === null
        ? {}
        : {
            referencedBytes: bytes(usage.mappedBlocks),
            uniqueBytes: bytes(usage.uniqueBlocks),
            writtenBytes: bytes(usage.writtenBlocks),
            settled: usage.settled,
            clones: [...usage.clones],
          }),
      ...(exposure === null
        ? {}
        : {
            iqn: exposure.iqn,
            portals: [...exposure.portals],
            initiators: [...exposure.initiators],
          }),
      ...(holders === null ? {} : { holders: [...holders] }),
    },
  };
}
