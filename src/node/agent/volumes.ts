// The volumes that this node is to serve: opened over their replica, put behind their limits, and exported to hosts.
// What an object changes of a served volume (size, limits, who may log in) takes effect while it is used.
import { type KindDefinition, setCondition } from '../../apiserver/index.ts';
import { IoStatus } from '../../block/index.ts';
import type { WantedVolume } from '../../control/index.ts';
import { type Controller, isDeleting, type Writer } from '../../controllers/index.ts';
import {
  CHAP_KEYS,
  NODE,
  POOL,
  quantityBytes,
  REPLICA,
  SECRET,
  VOLUME,
  VOLUME_POLICY,
  type Volume as VolumeObject,
  type VolumePolicySpec,
} from '../../kinds/index.ts';
import { STORE_BLOCK_BYTES, StoreError } from '../../store/index.ts';
import { NO_LIMITS, Throttle, Volume, type VolumeLimits } from '../../volume/index.ts';
import type { Serving } from './replicas.ts';
import type { NodeSurroundings, OpenPools } from './surroundings.ts';

const TRY_AGAIN_MS = 500;

interface Served {
  readonly volume: Volume;
  readonly throttle: Throttle;
  readonly iqn: string;
  epoch: number;
  /** What was exported last, to export only what changed. */
  exported: string;
}

export class VolumeKeeper implements Controller, Serving {
  readonly name = 'node-volumes';
  readonly kind = VOLUME as unknown as KindDefinition;
  readonly triggers;
  readonly #around: NodeSurroundings;
  readonly #open: OpenPools;
  readonly #writer: Writer;
  readonly #served = new Map<string, Served>();
  readonly #onChange: () => void;

  /** `onChange`: what is served has changed. */
  constructor(
    around: NodeSurroundings,
    open: OpenPools,
    writer: Writer,
    onChange: () => void = () => {},
  ) {
    this.#around = around;
    this.#onChange = onChange;
    this.#open = open;
    this.#writer = writer;
    const { catalog, nodeName } = around;
    const mine = (): string[] =>
      catalog
        .all(VOLUME)
        .filter(({ status }) => status?.target?.nodeName === nodeName)
        .map(({ metadata }) => metadata.name);
    const all = (): string[] => catalog.all(VOLUME).map(({ metadata }) => metadata.name);
    this.triggers = [
      {
        kind: REPLICA as unknown as KindDefinition,
        keys: (replica: object) => [(replica as { spec: { volumeName: string } }).spec.volumeName],
      },
      { kind: POOL as unknown as KindDefinition, keys: mine },
      // Its portals may be new.
      { kind: NODE as unknown as KindDefinition, keys: all },
      { kind: SECRET as unknown as KindDefinition, keys: mine },
      { kind: VOLUME_POLICY as unknown as KindDefinition, keys: mine },
    ];
  }

  /** Hosts that come here all the same are sent to who serves it. */
  #pointElsewhere(key: string, object: VolumeObject | null): void {
    const { exporter, iqnPrefix, nodeName } = this.#around;
    const iqn = `${iqnPrefix}:${key}`;
    if (object === null) {
      exporter.forget(iqn);
      return;
    }
    const { serving, target } = object.status ?? {};
    const isCurrent = serving !== undefined && serving.epoch === target?.epoch;
    exporter.pointTo(iqn, {
      alias: key,
      initiators: (this.#policyOf(object).initiators ?? []).map((name) => name.toLowerCase()),
      portal: isCurrent && serving.nodeName !== nodeName ? serving.portal : null,
      otherPortals: this.#otherPortals(),
    });
  }

