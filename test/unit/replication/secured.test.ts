// Who may speak to a replica: the shared secret and mutual TLS, over real sockets, with certificates made on the spot.
// Each refusal is looked at from both ends: the coordinator is told something within its deadline, and the replica serves
// whoever may come all the same.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { type Log, SystemClock, SystemRandom, silentLog, Turn } from '../../../src/base/index.ts';
import { DataBufferPool } from '../../../src/block/index.ts';
import type { TlsIdentity } from '../../../src/net/index.ts';
import { CoordinatorNode, ReplicaNode } from '../../../src/replication/index.ts';
import { MemoryPool } from '../../../src/store/index.ts';
import { DEFAULT_TIMEOUTS } from '../../../src/wire/index.ts';
import { ACluster, SECRET } from './cluster.ts';
import { alike, degraded, healthy, read, withVolume, write } from './whole.ts';

interface Security {
  readonly secret: Uint8Array | null;
  readonly tls: TlsIdentity | null;
}

/** A refused peer tries again until then. */
const PATIENCE_MS = 1200;
const folder = mkdtempSync(join(tmpdir(), 'ashlar-secured-'));
let ours: TlsIdentity;
let other: TlsIdentity;
let theirs: TlsIdentity;
let expired: TlsIdentity;

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
}

function authority(name: string): void {
  const subject = ['-subj', `/CN=${name}`, '-days', '2'];
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-keyout', `${name}.key`, '-out', `${name}.crt`, ...subject],
  );
}

