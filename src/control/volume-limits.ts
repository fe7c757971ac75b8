// spec.limits of a volume: what its owner writes, checked and turned into what the throttle takes.
import { parseQuantity } from '../base/index.ts';
import type { Limits } from '../kinds/index.ts';
import type { VolumeTuning } from '../store/index.ts';
import type { VolumeLimits } from '../volume/index.ts';

/** A host gives an operation 30 s: a rate below this would make it wait longer at depths that hosts use. */
const LEAST_IOPS = 10;
const MOST_IOPS = 10_000_000;
const LEAST_BYTES_PER_SECOND = 64 * 1024;
const MOST_BYTES_PER_SECOND = 2 ** 40;
const MOST_QUEUE_DEPTH = 4096;
/** A burst lasts no longer than this at the rate itself: what is saved up for hours is no limit. */
const MOST_BURST_SECONDS = 600;

export type LimitsSpec = Limits;

type Bad = (field: string, message: string) => void;

/** Every mistake is told to `bad` with its field; the value is then of no use. */
export function checkLimits(
  sent: LimitsSpec | null | undefined,
  bad: Bad,
  path = 'spec.limits',
): LimitsSpec | null {
  if (sent === null || sent === undefined || Object.keys(sent).length === 0) return null;
  const whole = (field: 'iops' | 'iopsBurst' | 'queueDepth', least: number, most: number): void => {
    const value = sent[field];
    if (value === undefined || (value >= least && value <= most)) return;
    bad(`${path}.${field}`, `${value} is out of range; use ${least} to ${most}`);
  };
  const bytes = (field: 'bandwidth' | 'bandwidthBurst', least: number, most: number): void => {
    const value = sent[field];
    if (value === undefined) return;
    const parsed = parseQuantity(String(value));
    if (parsed === null) {
      bad(`${path}.${field}`, `'${value}' is not a quantity; write it like 100Mi`);
    } else if (parsed < least || parsed > most) {
      bad(`${path}.${field}`, `${value} is out of range; use ${least} to ${most} bytes`);
    }
  };
  whole('iops', LEAST_IOPS, MOST_IOPS);
  bytes('bandwidth', LEAST_BYTES_PER_SECOND, MOST_BYTES_PER_SECOND);
  whole('queueDepth', 1, MOST_QUEUE_DEPTH);
  if (sent.iopsBurst !== undefined) {
    if (sent.iops === undefined) bad(`${path}.iopsBurst`, `needs ${path}.iops`);
    else whole('iopsBurst', 1, sent.iops * MOST_BURST_SECONDS);
  }
  if (sent.bandwidthBurst !== undefined) {
    const rate = parseQuantity(String(sent.bandwidth ?? ''));
    if (rate === null) bad(`${path}.bandwidthBurst`, `needs ${path}.bandwidth`);
    else bytes('bandwidthBurst', 4096, rate * MOST_BURST_SECONDS);
  }
  return { ...sent };
}

/** In the words of the store. */
export function toVolumeTuning(wanted: {
  readonly cacheSize?: string | number | null;
  readonly ioWorkers?: number | null;
}): VolumeTuning {
  const { cacheSize = null, ioWorkers } = wanted;
  const cacheBytes = cacheSize === null ? null : parseQuantity(String(cacheSize));
  return { cacheBytes, ioWorkers: ioWorkers ?? 0 };
}

/** Of limits that were checked. */
export function toVolumeLimits(spec: LimitsSpec | null): VolumeLimits {
  const bytes = (value: string | number | undefined): number | null =>
    value === undefined ? null : parseQuantity(String(value));
  return {
    iops: spec?.iops ?? null,
    iopsBurst: spec?.iopsBurst ?? null,
    bytesPerSecond: bytes(spec?.bandwidth),
    burstBytes: bytes(spec?.bandwidthBurst),
    queueDepth: spec?.queueDepth ?? null,
  };
}
