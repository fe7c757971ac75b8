// The configuration: every key, its default, how its text is read, and what to say when it is wrong.
import { hostname } from 'node:os';
import type { Account } from '../../apiserver/index.ts';
import { parseQuantity } from '../../base/index.ts';
import { VOLUME_NAME } from '../../control/index.ts';
import type { EtcdOptions } from '../../objects/index.ts';
import { READ_POLICIES, type ReplicationConfig, SYNC_POLICIES } from './replication.ts';

export interface PortalAddress {
  readonly host: string;
  readonly port: number;
}

export interface ChapConfig {
  readonly user: string;
  readonly secret: string;
}

export interface Config {
  readonly replication: ReplicationConfig;
  /** `zone`: where the machine is, for the placement of replicas. */
  readonly node: { readonly name: string; readonly zone: string | null };
  readonly dataDir: string;
  readonly pool: {
    readonly path: string;
    readonly sizeBytes: number;
    readonly cacheBytes: number;
    readonly sparse: boolean;
    /** What labels call the machine that has it; null: what it is by itself. */
    readonly owner: string | null;
    /** By --take-over alone, which is said once: also a pool that is another machine's. */
    readonly takeOver: boolean;
    /** How full it is when hosts are told; 0: never. */
    readonly spaceThresholdPercent: number;
  };
  readonly memory: { readonly buffersBytes: number };
  /** How long the event loop may look for work before it sleeps: latency for idle processor time. */
  readonly cpu: { readonly spinMicroseconds: number };
  readonly portals: readonly PortalAddress[];
  readonly api: {
    readonly address: PortalAddress;
    /** PEM files; null: without TLS, which is for loopback only. */
    readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
    /** Null: whoever reaches the API may do everything, which is for loopback only. */
    readonly accounts: readonly Account[] | null;
  };
  /** Where the control plane keeps its objects. */
  readonly objects:
    | { readonly store: 'embedded'; readonly path: string }
    | { readonly store: 'etcd'; readonly etcd: EtcdOptions };
  readonly iqnPrefix: string;
  readonly volumes: {
    readonly blockSize: 512 | 4096;
    readonly writeCache: boolean;
    /** SANITIZE erases the initiator's own volume: no more than it could overwrite. */
    readonly allowSanitize: boolean;
  };
  /** Made once, with the pool. */
  readonly firstVolume: { readonly name: string; readonly size: string } | null;
  readonly iscsi: {
    readonly nopIntervalMs: number;
    readonly nopTimeoutMs: number;
    readonly loginTimeoutMs: number;
    readonly drainTimeoutMs: number;
    readonly maxSessions: number;
    readonly maxLogins: number;
    /** Many hosts may stand behind one address (NAT). */
    readonly maxLoginsPerAddress: number;
  };
  /** `ashlar node`: which disks it lists. */
  readonly devices: {
    readonly include: readonly string[];
    readonly exclude: readonly string[];
    readonly sparseFolder: string | null;
  };
  /** `ashlar node`: the pool in a folder, for classes of cas-type jiva. */
  readonly directoryPool: { readonly path: string | null; readonly sizeBytes: number };
  /** `ashlar node`: what leads, and when a node counts as away. */
  readonly control: {
    readonly leaseMs: number;
    readonly nodeSilentMs: number;
    readonly nodeGoneMs: number;
    /** How long a new volume waits for pools that are being made before it makes do with fewer. */
    readonly placePatienceMs: number;
  };
  readonly discovery: { readonly chap: ChapConfig | null; readonly mutualChap: ChapConfig | null };
  readonly log: { readonly level: LogLevel };
}

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** A value that is not what its key wants. The message continues the key's name and says what to write instead. */
export class BadValue extends Error {
  override readonly name = 'BadValue';
}

export interface Key<T> {
  /** Null: the key must be given. */
  readonly standard: (() => T) | null;
  /** Throws BadValue. */
  readonly read: (value: unknown) => T;
}

export type Section = { readonly [key: string]: Key<unknown> | Section };

export function isKey(entry: Key<unknown> | Section): entry is Key<unknown> {
  return typeof (entry as Key<unknown>).read === 'function';
}

