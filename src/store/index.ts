// The store: pools of thin, copy-on-write volumes. `openPool` gives one of the native engine on a file or a block device,
// `MemoryPool` its twin in memory for tests of the rooms above; both are a `Pool`. Ranges are in blocks of 4 KiB.
export { bootId } from './boot-id.ts';
export {
  adviceFor,
  type DamagedBlock,
  type DeviceState,
  type NewDevice,
  type PoolDevice,
  type PoolDevices,
  type PoolVdev,
  type WalkState,
  type WalkStatus,
} from './devices.ts';
export {
  MAX_ATOMIC_BLOCKS,
  MAX_BLOB_BYTES,
  MAX_BLOB_KEY_BYTES,
  MAX_CHANGED_RUNS,
  MAX_OP_BLOCKS,
  MAX_VOLUME_NAME_BYTES,
  MIN_POOL_BYTES,
  splitSnapshotName,
} from './limits.ts';
export { givenTime } from './long-opening.ts';
export { MemoryPool, type MemoryPoolOptions } from './memory.ts';
export {
  type CheckReport,
  findSignature,
  type MediumBackend,
  type NativeStreamReader,
  type NativeStreamWriter,
  nativeArena,
  nativeCrc32c,
  nativeCrc32cEach,
  nativeStreamReader,
  nativeStreamWriter,
  sdNotify,
  setSpin,
} from './native.ts';
export { NativePool } from './native-pool.ts';
export {
  type CreatePoolOptions,
  checkPool,
  createPoolFile,
  DEFAULT_CACHE_BYTES,
  DEFAULT_GROWTH_LIMIT_PERCENT,
  DEFAULT_WALK_BYTES_PER_SECOND,
  destroyPool,
  type FoundPool,
  findPools,
  layOut,
  type OpenPoolOptions,
  openPool,
  type PoolLayout,
  type PoolProbe,
  probePool,
  withProbe,
} from './open.ts';
export {
  keptMachine,
  type LastOwner,
  lastUseOf,
  namedOwner,
  type PoolOwner,
  thisMachine,
  thisNode,
  withOwnerAdvice,
} from './pool-owner.ts';
export {
  BLOCK_TAG_BYTES,
  BlockKind,
  BlockTags,
  type ChangedRun,
  StoreOp,
  type StoreVersion,
  WriteGuard,
} from './replication.ts';
export { type RescuedVolume, type RescueOptions, rescueVolumes } from './rescue.ts';
export {
  backendAdvice,
  type NewVolume,
  type Pool,
  type PoolState,
  type PoolStats,
  type SnapshotRequest,
  STORE_BLOCK_BYTES,
  StoreError,
  type StoreErrorCode,
  type StoreSnapshot,
  type StoreSnapshotInfo,
  type StoreVolume,
  type StoreVolumeInfo,
  type VolumeTuning,
  type VolumeUse,
  writableBlocks,
} from './types.ts';
