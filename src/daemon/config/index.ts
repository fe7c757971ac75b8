// The configuration: its keys, and how a file becomes one.
export {
  ConfigError,
  type ConfigFlags,
  type LoadedConfig,
  loadConfig,
  parseConfig,
  STANDARD_CONFIG_PATH,
} from './load.ts';
export { READ_POLICIES, type ReplicationConfig, SYNC_POLICIES } from './replication.ts';
export { type Config, isLoopback, isWildcard, type PortalAddress, showAddress } from './schema.ts';
