// StoragePoolClaims: one pool on each node that has some of the devices. Devices are claimed first, by compare-and-swap,
// so that no two pools ever think that a device is theirs; then the pool is asked for, and its node makes it.
import type { KindDefinition } from '../apiserver/index.ts';
import { setCondition } from '../apiserver/index.ts';
import { parseQuantity } from '../base/index.ts';
import {
  BLOCK_DEVICE,
  type BlockDevice,
  CAS_CONFIG,
  deviceRefusal,
  NODE,
  POOL,
  type Pool,
  parseCasConfig,
  REPLICA,
  STORAGE_POOL_CLAIM,
  type StoragePoolClaim,
} from '../kinds/index.ts';
import {
  type Controller,
  hasFinalizer,
  isDeleting,
  ownerOf,
  type Surroundings,
  trigger,
  Writer,
} from './controller.ts';
import { REPLICAS_IN_POOL } from './indexes.ts';
import { Finalizer, Label, poolName } from './names.ts';

const LEAST_CACHE_BYTES = 16 * 2 ** 20;
/** Of what a claim allows its pool: the rest is for buffers and the program. */
const CACHE_SHARE = 0.25;

interface Plan {
  /** By node. */
  readonly groups: ReadonlyMap<string, readonly BlockDevice[]>;
  readonly problems: readonly string[];
}

