// Snapshots as bytes: sent whole or as what changed, checked record by record, resumed after a cut. The room moves data
// between a source and a target that it is handed; files, HTTP and pools are others' business.
export { type Received, type ReceiveOptions, receiveStream } from './receive.ts';
export { type SendOptions, sendStream } from './send.ts';
export {
  type ChangedRange,
  type ResumePoint,
  type StreamDescription,
  StreamError,
  type StreamErrorCode,
  type StreamSource,
  type StreamTarget,
} from './types.ts';
