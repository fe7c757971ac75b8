// A volume's manifest: what its owner wants, checked, with everything filled in. It is kept as JSON beside the volume in
// the pool (blob `manifest`), so the pool is the whole durable state: move the pool and the volumes come along, with
// their names, access lists and secrets.
import { assert, formatQuantity, parseQuantity } from '../base/index.ts';
import { foreignFields, MAX_IO_WORKERS, MIN_CACHE_BYTES } from '../kinds/index.ts';
import { invalid, type StatusCause } from './errors.ts';
import {
  MAX_ANNOTATION_BYTES,
  MAX_CHAP_SECRET_BYTES,
  MAX_LABEL_VALUE_CHARACTERS,
  MAX_MANIFEST_BYTES,
  MAX_VOLUME_BYTES,
  MIN_CHAP_SECRET_BYTES,
  MIN_VOLUME_BYTES,
} from './limits.ts';
import { parseNode, planReplicas, type WantedReplica } from './replication.ts';
import { GROUP_VERSION, type Metadata, VOLUME_NAME, type VolumeManifest } from './schemas.ts';
import { fullSnapshotName } from './snapshot-name.ts';
import { checkSchedule, type SnapshotSchedule } from './snapshot-schedule.ts';
import { checkLimits, type LimitsSpec } from './volume-limits.ts';

const STORE_BLOCK_BYTES = 4096;

export interface ChapAccount {
  readonly user: string;
  readonly secret: string;
}

/** The wanted state of a volume, complete. */
export interface WantedVolume {
  readonly metadata: Metadata;
  readonly size: string;
  readonly sizeBytes: number;
  readonly blockSize: 512 | 4096;
  readonly writeCache: boolean | null;
  readonly initiators: readonly string[];
  readonly chap: ChapAccount | null;
  readonly mutualChap: ChapAccount | null;
  readonly limits: LimitsSpec | null;
  /** Of its pool's cache; null or absent: what others leave. */
  readonly cacheSize?: string | number | null;
  /** Threads that check its large reads; null or absent: none. */
  readonly ioWorkers?: number | null;
  /** The snapshot that it began as, `volume@name`; null or absent: none. */
  readonly source?: string | null;
  /** Null or absent: none by the clock. */
  readonly snapshots?: SnapshotSchedule | null;
  /** None: the blocks live in the pool. */
  readonly replicas: readonly WantedReplica[];
}

/** The metadata that whoever sends a manifest decides, and what the API keeps beside it. */
export type ClientMetadata = Pick<
  Metadata,
  | 'name'
  | 'labels'
  | 'annotations'
  | 'finalizers'
  | 'ownerReferences'
  | 'managedFields'
  | 'generateName'
>;

export interface VolumeDefaults {
  readonly blockSize: 512 | 4096;
  readonly writeCache: boolean;
}

/**
 * Checks a manifest as a client sent it against what there is (`before`, null at creation), and completes it. Throws
 * an ApiError with every cause. The metadata that clients do not decide (uid, versions, times) is left to the caller.
 */
