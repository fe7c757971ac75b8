// The node room: what this machine has and what it is told to run. Finds its disks, makes pools, runs replicas and the
// coordinators of volumes, and says how they are.

export { NodeAgent, type NodeAgentOptions } from './agent/agent.ts';
export { LogBook, type LogFilter, type LogLine, type LogRequest } from './agent/log-book.ts';
export { NativeMedia, type PoolMedia, type PoolPlan } from './agent/media.ts';
export { logFilterOf, type Part, PodKeeper } from './agent/pods.ts';
export {
  type Elsewhere,
  type NodeExporter,
  type NodeSurroundings,
  OpenPools,
} from './agent/surroundings.ts';
export { NodeEnds } from './agent/transfer-ends.ts';
export {
  type DiscoveredDevice,
  type DiscoverOptions,
  discoverDevices,
  type FindSignature,
  type Roots,
  SYSTEM_ROOTS,
} from './devices/discover.ts';
