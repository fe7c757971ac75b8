// Reads the configuration file. Every mistake is found in one pass, and told with its line and column, the key, what is
// wrong with it and what to write instead: `ashlar.yaml:7:9: pool.size: '5Gx' is not a quantity; write it like 5Gi`.
import { readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { type Account, MIN_TOKEN_CHARACTERS, ROLES } from '../../apiserver/index.ts';
import { nearestName } from '../../base/index.ts';
import { composeReplication } from './replication.ts';
import {
  BadValue,
  type ChapConfig,
  CONFIG_KEYS,
  type Config,
  isKey,
  isLoopback,
  readAddress,
  type Section,
} from './schema.ts';

export const STANDARD_CONFIG_PATH = '/etc/ashlar/ashlar.yaml';
/** A configuration is a page or two. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/** Findings, one a line, ready to be shown. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly findings: readonly string[];

  constructor(findings: readonly string[]) {
    super(findings.join('\n'));
    this.findings = findings;
  }
}

/** What the command line says; it overrides the file. */
export interface ConfigFlags {
  readonly config?: string;
  readonly data?: string;
  readonly portal?: readonly string[];
  readonly api?: string;
  readonly logLevel?: string;
  readonly takeOver?: boolean;
}

export interface LoadedConfig {
  readonly config: Config;
  /** The file that was read, or null: the embedded default. */
  readonly source: string | null;
}

/** Reads `--config`, else the standard file if there is one, else takes the defaults; then applies the flags. */
export function loadConfig(flags: ConfigFlags, standardPath = STANDARD_CONFIG_PATH): LoadedConfig {
  let source: string | null = flags.config ?? null;
  let text = '';
  try {
    if (source !== null || isFile(standardPath)) {
      source = source ?? standardPath;
      if (statSync(source).size > MAX_CONFIG_BYTES) {
        throw new ConfigError([`${source}: larger than a configuration can be (1 MiB)`]);
      }
      text = readFileSync(source, 'utf8');
    }
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'is not there' : `cannot be read: ${message}`;
    throw new ConfigError([`${source}: ${why}`]);
  }
  return { config: parseConfig(text, source, flags), source };
}

/** For tests and `config check`: the text of a file, and the name to show it by. */
export function parseConfig(text: string, source: string | null, flags: ConfigFlags = {}): Config {
  const findings: string[] = [];
  const lines = new LineCounter();
  const shown = source ?? 'default';
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const place = (offset: number | undefined): string => {
    if (offset === undefined) return shown;
    const { line, col } = lines.linePos(offset);
    return `${shown}:${line}:${col}`;
  };
  for (const error of document.errors) findings.push(`${place(error.pos[0])}: ${error.message}`);
  if (findings.length > 0) throw new ConfigError(findings);

  const at = new Map<string, number | undefined>();
  const values = readSection(CONFIG_KEYS, document.contents, '', {
    finding: (offset, message) => findings.push(`${place(offset)}: ${message}`),
    place: (path, offset) => at.set(path, offset),
  });
  if (findings.length > 0) throw new ConfigError(findings);

  const wrong = (path: string, message: string): void => {
    findings.push(`${place(at.get(path))}: ${path}: ${message}`);
  };
  const config = compose(values as unknown as Values, source, flags, wrong);
  if (findings.length > 0) throw new ConfigError(findings);
  return config;
}

/** The shape that CONFIG_KEYS reads into. */
type Values = ValuesOf<typeof CONFIG_KEYS>;
type ValuesOf<S> = {
  readonly [K in keyof S]: S[K] extends { read: (value: unknown) => infer T } ? T : ValuesOf<S[K]>;
};

function compose(
  values: Values,
  source: string | null,
  flags: ConfigFlags,
  wrong: (path: string, message: string) => void,
): Config {
  const flagged = <T>(flag: string, value: unknown, read: (value: unknown) => T, other: T): T => {
    if (value === undefined) return other;
    try {
      return read(value);
    } catch (error) {
      wrong(`--${flag}`, (error as Error).message);
      return other;
    }
  };
  const dataDir = resolve(
    flags.data ?? relativeTo(source === null ? '.' : dirname(source), values.dataDir),
  );
  const portals = flags.portal?.map((portal) =>
    flagged('portal', portal, readAddress(3260), values.portals[0]!),
  );
  const address = flagged('api', flags.api, readAddress(9808), values.api.address);
  const base = source === null ? '.' : dirname(source);
  const security = composeApi(values.api, base, wrong);
  if (!isLoopback(address) && (security.tls === null || security.accounts === null)) {
    wrong(
      flags.api === undefined ? 'api.address' : '--api',
      `${address.host} is not a loopback address: there the API wants api.tls (certFile, keyFile) and api.tokensFile; or use 127.0.0.1`,
    );
  }
  const chap = (path: string, pair: { user: string | null; secretFile: string | null }) =>
    readChap(path, pair, source, wrong);
  const discovery = {
    chap: chap('discovery.chap', values.discovery.chap),
    mutualChap: chap('discovery.mutualChap', values.discovery.mutualChap),
  };
  if (discovery.mutualChap !== null && discovery.chap === null) {
    wrong('discovery.mutualChap', 'needs discovery.chap: the initiator proves itself first');
  }
  const { iscsi } = values;
  const { name, size } = values.firstVolume;
  return {
    node: values.node,
    dataDir,
    pool: {
      path: relativeTo(dataDir, values.pool.path),
      sizeBytes: values.pool.size,
      cacheBytes: values.pool.cache,
      sparse: values.pool.sparse,
      takeOver: flags.takeOver === true,
      owner: values.pool.owner,
      spaceThresholdPercent: values.pool.spaceThreshold,
    },
    memory: { buffersBytes: values.memory.buffers },
    cpu: values.cpu,
    portals: portals ?? values.portals,
    api: { address, ...security },
    objects: composeObjects(values.objects, dataDir, base, wrong),
    iqnPrefix: values.iqnPrefix,
    volumes: values.volumes,
    // Without a file this is somebody's first minute with ashlar: there should be a disk to log in to.
    firstVolume: name !== null ? { name, size } : source === null ? { name: 'demo', size } : null,
    iscsi: {
      nopIntervalMs: iscsi.nopInterval,
      nopTimeoutMs: iscsi.nopTimeout,
      loginTimeoutMs: iscsi.loginTimeout,
      drainTimeoutMs: iscsi.drainTimeout,
      maxSessions: iscsi.maxSessions,
      maxLogins: iscsi.maxLogins,
      maxLoginsPerAddress: iscsi.maxLoginsPerAddress,
    },
    devices: {
      include: values.devices.include,
      exclude: values.devices.exclude,
      sparseFolder:
        values.devices.sparseFolder === null
          ? null
          : relativeTo(dataDir, values.devices.sparseFolder),
    },
    directoryPool: {
      path:
        values.directoryPool.path === null ? null : relativeTo(dataDir, values.directoryPool.path),
      sizeBytes: values.directoryPool.size,
    },
    control: {
      leaseMs: values.control.lease,
      nodeSilentMs: values.control.nodeSilent,
      nodeGoneMs: values.control.nodeGone,
      placePatienceMs: values.control.placePatience,
    },
    discovery,
    replication: composeReplication(
      values.replication,
      (path) => relativeTo(source === null ? '.' : dirname(source), path),
      (host) => isLoopback({ host, port: 0 }),
      wrong,
    ),
    log: {
      level: flagged('log-level', flags.logLevel, CONFIG_KEYS.log.level.read, values.log.level),
    },
  };
}

type Wrong = (path: string, message: string) => void;

function composeApi(
  api: Values['api'],
  base: string,
  wrong: Wrong,
): Omit<Config['api'], 'address'> {
  const { certFile, keyFile } = api.tls;
  if ((certFile === null) !== (keyFile === null))
    wrong('api.tls', 'needs both certFile and keyFile');
  const tls =
    certFile === null || keyFile === null
      ? null
      : { certFile: relativeTo(base, certFile), keyFile: relativeTo(base, keyFile) };
  if (api.tokensFile === null) return { tls, accounts: null };
  if (tls === null) wrong('api.tokensFile', 'needs api.tls: a token that anybody can read is none');
  const { tokensFile } = api;
  let text = '';
  try {
    text = readFileSync(relativeTo(base, tokensFile), 'utf8');
  } catch (error) {
    wrong('api.tokensFile', `cannot be read: ${(error as Error).message}`);
    return { tls, accounts: [] };
  }
  return { tls, accounts: readAccounts(text, (message) => wrong('api.tokensFile', message)) };
}

/** A line an account: ROLE NAME TOKEN; empty lines and those that begin with # are skipped. */
function readAccounts(text: string, bad: (message: string) => void): Account[] {
  const accounts: Account[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const [role = '', name = '', token = '', ...more] = line.trim().split(/\s+/);
    const known = ROLES.find((one) => one === role);
    const at = `line ${index + 1}`;
    // The token itself never enters a message.
    if (known === undefined) bad(`${at}: the role is none of ${ROLES.join(', ')}`);
    else if (token === '' || more.length > 0) bad(`${at}: is not 'ROLE NAME TOKEN'`);
    else if (token.length < MIN_TOKEN_CHARACTERS) {
      bad(`${at}: the token of ${name} has less than ${MIN_TOKEN_CHARACTERS} characters`);
    } else accounts.push({ role: known, name, token });
  }
  if (accounts.length === 0) bad('names nobody: nobody could do anything');
  return accounts;
}

function composeObjects(
  objects: Values['objects'],
  dataDir: string,
  base: string,
  wrong: Wrong,
): Config['objects'] {
  if (objects.store === 'embedded') {
    return { store: 'embedded', path: relativeTo(dataDir, objects.path) };
  }
  const { endpoints, prefix, caFile, certFile, keyFile } = objects.etcd;
  if (endpoints.length === 0) wrong('objects.etcd.endpoints', 'is empty; name at least one');
  if ((certFile === null) !== (keyFile === null)) {
    wrong('objects.etcd', 'needs both certFile and keyFile, or neither');
  }
  const file = (name: string, path: string | null) =>
    path === null ? {} : { [name]: relativeTo(base, path) };
  const tls = {
    ...file('caFile', caFile),
    ...file('certFile', certFile),
    ...file('keyFile', keyFile),
  };
  const isTls = Object.keys(tls).length > 0;
  return { store: 'etcd', etcd: { endpoints, prefix, ...(isTls ? { tls } : {}) } };
}

/** Secrets stand in files of their own, that only root can read: a configuration gets copied about. */
function readChap(
  path: string,
  pair: { user: string | null; secretFile: string | null },
  source: string | null,
  wrong: (path: string, message: string) => void,
): ChapConfig | null {
  const { user, secretFile } = pair;
  if (user === null && secretFile === null) return null;
  if (user === null || secretFile === null) {
    wrong(path, 'needs both user and secretFile');
    return null;
  }
  try {
    const file = relativeTo(source === null ? '.' : dirname(source), secretFile);
    const secret = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    if (Buffer.byteLength(secret) >= 12 && Buffer.byteLength(secret) <= 255)
      return { user, secret };
    wrong(`${path}.secretFile`, 'holds a secret that is not 12 to 255 bytes long');
  } catch (error) {
    wrong(`${path}.secretFile`, `cannot be read: ${(error as Error).message}`);
  }
  return null;
}

interface Findings {
  finding(offset: number | undefined, message: string): void;
  place(path: string, offset: number | undefined): void;
}

function readSection(
  section: Section,
  node: Node | null | undefined,
  path: string,
  findings: Findings,
): Record<string, unknown> {
  const within = (name: string): string => (path === '' ? name : `${path}.${name}`);
  const given = new Map<string, Node | null>();
  findings.place(path, node?.range?.[0]);
  const empty = node === null || node === undefined || (isScalar(node) && node.value === null);
  if (!empty && !isMap(node)) {
    const name = path === '' ? 'the file' : path;
    findings.finding(node.range?.[0], `${name}: must be a section with keys below it`);
  } else if (isMap(node)) {
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : '';
      const offset = (key as Node).range?.[0];
      if (!Object.hasOwn(section, name)) {
        findings.finding(offset, `${within(name)}: unknown key${suggestion(name, section)}`);
      } else {
        given.set(name, (value as Node | null) ?? null);
        findings.place(within(name), (value as Node | null)?.range?.[0] ?? offset);
      }
    }
  }
  const values: Record<string, unknown> = {};
  for (const [name, entry] of Object.entries(section)) {
    const value = given.get(name);
    if (!isKey(entry)) {
      values[name] = readSection(entry, value, within(name), findings);
    } else if (value === undefined || value === null || (isScalar(value) && value.value === null)) {
      if (entry.standard === null)
        findings.finding(node?.range?.[0], `${within(name)}: is required`);
      else values[name] = entry.standard();
    } else {
      try {
        values[name] = entry.read(
          isScalar(value) || isSeq(value) || isMap(value) ? value.toJSON() : value,
        );
      } catch (error) {
        if (!(error instanceof BadValue)) throw error;
        findings.finding(value.range?.[0], `${within(name)}: ${error.message}`);
      }
    }
  }
  return values;
}

function suggestion(name: string, section: Section): string {
  const known = Object.keys(section);
  const near = nearestName(name, known);
  if (near !== null) return `; did you mean ${near}?`;
  return `; known here: ${known.join(', ')}`;
}

function relativeTo(base: string, path: string): string {
  return isAbsolute(path) ? path : join(base, path);
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
