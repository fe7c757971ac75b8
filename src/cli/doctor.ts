// `ashlar doctor`: the whole, looked at once. What the nodes and their objects say is judged here, without asking anybody
// anything; commands/doctor.ts gathers it. Each finding says what is wrong, why as far as the objects know, and what to do.

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message?: string;
}

/** Of any kind: what is not there in one is not looked at. */
export interface Seen {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly deletionTimestamp?: string;
    readonly finalizers?: readonly string[];
  };
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>> & {
    readonly conditions?: readonly Condition[];
  };
}

/** What one node's /metrics says. */
export interface NodeFacts {
  /** Null: the one process of `ashlar serve`, which has no Node and no name. */
  readonly node: string | null;
  /** Its API, as it was asked. */
  readonly address: string;
  /** Why it does not answer; empty: it does. */
  readonly silent: string;
  /** Not ready, in its words; empty: it is. */
  readonly notReady: string;
  /** How far its clock is ahead of the one here, in milliseconds; null: not known. */
  readonly clockAheadMs: number | null;
  /** How long the question took: the clock's difference is known no better. */
  readonly roundTripMs: number;
  readonly metrics: readonly Sample[];
}

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Facts {
  /** Now, in milliseconds since 1970. */
  readonly nowMs: number;
  readonly nodes: readonly NodeFacts[];
  /** By plural; a kind that is not served is missing. */
  readonly objects: ReadonlyMap<string, readonly Seen[]>;
}

/** broken: something is down, or will be soon. care: all is served, and something needs somebody. */
export type Level = 'broken' | 'care';

export interface Finding {
  readonly level: Level;
  readonly what: string;
  readonly todo: string;
}

const DAY_MS = 86_400_000;
/** A lease of a few seconds that is so old is renewed by nobody. */
const STALE_LEASE_MS = 30_000;
const MAX_SKEW_MS = 1000;
const LONG_DELETION_MS = 600_000;
const BUSY_LOOP_SECONDS = 1;
/** Parts of the files that a process may have open. */
const MOST_FILES = 0.8;
const ALL_FILES = 0.95;

type Tell = (level: Level, what: string, todo: string) => void;

export function judge(facts: Facts): Finding[] {
  const found: Finding[] = [];
  const tell: Tell = (level, what, todo) => found.push({ level, what, todo });
  judgeDaemons(facts, tell);
  judgeClocks(facts, tell);
  judgeLeases(facts, tell);
  judgeNodes(facts, tell);
  judgePools(facts, tell);
  judgeVolumes(facts, tell);
  judgeReplicas(facts, tell);
  judgeOthers(facts, tell);
  return found.sort((a, b) => Number(a.level !== 'broken') - Number(b.level !== 'broken'));
}

