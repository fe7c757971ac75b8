// The annotation `cas.openebs.io/config`: a YAML list of `name` and `value`, as OpenEBS' users write their policies. What
// has a meaning here is checked and typed; what has none is named with the reason, for a warning event; what nobody
// documents is a mistake.
import { parse as parseYaml } from 'yaml';
import type { StatusCause } from '../apiserver/index.ts';
import { parseQuantity } from '../base/index.ts';
import { MAX_IO_WORKERS, MIN_CACHE_BYTES } from './volume-check.ts';

export const CAS_CONFIG = 'cas.openebs.io/config';
export const CAS_TYPE = 'openebs.io/cas-type';
const FIELD = `metadata.annotations[${CAS_CONFIG}]`;
/** A policy of a hundred lines is a mistake, and bounds the work. */
const MAX_CONFIG_CHARACTERS = 16 * 1024;

export interface CasConfig {
  readonly storagePoolClaim?: string;
  readonly storagePool?: string;
  readonly replicaCount?: number;
  readonly minimumReplicas?: number;
  readonly witness?: boolean;
  readonly fsType?: string;
  readonly queueDepth?: number;
  readonly iops?: number;
  readonly iopsBurst?: number;
  readonly bandwidth?: string;
  readonly bandwidthBurst?: string;
  readonly writeCache?: boolean;
  readonly blockSize?: 512 | 4096;
  readonly replicaPlacement?: 'node' | 'pool';
  readonly chapSecret?: string;
  readonly initiators?: readonly string[];
  readonly hostPath?: string;
  readonly poolMemoryRequest?: string;
  readonly poolMemoryLimit?: string;
  readonly policy?: string;
  readonly syncPolicy?: 'quorum' | 'all';
  readonly readPolicy?: 'leastOutstanding' | 'localFirst' | 'roundRobin';
  readonly holdSeconds?: number;
  readonly ioSeconds?: number;
  readonly hedgeMilliseconds?: number;
  readonly cacheSize?: string;
  readonly ioWorkers?: number;
}

export interface ParsedCasConfig {
  readonly config: CasConfig;
  /** Mistakes: the API answers with them. */
  readonly causes: readonly StatusCause[];
  /** Keys that OpenEBS knows and that change nothing here, each with the reason. */
  readonly warnings: readonly string[];
}

type Read = (value: unknown, config: Record<string, unknown>) => string | null;

const integer =
  (field: keyof CasConfig, least: number, most: number): Read =>
  (value, config) => {
    const text = String(value).trim();
    const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(number >= least && number <= most)) {
      return `'${text}' is not a whole number from ${least} to ${most}`;
    }
    config[field] = number;
    return null;
  };

const text =
  (field: keyof CasConfig, pattern: RegExp, like: string): Read =>
  (value, config) => {
    const trimmed = String(value).trim();
    if (!pattern.test(trimmed)) return `'${trimmed}' is not valid here; write it like ${like}`;
    config[field] = trimmed;
    return null;
  };

const quantity =
  (field: keyof CasConfig, least = 0): Read =>
  (value, config) => {
    const trimmed = String(value).trim();
    const bytes = parseQuantity(trimmed);
    if (bytes === null) return `'${trimmed}' is not a quantity; write it like 100Mi`;
    if (bytes < least) return `${trimmed} is too small; the least is ${least} bytes`;
    if (config[field] !== undefined && parseQuantity(String(config[field])) !== bytes) {
      return `${trimmed} contradicts another key, which says ${String(config[field])}`;
    }
    config[field] = trimmed;
    return null;
  };

/** Threads of a target and threads of a replica: here they are the same, and the most that is said of them counts. */
const workers: Read = (value, config) => {
  const before = config['ioWorkers'] as number | undefined;
  const wrong = integer('ioWorkers', 0, MAX_IO_WORKERS)(value, config);
  if (before !== undefined) config['ioWorkers'] = Math.max(before, Number(config['ioWorkers']));
  return wrong;
};

const choice =
  (field: keyof CasConfig, choices: Readonly<Record<string, unknown>>): Read =>
  (value, config) => {
    const trimmed = String(value).trim();
    if (!Object.hasOwn(choices, trimmed)) {
      return `'${trimmed}' is none of ${Object.keys(choices).join(', ')}`;
    }
    config[field] = choices[trimmed];
    return null;
  };

/** `memory: 2Gi` and the like; only memory has a meaning here. */
const memory =
  (field: keyof CasConfig): Read =>
  (value, config) => {
    let resources: unknown = value;
    if (typeof value === 'string') {
      try {
        resources = parseYaml(value);
      } catch (error) {
        return `is not YAML: ${(error as Error).message.split('\n')[0]}`;
      }
    }
    if (typeof resources !== 'object' || resources === null || Array.isArray(resources)) {
      return 'is not a list of resources; write it like memory: 2Gi';
    }
    const bytes = (resources as Record<string, unknown>)['memory'];
    if (bytes === undefined) return null;
    if (parseQuantity(String(bytes)) === null) {
      return `memory: '${String(bytes)}' is not a quantity; write it like 2Gi`;
    }
    config[field] = String(bytes);
    return null;
  };