export function checkVolume(
  sent: VolumeManifest,
  before: WantedVolume | null,
  defaults: VolumeDefaults,
): Omit<WantedVolume, 'metadata'> & {
  readonly metadata: ClientMetadata;
} {
  const causes: StatusCause[] = [];
  const name = sent.metadata.name ?? '';
  const bad = (field: string, message: string): void => {
    causes.push({ reason: 'FieldValueInvalid', field, message });
  };

  if (name === '') {
    causes.push({ reason: 'FieldValueRequired', field: 'metadata.name', message: 'is required' });
  } else if (!VOLUME_NAME.test(name)) {
    bad(
      'metadata.name',
      `'${clip(name)}' cannot name a volume; use lower-case letters, digits and '-', at most 63, beginning and ending with a letter or digit`,
    );
  }
  checkMaps(sent, bad);
  const { spec } = sent;
  causes.push(...foreignFields(spec, 'serve'));
  const sizeBytes = checkSize(spec.size, before, bad);
  const blockSize = checkBlockSize(spec.blockSize, before, defaults, bad);
  const initiators = checkInitiators(spec.initiators ?? [], bad);
  const chap = checkChap('spec.chap', spec.chap, before?.chap ?? null, bad);
  const mutualChap = checkChap('spec.mutualChap', spec.mutualChap, before?.mutualChap ?? null, bad);
  const limits = checkLimits(spec.limits, bad);
  const cacheSize = checkCacheSize(spec, bad);
  const ioWorkers = checkWorkers(spec, bad);
  const snapshots = checkSchedule(spec.snapshots, bad);
  const source = checkSource(spec.source, before, bad);
  const replicas = checkReplicas(name, spec.replicaNodes ?? [], before, bad);
  const witness = checkWitness(name, spec.witnessNode ?? null, replicas, before, bad);
  if (witness !== null) replicas.push(witness);
  if (mutualChap !== null && chap === null) {
    bad('spec.mutualChap', 'needs spec.chap: the initiator proves itself first');
  }
  // RFC 7143 §9.2.1: one secret for both directions lets an attacker reflect our own challenge.
  if (mutualChap !== null && chap !== null && mutualChap.secret === chap.secret) {
    bad('spec.mutualChap.secret', 'must differ from spec.chap.secret');
  }
  if (causes.length > 0) throw invalid('Volume', name, causes);

  const metadata: ClientMetadata = { name };
  if (sent.metadata.labels !== undefined) metadata.labels = sent.metadata.labels;
  if (sent.metadata.annotations !== undefined) metadata.annotations = sent.metadata.annotations;
  if (sent.metadata.finalizers !== undefined) metadata.finalizers = sent.metadata.finalizers;
  const { ownerReferences, managedFields, generateName } = sent.metadata;
  if (ownerReferences !== undefined) metadata.ownerReferences = ownerReferences;
  if (managedFields !== undefined) metadata.managedFields = managedFields;
  if (generateName !== undefined) metadata.generateName = generateName;
  return {
    metadata,
    size: typeof spec.size === 'number' ? formatQuantity(spec.size) : spec.size,
    sizeBytes,
    blockSize,
    writeCache: spec.writeCache ?? (before === null ? defaults.writeCache : before.writeCache),
    initiators,
    chap,
    mutualChap,
    limits,
    cacheSize,
    ioWorkers,
    snapshots,
    source,
    replicas,
  };
}

/** What is kept, secrets and all. */
export function encodeManifest(wanted: WantedVolume): Uint8Array {
  const { metadata, sizeBytes: _, ...spec } = wanted;
  return Buffer.from(JSON.stringify({ apiVersion: GROUP_VERSION, kind: 'Volume', metadata, spec }));
}

/** Throws an ApiError where the manifest is larger than the store keeps. */
export function assertStorable(wanted: WantedVolume): void {
  const bytes = encodeManifest(wanted).length;
  if (bytes <= MAX_MANIFEST_BYTES) return;
  throw invalid('Volume', wanted.metadata.name, [
    {
      reason: 'FieldValueInvalid',
      field: 'metadata',
      message: `the manifest takes ${bytes} bytes, at most ${MAX_MANIFEST_BYTES} are kept; shorten annotations`,
    },
  ]);
}

/** Reads what `encodeManifest` wrote; null where it is damaged or of a kind that this program does not know. */
export function decodeManifest(bytes: Uint8Array): WantedVolume | null {
  try {
    const kept = JSON.parse(Buffer.from(bytes).toString('utf8')) as {
      apiVersion: unknown;
      metadata: Metadata;
      spec: Omit<WantedVolume, 'metadata' | 'sizeBytes'>;
    };
    if (kept.apiVersion !== GROUP_VERSION) return null;
    const { metadata, spec } = kept;
    const sizeBytes = roundUp(parseQuantity(spec.size) ?? 0);
    if (!VOLUME_NAME.test(metadata.name) || sizeBytes === 0) return null;
    return {
      metadata,
      size: spec.size,
      sizeBytes,
      blockSize: spec.blockSize === 512 ? 512 : 4096,
      writeCache: spec.writeCache ?? null,
      initiators: spec.initiators ?? [],
      chap: spec.chap ?? null,
      mutualChap: spec.mutualChap ?? null,
      limits: spec.limits ?? null,
      cacheSize: spec.cacheSize ?? null,
      ioWorkers: spec.ioWorkers ?? null,
      snapshots: spec.snapshots ?? null,
      source: spec.source ?? null,
      replicas: spec.replicas ?? [],
    };
  } catch {
    return null; // The caller shows the volume as Failed: a bad manifest is a finding, not a crash.
  }
}

type Bad = (field: string, message: string) => void;

