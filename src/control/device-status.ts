// How a pool's devices, its scrub and its resilver are shown.
import { type Static, Type } from 'typebox';
import type { PoolDevice, WalkStatus } from '../store/devices.ts';
import { STORE_BLOCK_BYTES } from '../store/types.ts';

const count = (description: string) => Type.Integer({ description });

export const DeviceStatus = Type.Object({
  id: Type.String({ description: 'On its label: it stays when names change.' }),
  path: Type.String(),
  vdev: count('Which stripe it is part of.'),
  log: Type.Boolean({ description: 'It holds the intent log and nothing else.' }),
  state: Type.String({ description: 'InSync, Resilvering, Offline, Faulted or Missing.' }),
  sizeBytes: count('What the pool uses of it.'),
  readErrors: Type.Integer(),
  writeErrors: Type.Integer(),
  checksumErrors: Type.Integer(),
  why: Type.String({ description: 'Why it is out.' }),
  next: Type.String({ description: 'What to do about it.' }),
});

export const WalkStatusSchema = Type.Object({
  state: Type.String({ description: 'None, Running, Paused, Done or Cancelled.' }),
  startedAt: Type.Union([Type.String(), Type.Null()]),
  endedAt: Type.Union([Type.String(), Type.Null()]),
  percent: Type.Number(),
  healedBlocks: Type.Integer(),
  damagedBlocks: Type.Integer(),
  secondsLeft: Type.Union([Type.Integer(), Type.Null()]),
});

export function presentDevice(device: PoolDevice): Static<typeof DeviceStatus> {
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
