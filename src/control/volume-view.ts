// Volumes as the API shows them: what is wanted of them, and what they are.
import { STORE_BLOCK_BYTES } from '../store/types.ts';
import type { Hosted, HostedVolumes, Place, VolumeControllerOptions } from './hosted-volumes.ts';
import { receivingOf, resumeFlags } from './receiving-mark.ts';
import { type Condition, GROUP_VERSION, type VolumeObject, type VolumeSpec } from './schemas.ts';
import type { WantedVolume } from './volume-manifest.ts';

export class VolumeView {
  readonly #options: VolumeControllerOptions;
  readonly #table: HostedVolumes;

  constructor(options: VolumeControllerOptions, table: HostedVolumes) {
    this.#options = options;
    this.#table = table;
  }

  /** As it was sent, without secrets. */
  parts(wanted: WantedVolume, place: Place): Pick<VolumeObject, 'metadata' | 'spec'> {
    const spec: VolumeSpec = { size: wanted.size, blockSize: wanted.blockSize };
    if (place !== this.#table.own) spec.pool = place.name;
    if (wanted.writeCache !== null) spec.writeCache = wanted.writeCache;
    if (wanted.initiators.length > 0) spec.initiators = [...wanted.initiators];
    // Secrets go in and never come out.
    if (wanted.chap !== null) spec.chap = { user: wanted.chap.user };
    if (wanted.mutualChap !== null) spec.mutualChap = { user: wanted.mutualChap.user };
    if (wanted.limits !== null) spec.limits = { ...wanted.limits };
    if (wanted.cacheSize) spec.cacheSize = wanted.cacheSize;
    if (typeof wanted.ioWorkers === 'number') spec.ioWorkers = wanted.ioWorkers;
    if (wanted.source) spec.source = { snapshot: wanted.source };
    if (wanted.snapshots) spec.snapshots = { ...wanted.snapshots };
    const copies = wanted.replicas.filter(({ witness }) => witness !== true);
    if (copies.length > 0) spec.replicaNodes = copies.map(({ node }) => node);
    const witness = wanted.replicas.find((replica) => replica.witness === true);
    if (witness !== undefined) spec.witnessNode = witness.node;
    return { metadata: wanted.metadata, spec };
  }

  /** A volume that is not there, as `dryRun` shows it. */
  wanted(wanted: WantedVolume, place: Place): VolumeObject {
    return {
      apiVersion: GROUP_VERSION,
      kind: 'Volume',
      ...this.parts(wanted, place),
      status: {
        phase: 'Pending',
        state: 'Offline',
        observedGeneration: 0,
        iqn: this.#table.iqn(wanted.metadata.name),
        lun: 0,
        portals: [...this.#options.exporter.portals],
        pool: place.name,
        capacityBytes: 0,
        usedBytes: 0,
        blockSize: wanted.blockSize,
        writeCache: wanted.writeCache ?? true,
        sessions: 0,
        initiators: [],
        conditions: [],
      },
    };
  }

  /** As it is now. */
  of(hosted: Hosted): VolumeObject {
    const { wanted, volume, phase } = hosted;
    const { fault } = hosted.place;
    const object = this.wanted(wanted, hosted.place);
    const info = hosted.store.info();
    const initiators = this.#options.exporter.initiators(object.status.iqn);
    const { status } = object;
    const receiving = receivingOf(hosted.store) !== null;
    const serving = phase === 'Ready' && volume !== null && !receiving;
    status.phase = wanted.metadata.deletionTimestamp !== undefined ? 'Deleting' : phase;
    status.state = fault !== '' ? 'Faulted' : serving ? 'Healthy' : 'Offline';
    status.observedGeneration = wanted.metadata.generation;
    status.capacityBytes = info.sizeBlocks * STORE_BLOCK_BYTES;
    status.usedBytes = info.mappedBlocks * STORE_BLOCK_BYTES;
    if (wanted.cacheSize) {
      const { cacheBytes, cachedBytes } = hosted.store.use();
      Object.assign(status, { cacheBytes, cachedBytes });
    }
    if (wanted.ioWorkers) status.ioWorkers = hosted.store.use().ioWorkers;
    status.writeCache = volume?.writeCache ?? true;
    object.spec.writeCache = status.writeCache;
    const { replicated } = hosted;
    const { nodeName } = this.#options;
    if (nodeName !== undefined && serving) {
      const [portal = ''] = status.portals;
      status.serving = { nodeName, epoch: replicated?.epoch() ?? info.epoch, portal };
    }
    const inSync = replicated?.replicas().filter(({ state }) => state === 'InSync').length;
    const copies = wanted.replicas.filter(({ witness }) => witness !== true).length;
    status.replicas = {
      wanted: Math.max(1, copies),
      placed: Math.max(1, copies),
      inSync: inSync ?? (serving ? 1 : 0),
    };
    if (replicated !== null && fault === '') {
      status.state = receiving ? 'Offline' : replicated.state();
      status.epoch = replicated.epoch();
      status.advice = replicated.advice();
      status.usedBytes = replicated.usedBlocks() * STORE_BLOCK_BYTES;
      const sizeBlocks = replicated.sizeBlocks();
      if (sizeBlocks > 0) status.capacityBytes = sizeBlocks * STORE_BLOCK_BYTES;
    }
    status.sessions = initiators.length;
    status.initiators = [...new Set(initiators)];
    status.conditions = [this.#readyCondition(hosted)];
    return object;
  }

  #readyCondition(hosted: Hosted): Condition {
    const lastTransitionTime = hosted.sinceIso;
    const { name: pool, fault } = hosted.place;
    if (fault !== '') {
      const message = `pool ${pool}: ${fault}; see docs/operations.md, "The pool is faulted"`;
      return { type: 'Ready', status: 'False', reason: 'PoolFaulted', message, lastTransitionTime };
    }
    const { replicated } = hosted;
    const receiving = receivingOf(hosted.store);
    const isIdle = receiving === null || replicated?.serving === false;
    if (replicated !== null && isIdle && (hosted.failure === '' || !replicated.serving)) {
      const state = replicated.state();
      const message = replicated.advice().join(' ') || 'hosts can log in';
      const status = replicated.serving ? 'True' : 'False';
      return { type: 'Ready', status, reason: state, message, lastTransitionTime };
    }
    if (hosted.volume === null) {
      const { failure } = hosted;
      const reason = hosted.phase === 'Deleting' ? 'Deleting' : 'NotOpen';
      return { type: 'Ready', status: 'False', reason, message: failure, lastTransitionTime };
    }
    if (hosted.failure !== '') {
      const message = `served, but not as its manifest says: ${hosted.failure}`;
      return { type: 'Ready', status: 'True', reason: 'Behind', message, lastTransitionTime };
    }
    if (receiving !== null) {
      const message = `the stream of snapshot ${receiving.snapshot} is not whole: send it again (${resumeFlags(receiving)} goes on where it broke off), or delete the volume`;
      return { type: 'Ready', status: 'False', reason: 'Receiving', message, lastTransitionTime };
    }
    const message = 'hosts can log in';
    return { type: 'Ready', status: 'True', reason: 'Serving', message, lastTransitionTime };
  }
}
