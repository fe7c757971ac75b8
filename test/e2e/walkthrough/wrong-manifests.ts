// Manifests with one thing wrong in each, of every kind that people write, and what the answer must say: the field, and
// what would be right.
export interface WrongManifest {
  readonly what: string;
  readonly manifest: object;
  readonly answer: RegExp;
}

const meta = (annotations?: Record<string, string>, name = 'wrong') => ({
  name,
  ...(annotations === undefined ? {} : { annotations }),
});
const config = (text: string): Record<string, string> => ({ 'cas.openebs.io/config': text });

export const claimSpec = {
  storageClassName: 'openebs-jiva-default',
  accessModes: ['ReadWriteOnce'],
  resources: { requests: { storage: '1Gi' } },
};
export const spcSpec = {
  type: 'disk',
  poolSpec: { poolType: 'striped' },
  blockDevices: { blockDeviceList: ['blockdevice-1'] },
};

const spc = (spec: object, annotations?: Record<string, string>) => ({
  apiVersion: 'openebs.io/v1alpha1',
  kind: 'StoragePoolClaim',
  metadata: meta(annotations),
  spec,
});
const storageClass = (annotations: Record<string, string>, more: object = {}) => ({
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: meta(annotations),
  provisioner: 'openebs.io/provisioner-iscsi',
  ...more,
});
const claim = (spec: object) => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: meta(),
  spec: { ...claimSpec, ...spec },
});
const ours = (kind: string, spec: object, name = 'wrong') => ({
  apiVersion: 'ashlar.io/v1',
  kind,
  metadata: meta(undefined, name),
  spec,
});
const snapshot = (group: string, spec: object) => ({
  apiVersion: `${group}/v1`,
  kind: 'VolumeSnapshot',
  metadata: meta(),
  spec,
});
const EXTERNAL = 'volumesnapshot.external-storage.k8s.io';
const STANDARD = 'snapshot.storage.k8s.io';
const secret = (fields: object) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: meta(),
  type: 'kubernetes.io/iscsi-chap',
  ...fields,
});
const persistent = (spec: object) => ({
  apiVersion: 'v1',
  kind: 'PersistentVolume',
  metadata: meta(),
  spec: {
    capacity: { storage: '1Gi' },
    accessModes: ['ReadWriteOnce'],
    iscsi: { targetPortal: '10.0.0.1:3260', iqn: 'iqn.2026-11.io.ashlar:x', lun: 0 },
    ...spec,
  },
});