const key = <T>(standard: T | (() => T) | null, read: (value: unknown) => T): Key<T> => ({
  standard:
    standard === null
      ? null
      : typeof standard === 'function'
        ? (standard as () => T)
        : () => standard,
  read,
});
const optional = <T>(read: (value: unknown) => T): Key<T | null> => ({
  standard: () => null,
  read: (value) => (value === null ? null : read(value)),
});

/** Keys that stand beside each other here stand beside each other in the file. */
export const CONFIG_KEYS = {
  node: {
    name: key(() => hostname().split('.')[0] ?? 'node', readNodeName),
    zone: optional(readNodeName),
  },
  dataDir: key('/var/lib/ashlar', readPath),
  pool: {
    path: key('pool.img', readPath),
    size: key(4 * 2 ** 30, readBytes('4Gi', 64 * 2 ** 20, 2 ** 52)),
    cache: key(256 * 2 ** 20, readBytes('256Mi', 16 * 2 ** 20, 2 ** 40)),
    sparse: key(false, readBoolean),
    spaceThreshold: key(85, readInteger(0, 100)),
    owner: optional(readNodeName),
  },
  memory: { buffers: key(128 * 2 ** 20, readBytes('128Mi', 32 * 2 ** 20, 2 ** 30)) },
  cpu: { spinMicroseconds: key(50, readInteger(0, 1000)) },
  portals: key(() => [{ host: '127.0.0.1', port: 3260 }], readPortals),
  api: {
    address: key(() => ({ host: '127.0.0.1', port: 9808 }), readAddress(9808)),
    tls: { certFile: optional(readPath), keyFile: optional(readPath) },
    tokensFile: optional(readPath),
  },
  objects: {
    store: key<'embedded' | 'etcd'>('embedded', readStore),
    path: key('objects', readPath),
    etcd: {
      endpoints: key<string[]>(() => [], readEndpoints),
      prefix: key('/ashlar', readEtcdPrefix),
      caFile: optional(readPath),
      certFile: optional(readPath),
      keyFile: optional(readPath),
    },
  },
  iqnPrefix: key('iqn.2026-11.io.ashlar', readIqnPrefix),
  volumes: {
    blockSize: key<512 | 4096>(512, readBlockSize),
    writeCache: key(true, readBoolean),
    allowSanitize: key(true, readBoolean),
  },
  firstVolume: { name: optional(readVolumeName), size: key('1Gi', readQuantityText) },
  iscsi: {
    nopInterval: key(10_000, readDuration('10s', 0, 3_600_000)),
    nopTimeout: key(15_000, readDuration('15s', 100, 3_600_000)),
    loginTimeout: key(15_000, readDuration('15s', 1000, 300_000)),
    drainTimeout: key(5000, readDuration('5s', 0, 300_000)),
    maxSessions: key(1024, readInteger(1, 65_535)),
    maxLogins: key(256, readInteger(1, 4096)),
    maxLoginsPerAddress: key(128, readInteger(1, 4096)),
  },
  devices: {
    include: key<string[]>(() => [], readPatterns),
    exclude: key<string[]>(() => [], readPatterns),
    sparseFolder: optional(readPath),
  },
  directoryPool: {
    path: key<string | null>('openebs', (value) => (value === false ? null : readPath(value))),
    size: key(1 * 2 ** 40, readBytes('1Ti', 64 * 2 ** 20, 2 ** 52)),
  },
  control: {
    lease: key(4000, readDuration('4s', 1000, 60_000)),
    nodeSilent: key(4000, readDuration('4s', 2000, 600_000)),
    nodeGone: key(300_000, readDuration('5m', 10_000, 86_400_000)),
    placePatience: key(60_000, readDuration('1m', 0, 86_400_000)),
  },
  replication: {
    listen: optional(readAddress(9809)),
    secretFile: optional(readPath),
    insecure: key(false, readBoolean),
    tls: {
      certFile: optional(readPath),
      keyFile: optional(readPath),
      caFile: optional(readPath),
    },
    maxConnections: key(256, readInteger(1, 4096)),
    sync: key('quorum', readWord(Object.keys(SYNC_POLICIES))),
    read: key('leastOutstanding', readWord(Object.keys(READ_POLICIES))),
    timeouts: {
      connect: key(2000, readDuration('2s', 50, 60_000)),
      handshake: key(5000, readDuration('5s', 100, 60_000)),
      ping: key(1000, readDuration('1s', 50, 60_000)),
      silence: key(5000, readDuration('5s', 200, 300_000)),
      lease: key(4000, readDuration('4s', 200, 60_000)),
      heartbeat: key(1000, readDuration('1s', 20, 20_000)),
      promiseWait: key(1000, readDuration('1s', 0, 60_000)),
      record: key(1000, readDuration('1s', 100, 60_000)),
      lag: key(5000, readDuration('5s', 200, 60_000)),
      hold: key(10_000, readDuration('10s', 100, 600_000)),
      hedge: key(0, readDuration('50ms', 0, 60_000)),
    },
    lagBytes: key(64 * 2 ** 20, readBytes('64Mi', 2 ** 20, 2 ** 26)),
    rebuild: {
      window: key(8 * 2 ** 20, readBytes('8Mi', 2 ** 20, 2 ** 28)),
      bytesPerSecond: key(0, readBytes('100Mi', 0, 2 ** 40)),
    },
  },
  discovery: {
    chap: { user: optional(readText), secretFile: optional(readPath) },
    mutualChap: { user: optional(readText), secretFile: optional(readPath) },
  },
  log: { level: key<LogLevel>('info', readLevel) },
} as const satisfies Section;