function checkSize(size: string | number, before: WantedVolume | null, bad: Bad): number {
  const bytes = typeof size === 'number' ? (size > 0 ? size : null) : parseQuantity(size);
  if (bytes === null) {
    bad('spec.size', `'${clip(String(size))}' is not a quantity; write it like 5Gi`);
    return 0;
  }
  const rounded = roundUp(bytes);
  if (bytes < MIN_VOLUME_BYTES) {
    bad('spec.size', `${size} is too small; the least is ${formatQuantity(MIN_VOLUME_BYTES)}`);
  } else if (rounded > MAX_VOLUME_BYTES) {
    bad('spec.size', `${size} is too large; the most is ${formatQuantity(MAX_VOLUME_BYTES)}`);
  } else if (before !== null && rounded < before.sizeBytes) {
    bad('spec.size', `${size} is less than the volume has (${before.size}); a volume only grows`);
  }
  return rounded;
}

function checkBlockSize(
  sent: number | undefined,
  before: WantedVolume | null,
  defaults: VolumeDefaults,
  bad: Bad,
): 512 | 4096 {
  if (sent === undefined) return before?.blockSize ?? defaults.blockSize;
  if (sent !== 512 && sent !== 4096) {
    bad('spec.blockSize', `${sent} is not a block size; use 512 or 4096`);
    return 4096;
  }
  if (before !== null && before.blockSize !== sent) {
    bad('spec.blockSize', `is fixed at creation (${before.blockSize}); make another volume`);
  }
  return sent;
}

const ELSEWHERE =
  'its blocks are in pools of other programs: leave it out here; `ashlar node` has it for volumes with replicas';

function checkCacheSize(spec: VolumeManifest['spec'], bad: Bad): string | number | null {
  const { cacheSize = null, replicaNodes = [] } = spec;
  if (cacheSize === null) return null;
  const bytes = parseQuantity(String(cacheSize));
  if (bytes === null) {
    bad('spec.cacheSize', `'${clip(String(cacheSize))}' is not a quantity; write it like 64Mi`);
  } else if (bytes < MIN_CACHE_BYTES) {
    bad('spec.cacheSize', `${cacheSize} is too small; the least is ${MIN_CACHE_BYTES} bytes`);
  } else if (replicaNodes.length > 0) {
    bad('spec.cacheSize', ELSEWHERE);
  }
  return cacheSize;
}

function checkWorkers(spec: VolumeManifest['spec'], bad: Bad): number | null {
  const { ioWorkers = null, replicaNodes = [] } = spec;
  if (ioWorkers === null) return null;
  if (!(ioWorkers >= 0 && ioWorkers <= MAX_IO_WORKERS)) {
    bad('spec.ioWorkers', `${ioWorkers} is out of range; use 0 to ${MAX_IO_WORKERS}`);
  } else if (replicaNodes.length > 0) bad('spec.ioWorkers', ELSEWHERE);
  return ioWorkers;
}

/** Odd numbers have a majority; two survive nothing, but lose nothing either. */
const REPLICA_COUNTS = [0, 1, 2, 3, 5];

function checkReplicas(
  volume: string,
  nodes: readonly string[],
  before: WantedVolume | null,
  bad: Bad,
): WantedReplica[] {
  nodes.forEach((node, index) => {
    const field = `spec.replicaNodes[${index}]`;
    if (parseNode(node) === null) {
      bad(field, `'${clip(node)}' is not the address of a node; write it like 10.0.0.2:9809`);
    } else if (nodes.indexOf(node) !== index) {
      bad(field, `'${node}' is named twice; two copies on one node are lost together`);
    }
  });
  if (!REPLICA_COUNTS.includes(nodes.length)) {
    bad('spec.replicaNodes', `names ${nodes.length} nodes; use 1, 2, 3 or 5`);
  }
  if (before !== null && (before.replicas.length === 0) !== (nodes.length === 0)) {
    bad(
      'spec.replicaNodes',
      'a volume lives in the pool or on replicas; that is fixed at creation',
    );
  }
  const copies = (before?.replicas ?? []).filter(({ witness }) => witness !== true);
  return planReplicas(volume, nodes, copies);
}

/** Two copies and a witness: either copy may be lost, and what is written to one alone is on record first (R3). */
function checkWitness(
  volume: string,
  sent: string | null,
  copies: readonly WantedReplica[],
  before: WantedVolume | null,
  bad: Bad,
): WantedReplica | null {
  const known = before?.replicas.find(({ witness }) => witness === true);
  const node = sent ?? known?.node ?? null; // Left out of an update, it stays.
  if (node === null) return null;
  if (parseNode(node) === null) {
    bad(
      'spec.witnessNode',
      `'${clip(node)}' is not the address of a node; write it like 10.0.0.2:9809`,
    );
  }
  if (copies.length !== 2) {
    bad('spec.witnessNode', `goes with two replicaNodes, and there are ${copies.length}`);
  }
  if (copies.some((copy) => copy.node === node)) {
    bad(
      'spec.witnessNode',
      `'${clip(node)}' keeps a copy: it would be lost together with its vote`,
    );
  }
  if (before !== null && known?.node !== node) bad('spec.witnessNode', 'is fixed at creation');
  return { id: `${volume}-w1`, node, witness: true };
}

