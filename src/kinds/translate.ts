// Our objects in OpenEBS' words.
import type { KubeObject, ObjectMeta } from '../apiserver/index.ts';
import { formatBytes, formatQuantity } from '../base/index.ts';
import { type BlockDevice, claimState, type Volume } from './ashlar.ts';
import type { Service } from './core.ts';
import type {
  CStorPool,
  CStorVolume,
  CStorVolumeReplica,
  JivaVolume,
  OpenEbsBlockDevice,
} from './openebs.ts';
import { layoutOf, type Pool } from './pool.ts';
import type { Replica } from './replica.ts';
import { quantityBytes } from './volume-check.ts';

const API_VERSION = 'openebs.io/v1alpha1';

export function metadataOf({ metadata }: KubeObject, namespace: string | null): ObjectMeta {
  const { finalizers: _, managedFields: __, ...shown } = metadata;
  return namespace === null ? shown : { ...shown, namespace };
}

const shownBytes = (bytes: number | undefined): string => formatBytes(bytes ?? 0);

const POOL_PHASES: Readonly<Record<string, string>> = {
  Online: 'Healthy',
  Degraded: 'Degraded',
  Faulted: 'Error',
  Offline: 'Offline',
  Pending: 'Init',
};

/** Those of now, once its node has said which. */
function devicesOf({ spec, status }: Pool): string[] {
  const now = status?.devices?.flatMap(({ device }) => device ?? []) ?? [];
  return now.length > 0 ? now : (spec.devices ?? []);
}

/** Pools in directories are jiva's: they are no CStorPools. */
export function asCStorPool(pool: Pool): CStorPool | null {
  if (pool.spec.directory !== undefined) return null;
  const { status } = pool;
  return {
    apiVersion: API_VERSION,
    kind: 'CStorPool',
    metadata: metadataOf(pool, null),
    spec: {
      poolSpec: {
        poolType: layoutOf(pool.spec) === 'mirror' ? 'mirrored' : 'striped',
        overProvisioning: (pool.spec.overcommit ?? 10) > 1,
      },
      nodeName: pool.spec.nodeName,
      blockDevices: devicesOf(pool),
      ...(pool.spec.storagePoolClaim === undefined
        ? {}
        : { storagePoolClaim: pool.spec.storagePoolClaim }),
    },
    status: {
      phase: POOL_PHASES[status?.phase ?? 'Pending'] ?? 'Init',
      readOnly: status?.readOnly ?? false,
      ...(status?.usableBytes === undefined
        ? {}
        : {
            capacity: {
              total: shownBytes(status.usableBytes),
              free: shownBytes(status.freeBytes),
              used: shownBytes(status.allocatedBytes),
            },
          }),
      ...(status?.conditions === undefined ? {} : { conditions: status.conditions }),
    },
  };
}

/** Healthy, Degraded, Offline or Init. */
function volumePhase({ status }: Volume): string {
  if (status?.phase !== 'Ready') return status?.phase === 'Failed' ? 'Error' : 'Init';
  return status.state === 'Rebuilding' ? 'Degraded' : (status.state ?? 'Init');
}

function portalOf({ status }: Volume): { portal: string; host: string; port: string } {
  const portal = status?.serving?.portal ?? status?.portals?.[0] ?? '';
  const at = portal.lastIndexOf(':');
  return { portal, host: portal.slice(0, at < 0 ? undefined : at), port: portal.slice(at + 1) };
}

function capacityOf(volume: Volume): string {
  const bytes = volume.status?.capacityBytes ?? quantityBytes(volume.spec.size) ?? 0;
  return formatQuantity(bytes);
}

