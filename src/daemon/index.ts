// The daemon: `ashlar serve`. Reads the configuration, makes all the rooms, and stops them in order.
export { ConfigError, loadConfig, STANDARD_CONFIG_PATH } from './config/index.ts';
export { Daemon, type DaemonOptions } from './daemon.ts';
export type { Engine, EngineOptions } from './engine.ts';
export { exportConfigured, importConfigured } from './objects-transfer.ts';
export { ownerUnheeded } from './pool-owner.ts';
export { ReplicaDaemon, replica } from './replica-process.ts';
export { serve } from './serve.ts';
export { serveNode } from './serve-node.ts';
