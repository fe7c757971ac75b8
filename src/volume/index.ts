// The volume room: one disk as hosts see it. Orders operations, gives versions, widens partial blocks, keeps the write
// cache's promise. Speaks to a store below and is a BlockDevice above.
export { AccessMode, Admission } from './admission.ts';
export { NO_LIMITS, Throttle, type ThrottleOptions, type VolumeLimits } from './throttle.ts';
export { Volume, type VolumeCounters, type VolumeOptions, type VolumeStore } from './volume.ts';