export function asCStorVolume(volume: Volume, namespace: string): CStorVolume | null {
  if (volume.spec.casType === 'jiva') return null;
  const { portal, host, port } = portalOf(volume);
  const wanted = volume.status?.replicas?.wanted ?? volume.spec.replicaCount ?? 1;
  return {
    apiVersion: API_VERSION,
    kind: 'CStorVolume',
    metadata: metadataOf(volume, namespace),
    spec: {
      capacity: capacityOf(volume),
      iqn: volume.status?.iqn ?? '',
      targetPortal: portal,
      targetIP: host,
      targetPort: port,
      nodeBase: (volume.status?.iqn ?? '').split(':')[0] ?? '',
      replicationFactor: wanted,
      consistencyFactor: Math.floor(wanted / 2) + 1,
    },
    status: {
      phase: volumePhase(volume),
      capacity: capacityOf(volume),
      ...(volume.status?.conditions === undefined ? {} : { conditions: volume.status.conditions }),
    },
  };
}

/** Where hosts log in; null: nowhere yet. */
export function asService(volume: Volume, namespace: string): Service | null {
  const { host, port } = portalOf(volume);
  if (volume.status?.serving === undefined || host === '') return null;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadataOf(volume, namespace),
    spec: {
      type: 'ClusterIP',
      clusterIP: host,
      ports: [{ name: 'iscsi', port: Number(port), targetPort: Number(port), protocol: 'TCP' }],
    },
  };
}

export function asJivaVolume(volume: Volume, namespace: string): JivaVolume | null {
  if (volume.spec.casType !== 'jiva') return null;
  const phase = volumePhase(volume);
  return {
    apiVersion: API_VERSION,
    kind: 'JivaVolume',
    metadata: metadataOf(volume, namespace),
    spec: {
      capacity: capacityOf(volume),
      iqn: volume.status?.iqn ?? '',
      targetPortal: portalOf(volume).portal,
      replicationFactor: volume.status?.replicas?.wanted ?? volume.spec.replicaCount ?? 1,
    },
    status: {
      phase: phase === 'Healthy' ? 'Ready' : phase,
      status: phase === 'Healthy' || phase === 'Degraded' ? 'RW' : 'RO',
      replicaCount: volume.status?.replicas?.inSync ?? 0,
      ...(volume.status?.conditions === undefined ? {} : { conditions: volume.status.conditions }),
    },
  };
}

const REPLICA_PHASES: Readonly<Record<string, string>> = { Pending: 'Init', Failed: 'Error' };

export function asCStorReplica(replica: Replica, namespace: string): CStorVolumeReplica | null {
  // Who counts these counts copies.
  if (replica.spec.witness === true) return null;
  const { status } = replica;
  const phase = status?.phase ?? 'Pending';
  return {
    apiVersion: API_VERSION,
    kind: 'CStorVolumeReplica',
    metadata: metadataOf(replica, namespace),
    spec: {
      capacity: formatQuantity(quantityBytes(replica.spec.size) ?? 0),
      targetIP: replica.spec.nodeName,
      replicaid: status?.storeId ?? '',
    },
    status: {
      phase: REPLICA_PHASES[phase] ?? phase,
      capacity: {
        totalAllocated: shownBytes(status?.allocatedBytes),
        used: shownBytes(status?.usedBytes),
      },
      ...(status?.conditions === undefined ? {} : { conditions: status.conditions }),
    },
  };
}

export function asBlockDevice(device: BlockDevice, namespace: string): OpenEbsBlockDevice {
  const { spec, status } = device;
  return {
    apiVersion: API_VERSION,
    kind: 'BlockDevice',
    metadata: metadataOf(device, namespace),
    spec: {
      path: spec.path,
      nodeAttributes: { nodeName: spec.nodeName },
      capacity: { storage: spec.sizeBytes, logicalSectorSize: spec.logicalBlockBytes },
      details: {
        deviceType: spec.sparse ? 'sparse' : 'disk',
        model: spec.model ?? '',
        serial: spec.serial ?? '',
        driveType: spec.rotational ? 'HDD' : 'SSD',
      },
      devlinks: spec.byIdPath === undefined ? [] : [{ kind: 'by-id', links: [spec.byIdPath] }],
      filesystem: {
        fsType: status?.contents ?? '',
        mountPoint: /mounted at (\S+)/.exec(status?.inUse ?? '')?.[1] ?? '',
      },
    },
    status: {
      state: status?.state ?? 'Unknown',
      claimState: claimState(device),
    },
  };
}
