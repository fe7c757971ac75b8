// Words of no domain, used by every room: assertions, clock, randomness, serial numbers, turns. Imports nothing.
export { asItWas } from './as-it-was.ts';
export { AssertionFailed, assert, assertNever } from './assert.ts';
export { type Clock, ManualClock, SystemClock, type Timer } from './clock.ts';
export {
  type Crc32c,
  type Crc32cEach,
  crc32c,
  crc32cEach,
  crc32cJs,
  setCrc32c,
} from './crc32c.ts';
export { LATENCY_BOUNDS_MS, LatencyHistogram } from './latency.ts';
export { type Log, silentLog } from './log.ts';
export { nearestName } from './nearest-name.ts';
export { periodMs } from './period.ts';
export { formatBytes, formatQuantity, parseQuantity } from './quantity.ts';
export { type Random, SeededRandom, SystemRandom } from './random.ts';
export { serialAdd, serialBefore, serialDiff } from './serial32.ts';
export { SlottedClock } from './slotted-clock.ts';
export type { Transport, TransportHandler } from './transport.ts';
export { type Flushable, Turn, TurnPhase } from './turn.ts';
