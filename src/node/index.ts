// The node room: what this machine has and what it is told to run. Finds its disks, makes pools, runs replicas and the
// coordinators of volumes, and says how they are.
export {
  type DiscoveredDevice,
  type DiscoverOptions,
  discoverDevices,
  type FindSignature,
  type Roots,
  SYSTEM_ROOTS,
} from './devices/discover.ts';