function judgeDaemons({ nodes, nowMs }: Facts, tell: Tell): void {
  for (const facts of nodes) {
    const { address, silent, notReady, metrics } = facts;
    const [node, name, unit] = wordsOf(facts);
    if (silent !== '') {
      const todo = `on ${name}: systemctl status ${unit}, journalctl -u ${unit} -n 100`;
      tell('broken', `${node} does not answer at ${address}: ${silent}`, todo);
      continue;
    }
    if (notReady !== '') {
      tell('broken', `${node} is not ready: ${notReady}`, `journalctl -n 100, on ${name}`);
    }
    const value = (metric: string): number | null =>
      metrics.find((sample) => sample.name === metric)?.value ?? null;
    const [free, size] = [value('ashlar_data_dir_free_bytes'), value('ashlar_data_dir_size_bytes')];
    if (free !== null && size !== null && free < size / 10) {
      tell(
        free < size / 33 ? 'broken' : 'care',
        `the disk below dataDir of ${node} has ${percent(free, size)} free`,
        `make room on ${name}: df -h, du -xsh /var/log /var/lib/*; without room the objects take no changes`,
      );
    }
    for (const { name: metric, labels, value: seconds } of metrics) {
      if (metric !== 'ashlar_certificate_expires_timestamp_seconds') continue;
      const leftMs = seconds * 1000 - nowMs;
      if (leftMs > 30 * DAY_MS) continue;
      const end = new Date(seconds * 1000).toISOString().slice(0, 16);
      tell(
        leftMs < 3 * DAY_MS ? 'broken' : 'care',
        `the certificate ${labels['key']} of ${node} ${leftMs < 0 ? 'has expired' : 'expires'} (${end})`,
        'replace its files; they are taken within 5 s, nothing is restarted (docs/operations.md, Certificates)',
      );
    }
    for (const { name: metric, labels } of metrics) {
      if (metric !== 'ashlar_deleted_pool_files') continue;
      tell(
        'broken',
        `the pool file ${labels['path']} of ${node} was removed or replaced while it is open: all in it is gone when the daemon ends`,
        "do not restart it; its log says how the file is saved (docs/operations.md, A pool's file is gone)",
      );
    }
    const [open, most] = [value('process_open_fds'), value('process_max_fds')];
    if (open !== null && most !== null && open > most * MOST_FILES) {
      tell(
        open > most * ALL_FILES ? 'broken' : 'care',
        `${node} has ${open} of ${most} files open that it may`,
        `LimitNOFILE= in its unit (ulimit -n), then restart it: without free ones no host is let in`,
      );
    }
    const lag = value('nodejs_eventloop_lag_p99_seconds') ?? 0;
    if (lag > BUSY_LOOP_SECONDS) {
      const what = `the event loop of ${node} is held up for ${lag.toFixed(1)} s at times`;
      tell('care', what, `something takes its processor or memory: top, on ${name}`);
    }
  }
}

/** What it is called, where that is, and its unit. */
function wordsOf({ node }: NodeFacts): readonly [what: string, where: string, unit: string] {
  if (node === null) return ['this node', 'this machine', 'ashlar'];
  return [`node ${node}`, node, 'ashlar-node'];
}

function judgeClocks({ nodes }: Facts, tell: Tell): void {
  for (const facts of nodes) {
    const { clockAheadMs, roundTripMs } = facts;
    if (clockAheadMs === null || Math.abs(clockAheadMs) < MAX_SKEW_MS + roundTripMs) continue;
    const seconds = Math.abs(clockAheadMs / 1000).toFixed(1);
    const how = clockAheadMs > 0 ? 'ahead of' : 'behind';
    tell(
      'care',
      `the clock of ${wordsOf(facts)[0]} is ${seconds} s ${how} the one here`,
      `timedatectl, on both: certificates, schedules of snapshots and logs go by it (I/O and leases do not)`,
    );
  }
}

function judgeLeases({ objects, nodes, nowMs }: Facts, tell: Tell): void {
  const leases = (objects.get('leases') ?? []).filter(
    ({ metadata }) => metadata.name === 'controllers' || metadata.name.startsWith('node-'),
  );
  if (leases.length === 0) return;
  // By the clocks of the nodes that renewed them, whichever of these is furthest behind.
  const skew = Math.max(0, ...nodes.map(({ clockAheadMs }) => -(clockAheadMs ?? 0)));
  const isStale = ({ spec }: Seen): boolean =>
    nowMs - skew - Date.parse(String(spec?.['renewTime'] ?? '')) > STALE_LEASE_MS;
  if (leases.every(isStale)) {
    tell(
      'broken',
      'no lease is renewed: the object store takes no changes, or no node runs',
      'etcdctl endpoint health, etcdctl alarm list; I/O goes on meanwhile (docs/operations.md, The object store takes no changes)',
    );
    return;
  }
  if (leases.some((lease) => lease.metadata.name === 'controllers' && isStale(lease))) {
    tell(
      'broken',
      'no node runs the controllers: what is written is not acted on',
      "journalctl -u ashlar-node | grep -E 'leads|lease', on each node",
    );
  }
}