export const WRONG_MANIFESTS: readonly WrongManifest[] = [
  // StoragePoolClaim
  {
    what: 'a type that is none',
    manifest: spc({ ...spcSpec, type: 'tape' }),
    answer: /spec\.type.*disk.*sparse/s,
  },
  {
    what: 'no poolType',
    manifest: spc({ ...spcSpec, poolSpec: {} }),
    answer: /spec\.poolSpec.*poolType/,
  },
  {
    what: 'a poolType that is none',
    manifest: spc({ ...spcSpec, poolSpec: { poolType: 'raid6' } }),
    answer: /spec\.poolSpec\.poolType.*striped.*mirrored/s,
  },
  {
    what: 'neither devices nor a count',
    manifest: spc({ type: 'disk', poolSpec: { poolType: 'striped' } }),
    answer: /spec\.maxPools/,
  },
  {
    what: 'an unknown field',
    manifest: spc({ ...spcSpec, blockdevices: {} }),
    answer: /unknown field "(spec\.)?blockdevices"/,
  },
  {
    what: 'a name for a list',
    manifest: spc({ ...spcSpec, blockDevices: { blockDeviceList: 'blockdevice-1' } }),
    answer: /blockDeviceList.*(array|list)/s,
  },
  {
    what: 'a device twice',
    manifest: spc({
      ...spcSpec,
      blockDevices: { blockDeviceList: ['blockdevice-1', 'blockdevice-1'] },
    }),
    answer: /spec\.blockDevices\.blockDeviceList.*blockdevice-1.*twice/s,
  },
  {
    what: 'a count that is a text',
    manifest: spc({ ...spcSpec, maxPools: 'three' }),
    answer: /maxPools.*integer/s,
  },
  {
    what: 'memory that is no quantity',
    manifest: spc(spcSpec, config('- name: PoolResourceLimits\n  value: "memory: lots"')),
    answer: /PoolResourceLimits.*lots/,
  },
  {
    what: 'a configuration that is no YAML',
    manifest: spc(spcSpec, config('- name: [')),
    answer: /cas\.openebs\.io\/config/,
  },
  // StorageClass
  {
    what: 'ReplicaCount x',
    manifest: storageClass(config('- name: ReplicaCount\n  value: "x"')),
    answer:
      /metadata\.annotations\[cas\.openebs\.io\/config\]\.ReplicaCount.*'x' is not a whole number/,
  },
  {
    what: 'ReplicaCount 9',
    manifest: storageClass(config('- name: ReplicaCount\n  value: "9"')),
    answer: /ReplicaCount.*1 to 5/,
  },
  {
    what: 'a cas-type that is none',
    manifest: storageClass({ 'openebs.io/cas-type': 'tape' }),
    answer: /openebs\.io\/cas-type.*'tape' is neither cstor nor jiva/,
  },
  {
    what: 'a key that is none',
    manifest: storageClass(config('- name: ReplicaCont\n  value: "3"')),
    answer: /ReplicaCont.*ReplicaCount/,
  },
  {
    what: 'a reclaimPolicy that is none',
    manifest: storageClass({}, { reclaimPolicy: 'Burn' }),
    answer: /reclaimPolicy.*Delete.*Retain/s,
  },
  {
    what: 'a yes for a boolean',
    manifest: storageClass({}, { allowVolumeExpansion: 'yes' }),
    answer: /allowVolumeExpansion.*boolean/s,
  },
  // PersistentVolumeClaim
  {
    what: 'a size that is no quantity',
    manifest: claim({ resources: { requests: { storage: '5Gx' } } }),
    answer: /spec\.resources\.requests\.storage.*5Gx.*5Gi/,
  },
  { what: 'no size', manifest: claim({ resources: {} }), answer: /spec\.resources.*requests/ },
  {
    what: 'an access mode that is none',
    manifest: claim({ accessModes: ['Sometimes'] }),
    answer: /spec\.accessModes.*ReadWriteOnce/s,
  },
  {
    what: 'a class that is no text',
    manifest: claim({ storageClassName: 7 }),
    answer: /storageClassName.*string/s,
  },
  {
    what: 'a dataSource of another kind',
    manifest: claim({ dataSource: { kind: 'ConfigMap', name: 'x' } }),
    answer: /spec\.dataSource.*ConfigMap.*PersistentVolumeClaim.*VolumeSnapshot/s,
  },
  {
    what: 'a snapshot without its group',
    manifest: claim({ dataSource: { kind: 'VolumeSnapshot', name: 'x' } }),
    answer: /spec\.dataSource.*volumesnapshot\.external-storage\.k8s\.io/s,
  },
  {
    what: 'an unknown field',
    manifest: claim({ storageClas: 'x' }),
    answer: /unknown field "(spec\.)?storageClas"/,
  },
  // PersistentVolume
  {
    what: 'a capacity that is no quantity',
    manifest: persistent({ capacity: { storage: 'much' } }),
    answer: /spec\.capacity\.storage.*much/,
  },
  {
    what: 'an unknown field',
    manifest: persistent({ iscsii: {} }),
    answer: /unknown field "(spec\.)?iscsii"/,
  },
  // VolumeSnapshot
  { what: 'no claim', manifest: snapshot(EXTERNAL, {}), answer: /persistentVolumeClaimName/ },
  {
    what: 'an unknown field',
    manifest: snapshot(EXTERNAL, { persistentVolumeClaim: 'x' }),
    answer: /unknown field "(spec\.)?persistentVolumeClaim"|spec\.persistentVolumeClaimName/,
  },
  {
    what: 'no source',
    manifest: snapshot(STANDARD, { source: {} }),
    answer: /spec\.source\.persistentVolumeClaimName/,
  },
  {
    what: 'a class that is no text',
    manifest: snapshot(STANDARD, {
      source: { persistentVolumeClaimName: 'x' },
      volumeSnapshotClassName: 1,
    }),
    answer: /volumeSnapshotClassName.*string/s,
  },
  {
    what: 'a deletionPolicy that is none',
    manifest: {
      apiVersion: `${STANDARD}/v1`,
      kind: 'VolumeSnapshotClass',
      metadata: meta(),
      driver: 'ashlar',
      deletionPolicy: 'Burn',
    },
    answer: /deletionPolicy.*Delete.*Retain/s,
  },
  // Secret
  {
    what: 'a short secret',
    manifest: secret({
      stringData: { 'node.session.auth.username': 'a', 'node.session.auth.password': 'short' },
    }),
    answer: /node\.session\.auth\.password.*12 to 255/,
  },
  {
    what: 'a user without a secret',
    manifest: secret({ stringData: { 'node.session.auth.username': 'a' } }),
    answer: /node\.session\.auth\.password.*goes together with node\.session\.auth\.username/,
  },
  {
    what: 'data that is not base64',
    manifest: secret({ data: { 'node.session.auth.username': '%' } }),
    answer: /data.*base64/s,
  },
  // Ours
  {
    what: 'a size that is a number',
    manifest: ours('Volume', { size: 12.5 }),
    answer: /spec\.size|Volume\.spec\.size/,
  },
  { what: 'no size', manifest: ours('Volume', {}), answer: /size/ },
  {
    what: 'too many replicas',
    manifest: ours('Volume', { size: '1Gi', replicaCount: 99 }),
    answer: /spec\.replicaCount.*use 1 to 5/,
  },
  {
    what: 'a replicaCount that is a text',
    manifest: ours('Volume', { size: '1Gi', replicaCount: 'x' }),
    answer: /replicaCount.*integer/s,
  },
  {
    what: 'an unknown field',
    manifest: ours('Volume', { size: '1Gi', replicas: 3 }),
    answer: /unknown field "(spec\.)?replicas"/,
  },
  {
    what: 'a name that is none',
    manifest: ours('Volume', { size: '1Gi' }, 'Wrong_Name'),
    answer: /metadata\.name/,
  },
  {
    what: 'a blockSize that is none',
    manifest: ours('Volume', { size: '1Gi', blockSize: 513 }),
    answer: /spec\.blockSize.*512.*4096/s,
  },
  {
    what: 'a syncPolicy that is none',
    manifest: ours('Volume', { size: '1Gi', syncPolicy: 'most' }),
    answer: /spec\.syncPolicy.*quorum.*all/s,
  },
  {
    what: 'an initiator that is none',
    manifest: ours('Volume', { size: '1Gi', initiators: ['me'] }),
    answer: /spec\.initiators\[0\].*iqn/s,
  },
  {
    what: 'a limit of nothing',
    manifest: ours('VolumePolicy', { limits: { iops: 0 } }),
    answer: /spec\.limits\.iops/,
  },
  {
    what: 'a time out of range',
    manifest: ours('VolumePolicy', { timeouts: { holdSeconds: 0 } }),
    answer: /spec\.timeouts\.holdSeconds.*use 1 to 600/,
  },
  {
    what: 'an unknown field',
    manifest: ours('VolumePolicy', { limit: {} }),
    answer: /unknown field "(spec\.)?limit"/,
  },
  {
    what: 'a type that is none',
    manifest: ours('Pool', { nodeName: 'node-1', type: 'raid6', devices: ['blockdevice-1'] }),
    answer: /spec\.type.*striped.*mirrored/s,
  },
  {
    what: 'no node',
    manifest: ours('Pool', { type: 'striped', devices: ['blockdevice-1'] }),
    answer: /nodeName/,
  },
  { what: 'no volume', manifest: ours('Snapshot', {}), answer: /volumeName|spec\.volume/ },
  // No kind at all
  {
    what: 'a kind that is none',
    manifest: { ...ours('Volume', { size: '1Gi' }), kind: 'Volumes' },
    answer: /no matches for kind "Volumes"|kind.*Volumes/,
  },
  {
    what: 'a version that is none',
    manifest: { ...ours('Volume', { size: '1Gi' }), apiVersion: 'ashlar.io/v2' },
    answer: /ashlar\.io\/v2/,
  },
];