const DNS_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Keys with a meaning. The lower ones are ashlar's own, in the manner of the others. */
const KEYS: Readonly<Record<string, Read>> = {
  StoragePoolClaim: text('storagePoolClaim', DNS_NAME, 'cstor-disk-pool'),
  StoragePool: text('storagePool', DNS_NAME, 'default'),
  ReplicaCount: integer('replicaCount', 1, 5),
  FSType: choice('fsType', { ext4: 'ext4', xfs: 'xfs', ext3: 'ext3', btrfs: 'btrfs' }),
  QueueDepth: integer('queueDepth', 1, 4096),
  Lun: (value) =>
    String(value).trim() === '0' ? null : `'${String(value)}' cannot be had: a target has LUN 0`,
  PoolResourceRequests: memory('poolMemoryRequest'),
  PoolResourceLimits: memory('poolMemoryLimit'),
  HostPath: text('hostPath', /^\/[^\0]*$/, '/var/openebs'),
  MinimumReplicas: integer('minimumReplicas', 1, 5),
  Witness: choice('witness', { on: true, off: false, true: true, false: false }),
  ReplicaPlacement: choice('replicaPlacement', { node: 'node', pool: 'pool' }),
  IOPSLimit: integer('iops', 10, 10_000_000),
  IOPSBurst: integer('iopsBurst', 1, 999_999_999),
  BandwidthLimit: quantity('bandwidth'),
  BandwidthBurst: quantity('bandwidthBurst'),
  WriteCache: choice('writeCache', { on: true, off: false, true: true, false: false }),
  BlockSize: choice('blockSize', { '512': 512, '512b': 512, '4096': 4096, '4k': 4096 }),
  SyncPolicy: choice('syncPolicy', { quorum: 'quorum', all: 'all' }),
  ReadPolicy: choice('readPolicy', {
    leastOutstanding: 'leastOutstanding',
    localFirst: 'localFirst',
    roundRobin: 'roundRobin',
  }),
  HoldTimeSeconds: integer('holdSeconds', 1, 600),
  IOTimeoutSeconds: integer('ioSeconds', 1, 25),
  HedgeMilliseconds: integer('hedgeMilliseconds', 0, 10_000),
  CacheSize: quantity('cacheSize', MIN_CACHE_BYTES),
  ReplicaCacheSize: quantity('cacheSize', MIN_CACHE_BYTES),
  IOWorkers: workers,
  Luworkers: workers,
  LuWorkers: workers,
  ZvolWorkers: workers,
  ChapSecret: text('chapSecret', DNS_NAME, 'iscsi-chap'),
  Initiators: (value, config) => {
    const names = String(value)
      .split(/[\s,]+/)
      .filter((name) => name !== '');
    const bad = names.find((name) => !/^(iqn|eui|naa)\.\S+$/.test(name));
    if (bad !== undefined) return `'${bad}' is not an initiator name`;
    config['initiators'] = names;
    return null;
  },
  VolumePolicy: text('policy', DNS_NAME, 'gold'),
};

const IMAGES = 'there are no container images: every part is this program';
const PODS = 'parts are not scheduled as pods; label nodes and cordon them instead';
const NAMESPACE = 'its parts are shown in the namespace openebs';
const RESOURCES = 'its parts share the memory of a node: memory.buffers bounds it';

/** Keys that OpenEBS documents and that change nothing here. */
const WITHOUT_MEANING: Readonly<Record<string, string>> = {
  ControllerImage: IMAGES,
  ReplicaImage: IMAGES,
  VolumeControllerImage: IMAGES,
  VolumeTargetImage: IMAGES,
  VolumeMonitorImage: IMAGES,
  CStorPoolImage: IMAGES,
  CStorPoolMgmtImage: IMAGES,
  CStorVolumeIstgtImage: IMAGES,
  CstorPoolImage: IMAGES,
  CstorPoolMgmtImage: IMAGES,
  CstorPoolExporterImage: IMAGES,
  RunNamespace: NAMESPACE,
  DeployInOpenEBSNamespace: NAMESPACE,
  ServiceAccountName: 'there are no service accounts',
  PVCServiceAccountName: 'there are no service accounts',
  SparseDir: 'devices.sparseFolder in the configuration of a node says where its sparse files are',
  HostPathType: 'a directory is made where it is not there',
  ReplicaResourceRequests: RESOURCES,
  ReplicaResourceLimits: RESOURCES,
  Tolerations: PODS,
  VolumeMonitor: '/metrics is always served',
  AuxResourceRequests: 'there are no side-car containers',
  AuxResourceLimits: 'there are no side-car containers',
  TargetResourceRequests: 'a target has no memory of its own; memory.buffers bounds a node',
  TargetResourceLimits: 'a target has no memory of its own; memory.buffers bounds a node',
  ReplicaNodeSelector: PODS,
  TargetNodeSelector: PODS,
  TargetTolerations: PODS,
  PoolTolerations: PODS,
  ReplicaTolerations: PODS,
  TargetAffinity: PODS,
  ReplicaAffinity: PODS,
  ReplicaAntiAffinity: 'replicas never share a node, unless ReplicaPlacement is pool',
  ReplicaAntiAffinityTopoKey: 'replicas never share a node, unless ReplicaPlacement is pool',
  EvictionTolerations: PODS,
  NodeAffinityRequiredDuringSchedulingIgnoredDuringExecution: PODS,
  TargetDir: 'targets keep nothing in a directory',
  RunCStorTargetProbe: 'a target is watched by its own I/O',
  ResyncInterval: 'objects are watched, not polled',
  Compression: 'data is not compressed',
  RetainReplicaData: 'set reclaimPolicy: Retain in the class',
  Scrub: 'pools are checked by the engine itself',
};

