// The walk-through's objects, as their users write them.
export const spc = {
  apiVersion: 'openebs.io/v1alpha1',
  kind: 'StoragePoolClaim',
  metadata: {
    name: 'cstor-disk-pool',
    annotations: {
      'cas.openebs.io/config':
        '- name: PoolResourceRequests\n  value: |-\n      memory: 2Gi\n- name: PoolResourceLimits\n  value: |-\n      memory: 4Gi\n',
    },
  },
  spec: {
    name: 'cstor-disk-pool',
    type: 'disk',
    poolSpec: { poolType: 'striped' },
    blockDevices: { blockDeviceList: ['blockdevice-1', 'blockdevice-2'] },
  },
};

export const storageClass = {
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: {
    name: 'openebs-cstor-disk',
    annotations: {
      'openebs.io/cas-type': 'cstor',
      'cas.openebs.io/config':
        '- name: StoragePoolClaim\n  value: "cstor-disk-pool"\n- name: ReplicaCount\n  value: "3"\n',
    },
  },
  provisioner: 'openebs.io/provisioner-iscsi',
};

export function aClaim(name: string, extra: Record<string, unknown> = {}, size = '5Gi') {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace: 'default' },
    spec: {
      storageClassName: 'openebs-cstor-disk',
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: size } },
      ...extra,
    },
  };
}

export const volumeSnapshot = {
  apiVersion: 'volumesnapshot.external-storage.k8s.io/v1',
  kind: 'VolumeSnapshot',
  metadata: { name: 'snapshot-cstor', namespace: 'default' },
  spec: { persistentVolumeClaimName: 'cstor-pvc' },
};

export const restore = {
  dataSource: {
    name: 'snapshot-cstor',
    kind: 'VolumeSnapshot',
    apiGroup: 'volumesnapshot.external-storage.k8s.io',
  },
};