export function readText(value: unknown): string {
  if (typeof value !== 'string' || value === '') {
    throw new BadValue(
      `${show(value)} is not a text; write it in quotes if it looks like a number`,
    );
  }
  return value;
}

export function readPath(value: unknown): string {
  const path = readText(value);
  if (path.includes('\0')) throw new BadValue('a path cannot hold a NUL');
  return path;
}

function readNodeName(value: unknown): string {
  const name = readText(value);
  if (/^[a-zA-Z0-9]([-a-zA-Z0-9.]{0,251}[a-zA-Z0-9])?$/.test(name)) return name;
  throw new BadValue(`${show(value)} is not a host name; use letters, digits, '-' and '.'`);
}

function readVolumeName(value: unknown): string {
  const name = readText(value);
  if (VOLUME_NAME.test(name)) return name;
  throw new BadValue(`${show(value)} cannot name a volume; use lower-case letters, digits and '-'`);
}

/** Kernel names of devices; `*` stands for anything. */
function readPatterns(value: unknown): string[] {
  const list = Array.isArray(value) ? value : [value];
  return list.map((entry) => {
    const pattern = readText(entry);
    if (/^[\w!*.:-]+$/.test(pattern)) return pattern;
    throw new BadValue(`${show(pattern)} is not a device name; write it like sd* or nvme1n1`);
  });
}

function readBoolean(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw new BadValue(`${show(value)} is neither true nor false`);
}

function readInteger(least: number, most: number): (value: unknown) => number {
  return (value) => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) {
      return value;
    }
    throw new BadValue(`${show(value)} is not a whole number from ${least} to ${most}`);
  };
}

function readWord(known: readonly string[]): (value: unknown) => string {
  return (value) => {
    if (typeof value === 'string' && known.includes(value)) return value;
    throw new BadValue(`${show(value)} is none of ${known.join(', ')}`);
  };
}

function readQuantityText(value: unknown): string {
  const text = String(value);
  if (parseQuantity(text) !== null) return text;
  throw new BadValue(`${show(value)} is not a quantity; write it like 5Gi`);
}