function judgeNodes({ objects }: Facts, tell: Tell): void {
  const nodes = objects.get('nodes') ?? [];
  for (const node of nodes) {
    const { name } = node.metadata;
    const ready = conditionOf(node, 'Ready');
    if (ready !== undefined && ready.status !== 'True') {
      tell(
        'broken',
        `node ${name} is silent: ${ready.message}`,
        `start it (systemctl start ashlar-node); lost for good: its replicas are made anew elsewhere after control.nodeGone`,
      );
    }
    if (node.spec?.['unschedulable'] === true) {
      tell('care', `node ${name} is cordoned: nothing new comes there`, `ashlar uncordon ${name}`);
    }
    const portals = (node.status?.['portals'] ?? []) as string[];
    if (nodes.length > 1 && portals.some((portal) => /^(127\.|\[::1\]|localhost)/.test(portal))) {
      tell(
        'care',
        `node ${name} has the portal ${portals.join(', ')}, which only that machine reaches`,
        `write its address into portals of /etc/ashlar/ashlar.yaml on ${name}, and restart it`,
      );
    }
  }
  const versions = new Set(nodes.map(({ status }) => String(status?.['version'])));
  if (versions.size > 1) {
    tell(
      'care',
      `nodes run different versions: ${[...versions].join(', ')}`,
      'bring all to the newest',
    );
  }
}

function judgePools({ objects }: Facts, tell: Tell): void {
  for (const pool of objects.get('pools') ?? []) {
    const { name } = pool.metadata;
    const phase = String(pool.status?.['phase'] ?? 'Pending');
    const look = adviceOf(pool) || `ashlar describe pool ${name}`;
    if (phase === 'Degraded') {
      tell('care', `pool ${name} is Degraded: ${messageOf(pool)}`, look);
    } else if (phase !== 'Online') {
      tell(
        phase === 'Pending' ? 'care' : 'broken',
        `pool ${name} is ${phase}: ${messageOf(pool)}`,
        look,
      );
    }
    if (pool.status?.['backend'] === 'threads') {
      tell('care', `pool ${name} does without io_uring, and is slower for it`, look);
    }
    const [free, size] = [numberOf(pool, 'freeBytes'), numberOf(pool, 'capacityBytes')];
    if (free !== null && size !== null && size > 0 && free < size * 0.15) {
      tell(
        free < size * 0.05 ? 'broken' : 'care',
        `pool ${name} has ${percent(free, size)} free`,
        'fstrim on the hosts, delete old snapshots, or add devices (docs/operations.md, The pool is full)',
      );
    }
    const errors = (numberOf(pool, 'checksumErrors') ?? 0) + (numberOf(pool, 'ioErrors') ?? 0);
    if (errors > 0) {
      const what = `pool ${name} has had ${errors} errors of its devices since it was opened`;
      tell('care', what, `ashlar scrub pool ${name}; smartctl -a DEVICE`);
    }
  }
}

function judgeVolumes({ objects }: Facts, tell: Tell): void {
  for (const volume of objects.get('volumes') ?? []) {
    const { name } = volume.metadata;
    const state = String(volume.status?.['state'] ?? 'Init');
    const phase = String(volume.status?.['phase'] ?? 'Pending');
    if (phase === 'Ready' && state === 'Healthy') continue;
    const sessions = numberOf(volume, 'sessions') ?? 0;
    const used = sessions > 0 ? ` (${sessions} sessions use it)` : '';
    const isDown = phase === 'Failed' || state === 'Offline';
    const shown = phase === 'Failed' ? phase : state;
    const advice = adviceOf(volume);
    const message = messageOf(volume);
    // Under serve the condition says the advice once more: it is told once, where what to do is told.
    const why = message === advice ? countOf(volume) : `: ${message}`;
    tell(
      isDown ? 'broken' : 'care',
      `volume ${name} is ${shown}${used}${why}`,
      advice || (state === 'Rebuilding' ? 'wait' : `ashlar describe volume ${name}`),
    );
  }
}