  #otherPortals(): string[] {
    const { catalog, nodeName } = this.#around;
    return catalog
      .all(NODE)
      .filter(({ metadata }) => metadata.name !== nodeName)
      .flatMap(({ status }) => status?.portals ?? [])
      .sort();
  }

  isServed(volumeName: string): boolean {
    return this.#served.has(volumeName);
  }

  volume(volumeName: string): Volume | null {
    return this.#served.get(volumeName)?.volume ?? null;
  }

  /** For metrics and the status line. */
  all(): { name: string; volume: Volume; throttle: Throttle }[] {
    return [...this.#served].map(([name, { volume, throttle }]) => ({ name, volume, throttle }));
  }

  async reconcile(key: string): Promise<number | undefined> {
    const { catalog, nodeName } = this.#around;
    const object = catalog.get(VOLUME, key);
    const target = object?.status?.target;
    if (object === null || target?.nodeName !== nodeName) {
      await this.#withdraw(key);
      this.#pointElsewhere(key, object);
      if (object?.status?.serving?.nodeName === nodeName) {
        await this.#writer.status(VOLUME, object, (status) => {
          delete status.serving;
          delete status.sessions;
          delete status.initiators;
        });
      }
      return undefined;
    }
    let served = this.#served.get(key) ?? null;
    try {
      served ??= this.#serve(object);
      if (served === null) return TRY_AGAIN_MS; // Its replica here is not there yet.
      served.epoch = target.epoch;
      await this.#follow(object, served);
    } catch (error) {
      if (!(error instanceof StoreError) && !(error instanceof MissingSecret)) throw error;
      await this.#fails(object, error.message);
      return TRY_AGAIN_MS * 10;
    }
    await this.report(key);
    return undefined;
  }

  #serve(object: VolumeObject): Served | null {
    const { catalog, nodeName, buffers, turn, clock, log, iqnPrefix } = this.#around;
    const { name } = object.metadata;
    const replica = catalog
      .all(REPLICA)
      .find(({ spec }) => spec.volumeName === name && spec.nodeName === nodeName);
    if (replica === undefined || isDeleting(replica)) return null;
    const store = this.#open.get(replica.spec.poolName)?.volume(name) ?? null;
    if (store === null) return null;
    const logicalBlockBytes = object.spec.blockSize === 512 ? 512 : 4096;
    const volume = new Volume({ store, logicalBlockBytes, buffers, turn });
    const throttle = new Throttle({ device: volume, clock, turn });
    const served = { volume, throttle, iqn: `${iqnPrefix}:${name}`, epoch: 0, exported: '' };
    this.#served.set(name, served);
    this.#onChange();
    log.info({ volume: name, pool: replica.spec.poolName }, 'a volume is served');
    return served;
  }

  /** Makes what is served agree with what is wanted. */
  async #follow(object: VolumeObject, served: Served): Promise<void> {
    const { exporter } = this.#around;
    const policy = this.#policyOf(object);
    const { volume, throttle, iqn } = served;
    const sizeBytes =
      Math.ceil((quantityBytes(object.spec.size) ?? 0) / STORE_BLOCK_BYTES) * STORE_BLOCK_BYTES;
    const hasBytes = volume.geometry.blocks * volume.geometry.logicalBlockBytes;
    if (sizeBytes > hasBytes) await volume.resize(sizeBytes);
    const writeCache = policy.writeCache;
    if (writeCache !== undefined && volume.writeCache !== writeCache) {
      await new Promise<void>((resolve, reject) => {
        volume.setWriteCache(writeCache, (status) => {
          if (status === IoStatus.Ok) resolve();
          else reject(new StoreError('STORE_IO', 'the write cache setting could not be kept'));
        });
      });
    }
    const limits = limitsOf(policy);
    if (JSON.stringify(limits) !== JSON.stringify(throttle.limits)) throttle.setLimits(limits);
    const wanted = this.#wantedOf(object, policy);
    const otherPortals = this.#otherPortals();
    const shape = JSON.stringify([wanted.initiators, wanted.chap, wanted.mutualChap, otherPortals]);
    if (shape === served.exported) return;
    exporter.expose({ iqn, wanted, volume, device: throttle, otherPortals });
    served.exported = shape;
  }

  #policyOf({ spec }: VolumeObject): VolumePolicySpec {
    const named = spec.policy;
    const policy =
      named === undefined ? null : (this.#around.catalog.get(VOLUME_POLICY, named)?.spec ?? null);
    // What the volume says itself wins.
    return { ...policy, ...spec, limits: { ...policy?.limits, ...spec.limits } };
  }

  /** In the words of the exporter. Throws MissingSecret. */
  #wantedOf(object: VolumeObject, policy: VolumePolicySpec): WantedVolume {
    const { name, uid, resourceVersion, creationTimestamp } = object.metadata;
    const secret = this.#secretOf(policy);
    const text = (key: string): string | null => {
      const encoded = secret?.[key];
      return encoded === undefined ? null : Buffer.from(encoded, 'base64').toString('utf8');
    };
    const account = (user: string, password: string) => {
      const [name, secretText] = [text(user), text(password)];
      return name === null || secretText === null ? null : { user: name, secret: secretText };
    };
    const chap = account(CHAP_KEYS.user, CHAP_KEYS.secret);
    if (secret !== null && chap === null) {
      throw new MissingSecret(`its CHAP secret lacks ${CHAP_KEYS.user} or ${CHAP_KEYS.secret}`);
    }
    return {
      metadata: { name, uid, resourceVersion, generation: 1, creationTimestamp },
      size: String(object.spec.size),
      sizeBytes: quantityBytes(object.spec.size) ?? 0,
      blockSize: object.spec.blockSize === 512 ? 512 : 4096,
      writeCache: null,
      initiators: (policy.initiators ?? []).map((initiator) => initiator.toLowerCase()),
      chap,
      mutualChap: account(CHAP_KEYS.mutualUser, CHAP_KEYS.mutualSecret),
      limits: null,
      replicas: [],
    };
  }

  #secretOf({ chapSecret }: VolumePolicySpec): Record<string, string> | null {
    if (chapSecret === undefined) return null;
    const { name, namespace = 'default' } = chapSecret;
    const secret = this.#around.catalog.get(SECRET, `${namespace}/${name}`);
    // Without its secret it must not be open to everybody.
    if (secret === null)
      throw new MissingSecret(`secret "${namespace}/${name}" for CHAP not found`);
    return secret.data ?? {};
  }

  async report(key: string): Promise<void> {
    const { catalog, nodeName, exporter, now } = this.#around;
    const object = catalog.get(VOLUME, key);
    const served = this.#served.get(key);
    if (object === null || served === undefined || served.exported === '') return;
    if (object.status?.target?.nodeName !== nodeName) return;
    const { volume, iqn, epoch } = served;
    const initiators = exporter.initiators(iqn);
    const [portal = ''] = exporter.portals;
    await this.#writer.status(VOLUME, object, (status) => {
      status.serving = { nodeName, epoch, portal };
      status.capacityBytes = volume.geometry.blocks * volume.geometry.logicalBlockBytes;
      status.usedBytes = volume.store.info().mappedBlocks * STORE_BLOCK_BYTES;
      status.sessions = initiators.length;
      status.initiators = [...new Set(initiators)].sort();
      status.conditions ??= [];
      setCondition(
        status.conditions,
        { type: 'Served', status: 'True', reason: 'Serving', message: 'hosts can log in' },
        now(),
      );
    });
  }

  async #fails(object: VolumeObject, message: string): Promise<void> {
    const { events, now } = this.#around;
    const said = await this.#writer.status(VOLUME, object, (status) => {
      status.conditions ??= [];
      const condition = {
        type: 'Served',
        status: 'False',
        reason: 'CannotServe',
        message,
      } as const;
      setCondition(status.conditions, condition, now());
    });
    if (said !== object) events.record(object, 'Warning', 'CannotServe', message);
  }

  /** Resolves when nothing of it can take effect any more. */
  async #withdraw(name: string): Promise<void> {
    const served = this.#served.get(name);
    if (served === undefined) return;
    const { exporter, log } = this.#around;
    // What a limit holds back would only make the sessions linger.
    served.throttle.setLimits(NO_LIMITS);
    await exporter.withdraw(served.iqn);
    await served.volume.close();
    this.#served.delete(name);
    this.#onChange();
    log.info({ volume: name }, 'a volume is no longer served here');
  }

  /** At the end: hosts are gone already. */
  async close(): Promise<void> {
    for (const { volume, throttle } of this.#served.values()) {
      throttle.setLimits(NO_LIMITS);
      await volume.close();
    }
    this.#served.clear();
  }
}

class MissingSecret extends Error {
  override readonly name = 'MissingSecret';
}

function limitsOf({ limits }: VolumePolicySpec): VolumeLimits {
  return {
    iops: limits?.iops ?? null,
    iopsBurst: limits?.iopsBurst ?? null,
    bytesPerSecond: quantityBytes(limits?.bandwidth),
    burstBytes: quantityBytes(limits?.bandwidthBurst),
    queueDepth: limits?.queueDepth ?? null,
  };
}
