// The iSCSI target (RFC 7143): bytes in, bytes out. It is handed connections as Transports, targets as a directory of
// ScsiTargets, a clock, and data buffers; it owns no socket, timer or logger.
export { DEFAULT_LIMITS, type IscsiLimits } from './limits.ts';
export { IscsiServer, type IscsiServerOptions, type PortalAddress } from './server.ts';
export { DEFAULT_OFFER, type Offer } from './text/index.ts';
export type { Transport, TransportHandler } from './transport.ts';
export type {
  AuthPolicy,
  ChapCredentials,
  SessionInfo,
  TargetDirectory,
  TargetEntry,
} from './types.ts';
