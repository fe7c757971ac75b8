// How a pool's devices, its scrub and its resilver are shown.
import type { Static } from 'typebox';
import type { DeviceStatus, WalkStatusSchema } from '../kinds/index.ts';
import type { PoolDevice, WalkStatus } from '../store/devices.ts';
import { STORE_BLOCK_BYTES } from '../store/types.ts';

export function presentDevice(device: PoolDevice): DeviceStatus {
  const { id, vdev, log, state, sizeBlocks, readErrors, writeErrors, checksumErrors, why } = device;
  return {
    path: device.path,
    state,
    vdev,
    log,
    sizeBytes: sizeBlocks * STORE_BLOCK_BYTES,
    readErrors,
    writeErrors,
    checksumErrors,
    why,
    next: device.advice,
    id,
  };
}

export function presentWalk(walk: WalkStatus): Static<typeof WalkStatusSchema> {
  const { state, startedAt, endedAt, doneBlocks, totalBlocks, secondsLeft } = walk;
  const done = totalBlocks === 0 ? (state === 'Done' ? 1 : 0) : doneBlocks / totalBlocks;
  return {
    state,
    startedAt: startedAt?.toISOString() ?? null,
    endedAt: endedAt?.toISOString() ?? null,
    percent: Math.round(done * 1000) / 10,
    healedBlocks: walk.healedBlocks,
    damagedBlocks: walk.damagedBlocks,
    secondsLeft: secondsLeft === null ? null : Math.round(secondsLeft),
  };
}