export class PoolController implements Controller {
  readonly name = 'pools';
  readonly kind = STORAGE_POOL_CLAIM as unknown as KindDefinition;
  readonly triggers = [
    trigger(POOL, ({ spec }) =>
      spec.storagePoolClaim === undefined ? [] : [spec.storagePoolClaim],
    ),
    trigger(
      REPLICA,
      ({ spec }, catalog) => {
        const claim = catalog.get(POOL, spec.poolName)?.spec.storagePoolClaim;
        return claim === undefined ? [] : [claim];
      },
      ({ spec }) => spec.poolName,
    ),
    trigger(BLOCK_DEVICE, (_device, catalog) =>
      catalog.all(STORAGE_POOL_CLAIM).map(({ metadata }) => metadata.name),
    ),
  ];
  readonly #around: Surroundings;
  readonly #writer: Writer;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#writer = new Writer(around);
  }

  async reconcile(key: string): Promise<undefined> {
    let claim = this.#around.catalog.get(STORAGE_POOL_CLAIM, key);
    if (claim === null) return;
    if (isDeleting(claim)) {
      await this.#tearDown(claim);
      return;
    }
    if (!hasFinalizer(claim, Finalizer.PoolClaim)) {
      claim = await this.#writer.addFinalizer(STORAGE_POOL_CLAIM, claim, Finalizer.PoolClaim);
    }
    const plan = this.#plan(claim);
    const problems = [...plan.problems];
    for (const [nodeName, devices] of plan.groups) {
      const why = await this.#makePool(claim, nodeName, devices);
      if (why !== '') problems.push(why);
    }
    await this.#report(claim, problems, this.#notesOf(claim, plan));
  }

  /** Which devices of which nodes. */
  #plan(claim: StoragePoolClaim): Plan {
    const { catalog } = this.#around;
    const problems: string[] = [];
    const groups = new Map<string, BlockDevice[]>();
    const add = (device: BlockDevice): void => {
      const { nodeName } = device.spec;
      groups.set(nodeName, [...(groups.get(nodeName) ?? []), device]);
    };
    const all = catalog.all(BLOCK_DEVICE).filter((device) => !isDeleting(device));
    const names = claim.spec.blockDevices?.blockDeviceList ?? [];
    for (const name of names) {
      // A full name means one device; the short one the device of that name on every node that has one.
      const exact = all.filter(({ metadata }) => metadata.name === name);
      const named = all.filter(({ spec }) => spec.deviceName === name);
      const found = named.length > 0 ? named : exact;
      if (found.length === 0) problems.push(`there is no block device ${name}`);
      for (const device of found) add(device);
    }
    if (names.length === 0) this.#choose(claim, all, add);
    const least = claim.spec.poolSpec.poolType === 'mirrored' ? 2 : 1;
    for (const [nodeName, devices] of groups) {
      if (devices.length % least === 0) continue;
      groups.delete(nodeName);
      problems.push(
        `a mirrored pool takes devices in pairs, and ${nodeName} has ${devices.length}: ${devices.map(({ metadata }) => metadata.name).join(', ')}`,
      );
    }
    return { groups, problems };
  }

  /** Without a list: an unused device on so many nodes, those with pools already first. */
  #choose(
    claim: StoragePoolClaim,
    all: readonly BlockDevice[],
    add: (device: BlockDevice) => void,
  ): void {
    const { catalog } = this.#around;
    const { type, poolSpec, maxPools = 0 } = claim.spec;
    const need = poolSpec.poolType === 'mirrored' ? 2 : 1;
    const nodes = catalog
      .all(NODE)
      .filter(({ spec }) => spec.unschedulable !== true)
      .map(({ metadata }) => metadata.name)
      .sort();
    let left = maxPools - this.#poolsOf(claim).length;
    for (const nodeName of nodes) {
      if (catalog.get(POOL, poolName(claim.metadata.name, nodeName)) !== null) continue;
      if (left <= 0) break;
      const name = poolName(claim.metadata.name, nodeName);
      const usable = all
        .filter(({ spec }) => spec.nodeName === nodeName && spec.sparse === (type === 'sparse'))
        .filter((device) => deviceRefusal(device, name, false) === '')
        .sort((a, b) => b.spec.sizeBytes - a.spec.sizeBytes)
        .slice(0, need);
      if (usable.length < need) continue;
      left -= 1;
      for (const device of usable) add(device);
    }
  }

  /** The value is why it cannot be made; empty: it is there, or asked for. */
  async #makePool(
    claim: StoragePoolClaim,
    nodeName: string,
    devices: readonly BlockDevice[],
  ): Promise<string> {
    const { catalog, events, client } = this.#around;
    const name = poolName(claim.metadata.name, nodeName);
    const there = catalog.get(POOL, name);
    if (there !== null) {
      return '';
    }
    for (const device of devices) {
      const why = deviceRefusal(device, name, false);
      if (why !== '') return `${device.metadata.name} on ${nodeName} ${why}`;
    }
    for (const device of devices) {
      if (device.spec.claimRef !== undefined) continue;
      await this.#writer.update(BLOCK_DEVICE, device, ({ spec }) => {
        spec.claimRef = { pool: name, uid: claim.metadata.uid };
      });
    }
    const { config } = parseCasConfig(claim.metadata.annotations?.[CAS_CONFIG]);
    const memoryBytes = parseQuantity(config.poolMemoryLimit ?? '');
    const cacheBytes =
      memoryBytes === null
        ? undefined
        : Math.max(LEAST_CACHE_BYTES, Math.floor(memoryBytes * CACHE_SHARE));
    const { poolSpec } = claim.spec;
    const promises = poolSpec.overProvisioning === false || poolSpec.thickProvisioning === true;
    await client.create<Pool>(POOL, {
      metadata: {
        name,
        labels: { [Label.PoolClaim]: claim.metadata.name, [Label.Node]: nodeName },
        finalizers: [Finalizer.Pool],
        ownerReferences: [ownerOf(this.kind, claim)],
      },
      spec: {
        nodeName,
        devices: devices.map(({ metadata }) => metadata.name),
        layout: poolSpec.poolType === 'mirrored' ? 'mirror' : 'stripe',
        storagePoolClaim: claim.metadata.name,
        ...(cacheBytes === undefined ? {} : { cacheBytes }),
        ...(promises ? { overcommit: 1 } : {}),
      },
    });
    events.record(claim, 'Normal', 'PoolRequested', `pool ${name} is asked for on ${nodeName}`);
    return '';
  }

  /** A pool is made once; what its claim names later is added by hand. */
  #notesOf(claim: StoragePoolClaim, { groups }: Plan): string[] {
    const notes: string[] = [];
    for (const [nodeName, devices] of groups) {
      const name = poolName(claim.metadata.name, nodeName);
      const there = this.#around.catalog.get(POOL, name);
      if (there === null) continue;
      const known = [
        ...(there.spec.devices ?? []),
        ...(there.status?.devices?.map(({ device }) => device) ?? []),
      ];
      const added = devices
        .map(({ metadata }) => metadata.name)
        .filter((device) => !known.includes(device));
      if (added.length === 0) continue;
      notes.push(
        `pool ${name} was made without them: ashlar device add ${name} ${added.join(' ')}`,
      );
    }
    return notes;
  }

  #poolsOf({ metadata }: StoragePoolClaim): Pool[] {
    return this.#around.catalog
      .all(POOL)
      .filter(({ spec }) => spec.storagePoolClaim === metadata.name);
  }

  async #report(
    claim: StoragePoolClaim,
    problems: readonly string[],
    notes: readonly string[],
  ): Promise<void> {
    const { events, now } = this.#around;
    const pools = this.#poolsOf(claim);
    const phaseOf = ({ status }: Pool): string => status?.phase ?? 'Pending';
    const ready = pools.filter((pool) => ['Online', 'Degraded'].includes(phaseOf(pool)));
    const waiting = pools.filter((pool) => !ready.includes(pool));
    const whyOf = ({ metadata, status }: Pool): string => {
      const why = status?.conditions?.find(({ type }) => type === 'Ready')?.message ?? '';
      const phase = status?.phase ?? 'Pending';
      return `pool ${metadata.name} is ${phase}${why === '' ? '' : `: ${why}`}`;
    };
    const said = [...problems, ...waiting.map(whyOf)];
    const isOnline = pools.length > 0 && said.length === 0;
    const phase = isOnline
      ? 'Online'
      : problems.length > 0 && ready.length === 0
        ? 'Failed'
        : 'Pending';
    const before = claim.status?.conditions?.find(({ type }) => type === 'Ready')?.message;
    const degraded = ready.filter((pool) => phaseOf(pool) === 'Degraded').map(whyOf);
    const online = [`${pools.length} pools are online`, ...degraded, ...notes];
    const message = isOnline ? online.join('; ') : said.join('; ');
    const reported = await this.#writer.status(STORAGE_POOL_CLAIM, claim, (status) => {
      status.phase = phase;
      status.pools = pools.length;
      status.readyPools = ready.length;
      status.conditions ??= [];
      const reason = isOnline ? 'PoolsOnline' : problems.length > 0 ? 'CannotMakePool' : 'Waiting';
      const is = isOnline ? 'True' : 'False';
      setCondition(status.conditions, { type: 'Ready', status: is, reason, message }, now());
    });
    if (reported === claim || message === before) return;
    if (problems.length > 0) events.record(claim, 'Warning', 'CannotMakePool', message);
    else if (isOnline) events.record(claim, 'Normal', 'PoolsOnline', message);
  }

  async #tearDown(claim: StoragePoolClaim): Promise<void> {
    const { catalog, events } = this.#around;
    if (!hasFinalizer(claim, Finalizer.PoolClaim)) return;
    const pools = await this.#writer.liveList(POOL, Label.PoolClaim, claim.metadata.name);
    const heldBy = ({ metadata }: Pool): number =>
      catalog.where(REPLICAS_IN_POOL, metadata.name).length;
    const used = pools.filter((pool) => heldBy(pool) > 0);
    if (used.length > 0) {
      const names = used.map((pool) => `${pool.metadata.name} (${heldBy(pool)})`);
      const message = `its pools still hold replicas: ${names.join(', ')}; delete those claims first`;
      const before = claim.status?.conditions?.find(({ type }) => type === 'Ready')?.message;
      await this.#writer.status(STORAGE_POOL_CLAIM, claim, (status) => {
        status.conditions ??= [];
        setCondition(
          status.conditions,
          { type: 'Ready', status: 'False', reason: 'InUse', message },
          this.#around.now(),
        );
      });
      if (before !== message) events.record(claim, 'Warning', 'InUse', message);
      return;
    }
    for (const pool of pools) await this.#writer.remove(POOL, pool);
    if (pools.length > 0) return; // Their end brings us back here.
    for (const device of catalog.all(BLOCK_DEVICE)) {
      if (device.spec.claimRef?.uid !== claim.metadata.uid) continue;
      await this.#writer.update(BLOCK_DEVICE, device, ({ spec }) => {
        delete spec.claimRef;
      });
    }
    await this.#writer.removeFinalizer(STORAGE_POOL_CLAIM, claim, Finalizer.PoolClaim);
  }
}