/** Reads the annotation's text; undefined: no annotation. */
export function parseCasConfig(annotation: string | undefined): ParsedCasConfig {
  if (annotation === undefined || annotation.trim() === '') {
    return { config: {}, causes: [], warnings: [] };
  }
  const causes: StatusCause[] = [];
  const bad = (field: string, message: string): void => {
    causes.push({ reason: 'FieldValueInvalid', field, message });
  };
  const entries = readEntries(annotation, bad);
  const config: Record<string, unknown> = {};
  const warnings: string[] = [];
  const seen = new Set<string>();
  for (const { name, value, enabled } of entries) {
    const field = `${FIELD}.${name}`;
    if (seen.has(name)) bad(field, 'is given twice');
    seen.add(name);
    // OpenEBS lets an entry be switched off in place.
    if (enabled === 'false' || enabled === false) continue;
    // And its templates say none where nothing is asked for.
    if (isResources(name) && ['none', 'false'].includes(String(value))) continue;
    const read = Object.hasOwn(KEYS, name) ? KEYS[name] : undefined;
    const reason = Object.hasOwn(WITHOUT_MEANING, name) ? WITHOUT_MEANING[name] : undefined;
    if (read !== undefined) {
      const wrong = read(value, config);
      if (wrong !== null) bad(field, wrong);
    } else if (reason !== undefined) {
      warnings.push(`${name} changes nothing here: ${reason}`);
    } else {
      causes.push({
        reason: 'FieldValueNotSupported',
        field,
        message: `is no key that is known; known are ${Object.keys(KEYS).join(', ')}`,
      });
    }
  }
  const known = config as CasConfig;
  if ((known.minimumReplicas ?? 1) > (known.replicaCount ?? 5)) {
    bad(`${FIELD}.MinimumReplicas`, `${known.minimumReplicas} is more than ReplicaCount`);
  }
  if (known.iopsBurst !== undefined && known.iops === undefined) {
    bad(`${FIELD}.IOPSBurst`, 'needs IOPSLimit');
  }
  if (known.bandwidthBurst !== undefined && known.bandwidth === undefined) {
    bad(`${FIELD}.BandwidthBurst`, 'needs BandwidthLimit');
  }
  if (known.witness === true && known.replicaCount !== 2 && known.policy === undefined) {
    bad(`${FIELD}.Witness`, `goes with ReplicaCount 2, and that is ${known.replicaCount ?? 1}`);
  }
  return { config: known, causes, warnings };
}

function isResources(name: string): boolean {
  return /Resource(Limits|Requests)$/.test(name);
}

interface CasEntry {
  readonly name: string;
  readonly value: unknown;
  readonly enabled: unknown;
}

function readEntries(
  annotation: string,
  bad: (field: string, message: string) => void,
): CasEntry[] {
  if (annotation.length > MAX_CONFIG_CHARACTERS) {
    bad(FIELD, `has ${annotation.length} characters; at most ${MAX_CONFIG_CHARACTERS}`);
    return [];
  }
  let parsed: unknown;
  try {
    parsed = parseYaml(annotation, { maxAliasCount: 0 });
  } catch (error) {
    bad(FIELD, `is not YAML: ${(error as Error).message.split('\n')[0]}`);
    return [];
  }
  if (parsed === null) return [];
  if (!Array.isArray(parsed)) {
    bad(FIELD, 'is not a list; write it like "- name: ReplicaCount" with "value: ..." below');
    return [];
  }
  const entries: CasEntry[] = [];
  parsed.forEach((entry: unknown, index) => {
    const { name, value, enabled } = (entry ?? {}) as Record<string, unknown>;
    if (typeof name !== 'string') bad(`${FIELD}[${index}].name`, 'is required');
    else if ((value === undefined || value === null) && enabled === undefined) {
      bad(`${FIELD}.${name}`, 'has no value');
    } else entries.push({ name, value, enabled });
  });
  return entries;
}