function readBytes(example: string, least: number, most: number): (value: unknown) => number {
  return (value) => {
    const isText = typeof value === 'string' || typeof value === 'number';
    const bytes = isText ? parseQuantity(String(value)) : null;
    if (bytes === null) {
      throw new BadValue(`${show(value)} is not a quantity; write it like ${example}`);
    }
    if (bytes >= least && bytes <= most) return bytes;
    throw new BadValue(`${show(value)} is out of range: at least ${least}, at most ${most} bytes`);
  };
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

function readDuration(
  example: string,
  leastMs: number,
  mostMs: number,
): (value: unknown) => number {
  return (value) => {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(String(value));
    // A bare number is refused: seconds and milliseconds are mixed up too easily.
    const ms =
      match === null
        ? value === 0
          ? 0
          : Number.NaN
        : Number(match[1]) * DURATION_UNITS[match[2]!]!;
    if (Number.isNaN(ms)) {
      throw new BadValue(`${show(value)} is not a duration; write it like ${example}`);
    }
    if (ms >= leastMs && ms <= mostMs) return ms;
    throw new BadValue(`${show(value)} is out of range: ${leastMs}ms to ${mostMs}ms`);
  };
}

function readBlockSize(value: unknown): 512 | 4096 {
  if (value === 512 || value === 4096) return value;
  throw new BadValue(`${show(value)} is not a block size; use 512 or 4096`);
}

function readStore(value: unknown): 'embedded' | 'etcd' {
  if (value === 'embedded' || value === 'etcd') return value;
  throw new BadValue(`${show(value)} is no store; use embedded (one node) or etcd (several)`);
}

function readEndpoints(value: unknown): string[] {
  const list = Array.isArray(value) ? value : [value];
  if (list.length > 16) throw new BadValue(`names ${list.length} endpoints; at most 16`);
  return list.map((endpoint) => {
    const text = readText(endpoint);
    if (/^(https?:\/\/)?([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}\/?$/.test(text)) return text;
    throw new BadValue(`${show(text)} is no endpoint; write it like http://10.0.0.1:2379`);
  });
}

function readEtcdPrefix(value: unknown): string {
  const prefix = readText(value);
  if (/^(\/[\w.-]+)+$/.test(prefix)) return prefix;
  throw new BadValue(`${show(prefix)} is no prefix; write it like /ashlar`);
}

function readLevel(value: unknown): LogLevel {
  const level = LOG_LEVELS.find((known) => known === value);
  if (level !== undefined) return level;
  throw new BadValue(`${show(value)} is not a level; use one of ${LOG_LEVELS.join(', ')}`);
}

/** RFC 7143 §4.2.7.4: iqn.year-month.reversed.domain; volume names follow after a colon. */
function readIqnPrefix(value: unknown): string {
  const prefix = readText(value);
  const valid = /^iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[a-z0-9.:-]+)?$/;
  // 223 bytes for the whole name, 64 of them for the colon and the volume.
  if (valid.test(prefix) && prefix.length <= 159) return prefix;
  throw new BadValue(`${show(value)} is not an IQN; write it like iqn.2026-11.com.example`);
}

function readPortals(value: unknown): PortalAddress[] {
  const list = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw new BadValue('is empty; name at least one, like 127.0.0.1:3260');
  if (list.length > 64) throw new BadValue(`names ${list.length} portals; at most 64`);
  return list.map(readAddress(3260));
}

/** `address:port`, `[IPv6]:port`, or an address alone with the standard port. */
export function readAddress(standardPort: number): (value: unknown) => PortalAddress {
  return (value) => {
    const text = typeof value === 'number' ? `:${value}` : readText(value);
    const match = /^(?:\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|([^\s:[\]]*))(?::(\d{1,5}))?$/.exec(text);
    const port = match?.[3] === undefined ? standardPort : Number(match[3]);
    if (match === null || port > 65_535) {
      throw new BadValue(
        `${show(value)} is not an address; write it like 127.0.0.1:${standardPort} or [::1]:${standardPort}`,
      );
    }
    const host = match[1] ?? match[2] ?? '';
    return { host: host === '' || host === '*' ? '0.0.0.0' : host, port };
  };
}

export function showAddress({ host, port }: PortalAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Any address of the machine: good to listen on, and nothing that others can be told. */
export function isWildcard({ host }: PortalAddress): boolean {
  return host === '0.0.0.0' || host === '::';
}

export function isLoopback({ host }: PortalAddress): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function show(value: unknown): string {
  const text = typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