function identity(name: string, signer: string, days = 2): TlsIdentity {
  openssl(
    ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`],
  );
  openssl(
    ...['x509', '-req', '-in', `${name}.csr`, '-CA', `${signer}.crt`, '-CAkey', `${signer}.key`],
    ...['-CAcreateserial', '-out', `${name}.crt`, '-days', String(days)],
  );
  const text = (file: string): string => readFileSync(join(folder, file), 'utf8');
  return { cert: text(`${name}.crt`), key: text(`${name}.key`), ca: text(`${signer}.crt`) };
}

before(() => {
  authority('our-ca');
  authority('their-ca');
  ours = identity('node-a', 'our-ca');
  other = identity('node-b', 'our-ca');
  expired = identity('node-c', 'our-ca', -1);
  theirs = identity('stranger', 'their-ca');
});

after(() => rmSync(folder, { recursive: true }));

async function withReplica(
  security: Security,
  work: (at: { host: string; port: number }) => Promise<void>,
): Promise<void> {
  const turn = new Turn();
  const node = new ReplicaNode({
    ...security,
    pool: new MemoryPool({ turn }),
    buffers: new DataBufferPool(new ArrayBuffer(8 * 2 ** 20)),
    turn,
    clock: new SystemClock(),
    random: new SystemRandom(),
    log: silentLog,
    node: 'replica',
    software: 'ashlar test',
    timeouts: DEFAULT_TIMEOUTS,
    leaseMs: 1000,
    maxConnections: 16,
  });
  const { port } = await node.start({ address: '127.0.0.1', port: 0 });
  try {
    await work({ host: '127.0.0.1', port });
  } finally {
    node.close();
  }
}

/** What a coordinator with this security gets to hear when it asks what replicas there are: `welcome`, or why not. */
async function asks(security: Security, at: { host: string; port: number }): Promise<string> {
  const coordinators = new CoordinatorNode({
    ...security,
    turn: new Turn(),
    clock: new SystemClock(),
    random: new SystemRandom(),
    log: silentLog,
    node: 'coordinator',
    software: 'ashlar test',
    timeouts: DEFAULT_TIMEOUTS,
    connectTimeoutMs: 1000,
    manageTimeoutMs: PATIENCE_MS,
  });
  try {
    await coordinators.manager.list(at);
    return 'welcome';
  } catch (error) {
    return (error as Error).message;
  }
}

const clear = (secret: Uint8Array | null): Security => ({ secret, tls: null });
const withTls = (tls: TlsIdentity, secret: Uint8Array | null = null): Security => ({ secret, tls });
const WRONG = Buffer.from('another secret, long enough too');

test('the shared secret: the right one is welcome; a wrong one, or none on either side, is refused and told so', async () => {
  await withReplica(clear(SECRET), async (at) => {
    assert.equal(await asks(clear(SECRET), at), 'welcome');
    assert.match(await asks(clear(WRONG), at), /secret/);
    assert.match(await asks(clear(null), at), /secret/);
    assert.equal(await asks(clear(SECRET), at), 'welcome', 'and after them too');
  });
  await withReplica(clear(null), async (at) => {
    // Whoever shares a secret does not speak to a node that cannot prove that it knows it.
    assert.match(await asks(clear(SECRET), at), /secret/);
    assert.equal(await asks(clear(null), at), 'welcome');
  });
});

test('mutual TLS: two nodes of one authority are welcome', async () => {
  await withReplica(withTls(ours), async (at) => {
    assert.equal(await asks(withTls(other), at), 'welcome');
    assert.equal(await asks(withTls(ours), at), 'welcome');
  });
});

test('mutual TLS: another authority is refused, from either side', async () => {
  await withReplica(withTls(ours), async (at) => {
    assert.notEqual(await asks(withTls(theirs), at), 'welcome');
    // Signed by another authority, and trusting ours: the replica refuses it by itself.
    assert.notEqual(await asks(withTls({ ...theirs, ca: ours.ca }), at), 'welcome');
    assert.equal(await asks(withTls(other), at), 'welcome');
  });
  // The coordinator refuses a node that says it is a replica and is of another authority.
  await withReplica(withTls({ ...theirs, ca: ours.ca }), async (at) => {
    assert.match(await asks(withTls(other), at), /unable to verify|certificate|self.signed/i);
  });
});

test('mutual TLS: a certificate that has expired is refused', async () => {
  await withReplica(withTls(ours), async (at) => {
    assert.notEqual(await asks(withTls(expired), at), 'welcome');
  });
  await withReplica(withTls(expired), async (at) => {
    assert.match(await asks(withTls(ours), at), /expired/);
  });
});

/** Ends how? `closed` with what came until then. */
async function end(socket: Socket): Promise<string> {
  let came = 0;
  socket.on('data', (b: Buffer) => {
    came += b.length;
  });
  const closed = await Promise.race([
    new Promise<boolean>((resolve) => socket.once('close', () => resolve(true))),
    new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 7000).unref()),
  ]);
  socket.destroy();
  return closed ? `closed after ${came} bytes` : 'left open';
}

test('mutual TLS: no client certificate, TLS 1.2, and plain text are turned away without a byte of the protocol', async () => {
  await withReplica(withTls(ours), async (at) => {
    const { ca, cert, key } = other;
    const known: [string, ConnectionOptions][] = [
      ['no certificate', { ca }],
      ['an old version', { ca, cert, key, maxVersion: 'TLSv1.2' }],
    ];
    for (const [what, options] of known) {
      const socket = connectTls({
        ...at,
        ...options,
        checkServerIdentity: () => undefined,
      });
      socket.on('error', () => {});
      assert.equal(await end(socket), 'closed after 0 bytes', what);
    }
    const plain = connect(at);
    plain.on('error', () => {});
    plain.write(Buffer.alloc(96, 0x41));
    const said = await end(plain);
    assert.match(said, /^closed after \d+ bytes$/); // A TLS alert is all that it may hear.
    assert.ok(Number(/\d+/.exec(said)![0]) <= 7, said);
    assert.notEqual(await asks(clear(null), at), 'welcome', 'a coordinator in the clear');
    assert.equal(await asks(withTls(other), at), 'welcome');
  });
  // And a coordinator that wants TLS does not fall back to plain text.
  await withReplica(clear(null), async (at) => {
    assert.notEqual(await asks(withTls(other), at), 'welcome');
  });
});

test('TLS and a secret together: both must be right', async () => {
  await withReplica(withTls(ours, SECRET), async (at) => {
    assert.equal(await asks(withTls(other, SECRET), at), 'welcome');
    assert.match(await asks(withTls(other, WRONG), at), /secret/);
    assert.match(await asks(withTls(other), at), /secret/);
    assert.notEqual(await asks(withTls(theirs, SECRET), at), 'welcome');
  });
});

/** A replica comes back with `wrong`: what the volume's operator reads, and the coordinator's log has; then the right one. */
async function comesBackWrong(
  good: Security,
  wrong: Security,
): Promise<{ said: string; logged: string[] }> {
  const logged: string[] = [];
  const log: Log = {
    ...silentLog,
    child: () => log,
    warn: (facts, message) => logged.push(`${message}: ${JSON.stringify(facts)}`),
  };
  const cluster = new ACluster(3, log, good);
  let said = '';
  await withVolume(cluster, { blocks: 256, replicas: 3 }, async () => {
    const [, away] = cluster.nodes;
    away!.stop();
    await degraded(cluster);
    await away!.start(wrong);
    await cluster.until('it is told why', () => {
      said = cluster.volume!.advice().join('\n');
      return /v-r2/.test(said) && !/ECONNREFUSED|closed by the peer|leaving|being tried/.test(said);
    });
    away!.stop();
    await away!.start();
    await healthy(cluster);
  });
  return { said, logged };
}

test('a replica with another secret is not said to be down: the advice and the log name the secret', async () => {
  const { said, logged } = await comesBackWrong(clear(SECRET), clear(WRONG));
  assert.match(
    said,
    /v-r2 is there and not let in .*secrets of the two sides differ.*replication\.secretFile/,
  );
  assert.doesNotMatch(said, /is its node up/);
  const tries = logged.filter((line) =>
    /a replica cannot be reached: .*secrets of the two sides differ/.test(line),
  );
  assert.equal(tries.length, 1, 'once, however often it is tried');
});

test('a replica with a certificate that has expired is not said to be down: the advice names the certificate', async () => {
  const { said } = await comesBackWrong(withTls(ours), withTls(expired));
  assert.match(said, /v-r2 is there, and .*certificate \(.*expired.*"Certificates"/);
  assert.doesNotMatch(said, /is its node up/);
});

test('a whole volume over mutual TLS: large and small I/O, a replica that goes, comes back and is rebuilt', async () => {
  const cluster = new ACluster(3, silentLog, { secret: null, tls: ours });
  await withVolume(cluster, { blocks: 2048, replicas: 3 }, async (volume) => {
    for (let lba = 0; lba < 2048; lba += 3) await write(cluster, volume, lba, 1 + (lba % 200));
    cluster.nodes[1]!.stop();
    await degraded(cluster);
    for (let lba = 0; lba < 2048; lba += 5) await write(cluster, volume, lba, 201 + (lba % 50));
    await cluster.nodes[1]!.start();
    await healthy(cluster);
    const found = await alike(cluster, 2048);
    assert.deepEqual([found[5], found[3], found[1]], [206, 4, 0]);
    assert.equal(await read(cluster, volume, 2045), 246);
  });
});
