// The vocabulary of block I/O: operations, buffers, geometry, status, and the BlockDevice they meet at.
export {
  DataBuffer,
  DataBufferPool,
  MAX_BUFFER_BYTES,
  MIN_BUFFER_BYTES,
  ReserveKind,
} from './data-buffer.ts';
export {
  type BlockDevice,
  type BlockDeviceListener,
  type Geometry,
  type MapExtent,
  METADATA_KEYS,
} from './device.ts';
export { MemoryDevice, type MemoryDeviceOptions, type PlannedFailure } from './memory-device.ts';
export { BlockOp, BlockOpKind, type BlockOpOwner, BlockOpPool } from './op.ts';
export { IoStatus } from './status.ts';
