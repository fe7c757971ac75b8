// How the pools of this node are, as their objects tell it: figures, devices by the names of their BlockDevices, walks, what
// to do next. A device that has left its pool is given back here.
import { setCondition } from '../../apiserver/index.ts';
import { adviceOf, figuresOf, presentLayout, stateOf } from '../../control/index.ts';
import { isDeleting, mayPromiseBytes, type Writer } from '../../controllers/index.ts';
import { POOL, type Pool, type PoolStatus } from '../../kinds/index.ts';
import type { Pool as StorePool } from '../../store/index.ts';
import { type DeviceClaims, isAtOneOf } from './device-claims.ts';
import type { PoolMarks } from './pool-marks.ts';
import type { NodeSurroundings, OpenPool } from './surroundings.ts';

type DeviceStatus = NonNullable<PoolStatus['devices']>[number];

export class PoolReporter {
  readonly #around: NodeSurroundings;
  readonly #writer: Writer;
  readonly #claims: DeviceClaims;

  constructor(around: NodeSurroundings, writer: Writer, claims: DeviceClaims) {
    this.#around = around;
    this.#writer = writer;
    this.#claims = claims;
  }

  /** How it is now, where that differs from what its object says. */
  async report(pool: Pool, found: OpenPool, marks: PoolMarks | null = null): Promise<void> {
    if (isDeleting(pool)) return;
    const { now, events } = this.#around;
    const { name } = pool.metadata;
    const open = found.pool;
    const phase = stateOf(open);
    const serves = phase === 'Online' || phase === 'Degraded';
    const figures = figuresOf(open, marks?.provisionedBlocks(name, open));
    const devices = this.#named(pool, figures.devices);
    await this.#giveBack(pool, open);
    const strays = straysOf(pool, open);
    const advice = adviceOf({ name, pool: open, why: '', paths: [], clashes: [] });
    if (strays.length > 0) {
      advice.push(
        `${strays.join(', ')} came with it and ${strays.length > 1 ? 'are' : 'is'} not served here: export it (ashlar export pool ${name}) and import it where they belong`,
      );
    }
    const message = serves ? (advice[0] ?? 'replicas are served') : open.stats().fault;
    const before = pool.status?.phase;
    const reported = await this.#writer.status(POOL, pool, (status: PoolStatus) => {
      Object.assign(status, figures, { devices, advice, phase });
      status.id = open.id;
      status.layout = presentLayout(open);
      const { replicaAddress } = found;
      if (replicaAddress === '') delete status.replicaAddress;
      else status.replicaAddress = replicaAddress;
      if (strays.length === 0) delete status.strayVolumes;
      else status.strayVolumes = [...strays];
      status.mayProvisionBytes = Math.floor(mayPromiseBytes({ ...pool, status }));
      status.conditions ??= [];
      const is = serves ? 'True' : 'False';
      setCondition(status.conditions, { type: 'Ready', status: is, reason: phase, message }, now());
    });
    if (reported === pool || phase === before) return;
    if (phase === 'Online') events.record(pool, 'Normal', 'PoolOnline', `pool ${name} is online`);
    else if (phase === 'Degraded') events.record(pool, 'Warning', 'PoolDegraded', message);
    else events.record(pool, 'Warning', 'PoolFaulted', message);
  }

  /** By what was known of them before, or else by where they are: a path may change, an id does not. */
  #named({ status }: Pool, devices: readonly DeviceStatus[]): DeviceStatus[] {
    const known = new Map(status?.devices?.map(({ id, device }) => [id, device]));
    const here = this.#claims.here();
    return devices.map((entry) => {
      const { id, path } = entry;
      const at = here.find((one) => isAtOneOf([path], one));
      const device = known.get(id) ?? at?.metadata.name;
      return device === undefined ? entry : { ...entry, device };
    });
  }

  /** Before its object forgets it: who comes after a crash must still know of it. */
  async #giveBack({ metadata, spec, status }: Pool, open: StorePool): Promise<void> {
    if (spec.directory !== undefined) return;
    const ids = open.devices.list().map(({ id }) => id);
    const left = (status?.devices ?? [])
      .filter(({ id }) => !ids.includes(id))
      .flatMap(({ device }) => device ?? []);
    // One that came back under another id is there.
    const paths = open.devices.list().map(({ path }) => path);
    const gone = left.filter((name) => {
      const device = this.#claims.find(name);
      return device === null || !isAtOneOf(paths, device);
    });
    await this.#claims.release(metadata.name, gone);
  }
}

/** What was in it when it was imported, and still is. */
function straysOf({ spec, status }: Pool, open: StorePool): string[] {
  if (spec.import === undefined) return [];
  const names = open.volumes().map(({ name }) => name);
  return (status?.strayVolumes ?? []).filter((name) => names.includes(name));
}
