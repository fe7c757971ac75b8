// How a pool is, in figures and in words: what each program shows of the pools that it has open.
import { backendAdvice, writableBlocks } from '../store/index.ts';
import { type Pool, STORE_BLOCK_BYTES, type StoreVolume } from '../store/types.ts';
import { presentDevice, presentWalk } from './device-status.ts';
import type { PoolStatus } from './schemas.ts';

/** Damaged blocks that advice names. */
const SHOWN_DAMAGE = 3;

/** A pool as it is known here. */
export interface KnownPool {
  readonly name: string;
  /** Null: it cannot be opened, and `why` says why. */
  readonly pool: Pool | null;
  readonly why: string;
  /** Where its devices were last seen. */
  readonly paths: readonly string[];
  /** Volumes in it that are not served: others have their names. */
  readonly clashes: readonly string[];
}

const IDLE = {
  state: 'None',
  startedAt: null,
  endedAt: null,
  percent: 0,
  healedBlocks: 0,
  damagedBlocks: 0,
  secondsLeft: null,
};

/** `provisionedBlocks`: the sum of its volumes' sizes, where that is known already: to ask a thousand volumes takes a while. */
export function figuresOf(
  pool: Pool | null,
  provisionedBlocks?: number,
): Omit<PoolStatus, 'phase' | 'id' | 'layout' | 'advice' | 'conditions'> {
  const bytes = (blocks: number): number => blocks * STORE_BLOCK_BYTES;
  const stats = pool?.stats();
  const volumes = pool?.volumes() ?? [];
  return {
    readOnly: pool !== null && isReadOnly(pool),
    sizeBytes: bytes(stats?.sizeBlocks ?? 0),
    usableBytes: bytes(stats?.usableBlocks ?? 0),
    allocatedBytes: bytes(stats?.allocatedBlocks ?? 0),
    freeBytes: bytes(stats === undefined ? 0 : writableBlocks(stats)),
    dataBytes: bytes(stats?.dataBlocks ?? 0),
    metadataBytes: bytes(stats?.metadataBlocks ?? 0),
    pendingFreeBytes: bytes(stats?.pendingFreeBlocks ?? 0),
    provisionedBytes: bytes(provisionedBlocks ?? provisionedIn(volumes)),
    volumes: volumes.length,
    checksumErrors: stats?.checksumErrors ?? 0,
    ioErrors: stats?.ioErrors ?? 0,
    logDamaged: stats?.logDamaged ?? false,
    backend: pool?.backend ?? '',
    devices: pool?.devices.list().map(presentDevice) ?? [],
    scrub: pool === null ? IDLE : presentWalk(pool.devices.scrubStatus()),
    resilver: pool === null ? IDLE : presentWalk(pool.devices.resilverStatus()),
    rebalance: pool === null ? IDLE : presentWalk(pool.devices.rebalanceStatus()),
  };
}

/** What volumes of a pool could hold in all, in blocks. */
export function provisionedIn(volumes: readonly StoreVolume[]): number {
  return volumes.reduce((sum, volume) => sum + volume.info().sizeBlocks, 0);
}

/** N3: what still grows is refused. */
export function isReadOnly(pool: Pool): boolean {
  return pool.stats().state === 'Online' && pool.creditBlocks() <= 0;
}

export function stateOf(pool: Pool | null): string {
  if (pool === null) return 'Offline';
  const { state } = pool.stats();
  if (state !== 'Online') return state;
  // One that takes another's place leaves nothing uncovered: that one is there until it has everything.
  const isWhole = pool.devices
    .list()
    .every((device) => device.state === 'InSync' || device.replaces !== null);
  return isWhole ? 'Online' : 'Degraded';
}

export function presentLayout(pool: Pool): string {
  const sides = new Map<number, number>();
  for (const { vdev, log, replaces } of pool.devices.list()) {
    if (!log && replaces === null) sides.set(vdev, (sides.get(vdev) ?? 0) + 1);
  }
  const mirrored = [...sides.values()].filter((count) => count > 1).length;
  if (mirrored === 0) return 'stripe';
  return sides.size === 1 ? 'mirror' : 'stripe of mirrors';
}

/** The most pressing first. */
export function adviceOf({ name, pool, why, paths, clashes }: KnownPool): string[] {
  if (pool === null) {
    return [`${why}; its devices were ${paths.join(', ')}. It is tried again by itself`];
  }
  const { state, fault } = pool.stats();
  if (state === 'Faulted') return [`${fault}: see docs/operations.md, "The pool is faulted"`];
  const advice = pool.devices
    .list()
    .filter(({ advice: next }) => next !== '')
    .map(({ path, state: is, why: out, advice: next }) =>
      is === 'InSync'
        ? `${path}: ${next}`
        : `${path} is ${is}${out === '' ? '' : ` (${out})`}: ${next}`,
    );
  const damage = pool.devices.damage();
  if (damage.length > 0) {
    const shown = damage.slice(0, SHOWN_DAMAGE).map(({ volume, lba, isData }) => {
      if (isData) return `${volume} at ${lba * STORE_BLOCK_BYTES}`;
      return volume === '' ? 'metadata' : `metadata of ${volume}`;
    });
    advice.push(
      `${damage.length} blocks have no good copy (${shown.join(', ')}${damage.length > SHOWN_DAMAGE ? ', …' : ''}): write them again, or restore what lies there`,
    );
  }
  const slow = backendAdvice(pool);
  if (slow !== '') advice.push(slow);
  const { unknownBlocks } = pool.stats();
  if (unknownBlocks > 0) {
    advice.push(
      `both copies of a part of its map of free space are damaged: ${unknownBlocks * STORE_BLOCK_BYTES} bytes are neither free nor usable. Close and open it once (ashlar export pool ${name}, then import; the daemon's own: restart the daemon): opening makes the map anew`,
    );
  }
  if (isReadOnly(pool)) {
    advice.push(
      `the limit is reached: writes that grow are refused. Trim on the hosts, delete volumes or snapshots, or add a device (ashlar device add ${name} …)`,
    );
  }
  if (clashes.length > 0) {
    advice.push(
      `${clashes.join(', ')} in it ${clashes.length > 1 ? 'are' : 'is'} not served: volumes of other pools have these names. Delete those, then export and import this pool`,
    );
  }
  return advice;
}
