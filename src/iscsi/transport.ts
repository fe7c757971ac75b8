// A connection's byte stream: every protocol room's, so it stands in the base.
export type { Transport, TransportHandler } from '../base/index.ts';