function checkSource(
  sent: { snapshot?: string; volume?: string } | null | undefined,
  before: WantedVolume | null,
  bad: Bad,
): string | null {
  if (sent?.volume !== undefined) {
    bad('spec.source.volume', 'is of `ashlar node`; here take a snapshot, and name it');
  } else if (sent !== null && sent !== undefined && sent.snapshot === undefined) {
    bad('spec.source.snapshot', 'is required');
  }
  const named = sent?.snapshot;
  const source = named === undefined ? null : fullSnapshotName(named);
  if (before === null) {
    if (source !== null && !/^[a-z0-9-]+@[a-z0-9-]+$/.test(source)) {
      bad('spec.source.snapshot', `'${clip(source)}' is no snapshot; write it V@NAME`);
    }
    return source;
  }
  const kept = before.source ?? null;
  // Left out of an update, it stays as it was.
  if (source !== null && source !== kept) {
    bad('spec.source.snapshot', 'is fixed at creation; make another volume');
  }
  return kept;
}

/** RFC 7143 §4.2.7: iqn., eui. and naa. names; kept in lower case. */
const INITIATOR_NAME =
  /^(iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(:[^\s\p{Cc},]+)?|eui\.[0-9a-f]{16}|naa\.[0-9a-f]{16}([0-9a-f]{16})?)$/u;

function checkInitiators(sent: readonly string[], bad: Bad): string[] {
  const names = sent.map((name) => name.normalize('NFKC').toLowerCase());
  names.forEach((name, index) => {
    if (!INITIATOR_NAME.test(name)) {
      bad(
        `spec.initiators[${index}]`,
        `'${clip(name)}' is not an initiator name; write it as in /etc/iscsi/initiatorname.iscsi, like iqn.1993-08.org.debian:01:abc`,
      );
    }
  });
  return [...new Set(names)];
}

function checkChap(
  field: string,
  sent: { user: string; secret?: string } | null | undefined,
  before: ChapAccount | null,
  bad: Bad,
): ChapAccount | null {
  if (sent === null || sent === undefined) return null;
  if (sent.user === '') bad(`${field}.user`, 'is empty');
  const secret = sent.secret ?? before?.secret;
  if (secret === undefined) {
    bad(`${field}.secret`, 'is required');
    return null;
  }
  const bytes = Buffer.byteLength(secret);
  // The secret itself never enters a message.
  if (bytes < MIN_CHAP_SECRET_BYTES || bytes > MAX_CHAP_SECRET_BYTES) {
    bad(
      `${field}.secret`,
      `has ${bytes} bytes; use ${MIN_CHAP_SECRET_BYTES} to ${MAX_CHAP_SECRET_BYTES}`,
    );
  }
  return { user: sent.user, secret };
}

const LABEL_KEY =
  /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

function checkMaps(sent: VolumeManifest, bad: Bad): void {
  for (const [key, value] of Object.entries(sent.metadata.labels ?? {})) {
    if (!LABEL_KEY.test(key)) bad('metadata.labels', `'${clip(key)}' is not a label key`);
    else if (!LABEL_VALUE.test(value) || value.length > MAX_LABEL_VALUE_CHARACTERS) {
      bad(`metadata.labels.${key}`, `'${clip(value)}' is not a label value`);
    }
  }
  let annotationBytes = 0;
  for (const [key, value] of Object.entries(sent.metadata.annotations ?? {})) {
    if (!LABEL_KEY.test(key))
      bad('metadata.annotations', `'${clip(key)}' is not an annotation key`);
    annotationBytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (annotationBytes > MAX_ANNOTATION_BYTES) {
    bad('metadata.annotations', `take ${annotationBytes} bytes, at most ${MAX_ANNOTATION_BYTES}`);
  }
  for (const finalizer of sent.metadata.finalizers ?? []) {
    if (!finalizer.includes('/') || !LABEL_KEY.test(finalizer)) {
      bad(
        'metadata.finalizers',
        `'${clip(finalizer)}' is not a qualified name like example.com/keep`,
      );
    }
  }
}

/** Space is counted in blocks: a size that ends within one gets the whole of it. */
function roundUp(bytes: number): number {
  const rounded = Math.ceil(bytes / STORE_BLOCK_BYTES) * STORE_BLOCK_BYTES;
  assert(rounded >= bytes);
  return rounded;
}

function clip(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