function judgeReplicas({ objects }: Facts, tell: Tell): void {
  // A silent node says it once for all its replicas, and a volume for those of its own that its advice names.
  const named = new Map(
    (objects.get('volumes') ?? []).map((volume) => [volume.metadata.name, adviceOf(volume)]),
  );
  const silent = new Set(
    (objects.get('nodes') ?? [])
      .filter((node) => conditionOf(node, 'Ready')?.status !== 'True')
      .map(({ metadata }) => metadata.name),
  );
  for (const replica of objects.get('replicas') ?? []) {
    const phase = String(replica.status?.['phase'] ?? 'Pending');
    if (phase !== 'Failed' && phase !== 'Offline') continue;
    if (silent.has(String(replica.spec?.['nodeName']))) continue;
    const { name } = replica.metadata;
    if (named.get(String(replica.spec?.['volumeName']))?.includes(`Replica ${name} `)) continue;
    const todo = `ashlar describe replica ${name}`;
    tell('care', `replica ${name} is ${phase}: ${messageOf(replica)}`, todo);
  }
}

function judgeOthers({ objects, nowMs }: Facts, tell: Tell): void {
  for (const snapshot of objects.get('snapshots') ?? []) {
    if (snapshot.status?.['phase'] !== 'Failed') continue;
    const { name } = snapshot.metadata;
    tell(
      'care',
      `snapshot ${name} is Failed: ${messageOf(snapshot)}`,
      `ashlar describe snapshot ${name}`,
    );
  }
  for (const claim of objects.get('storagepoolclaims') ?? []) {
    if (claim.status?.['phase'] !== 'Failed') continue;
    const { name } = claim.metadata;
    tell(
      'care',
      `StoragePoolClaim ${name} is Failed: ${messageOf(claim)}`,
      `ashlar describe spc ${name}`,
    );
  }
  for (const claim of objects.get('persistentvolumeclaims') ?? []) {
    if (claim.status?.['phase'] === 'Bound') continue;
    const { name, namespace } = claim.metadata;
    const where = `${namespace}/${name}`;
    tell(
      'care',
      `claim ${where} is ${claim.status?.['phase'] ?? 'Pending'}: ${messageOf(claim)}`,
      `ashlar describe pvc ${name} -n ${namespace}`,
    );
  }
  for (const [plural, all] of objects) {
    for (const { metadata } of all) {
      const since = Date.parse(metadata.deletionTimestamp ?? '');
      if (!(nowMs - since > LONG_DELETION_MS)) continue;
      const held = (metadata.finalizers ?? []).join(', ');
      tell(
        'care',
        `${plural}/${metadata.name} has been going for ${Math.round((nowMs - since) / 60_000)} min, held by ${held}`,
        `ashlar describe ${plural} ${metadata.name} (docs/operations.md, An object does not go)`,
      );
    }
  }
}

function conditionOf({ status }: Seen, type: string): Condition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

/** Why it is not as it should be, in its own words. */
function messageOf({ status }: Seen): string {
  const conditions = status?.conditions ?? [];
  const wrong = conditions.find(({ type, status: is }) => is !== 'True' || type === 'Waiting');
  return (wrong ?? conditions[0])?.message || 'it does not say why';
}

function adviceOf({ status }: Seen): string {
  const { advice } = (status ?? {}) as { advice?: readonly string[] };
  return (advice ?? []).join(' ');
}

/** How many of its replicas are in sync, where it has several. */
function countOf({ status }: Seen): string {
  const { wanted = 0, inSync } = (status?.['replicas'] ?? {}) as {
    wanted?: number;
    inSync?: number;
  };
  return wanted > 1 && inSync !== undefined ? `: ${inSync} of ${wanted} replicas in sync` : '';
}

function numberOf({ status }: Seen, key: string): number | null {
  const value = status?.[key];
  return typeof value === 'number' ? value : null;
}

function percent(part: number, whole: number): string {
  return `${((part / whole) * 100).toFixed(1)} %`;
}

/** Samples of Prometheus' text format. */
export function parseMetrics(text: string): Sample[] {
  const found: Sample[] = [];
  for (const line of text.split('\n')) {
    const [, name = '', labels = '', value = ''] =
      /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name === '') continue;
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
    const read = pairs.map(([, key = '', quoted = '']) => [key, quoted.replaceAll(/\\(.)/g, '$1')]);
    found.push({ name, labels: Object.fromEntries(read), value: Number(value) });
  }
  return found;
}
