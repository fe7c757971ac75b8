// Goal: certificates that are renewed in their files hold for new connections, without a restart, on both ends and at the
// API; a renewal that went wrong changes nothing.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import {
  buildHttp,
  KindRegistry,
  NAMESPACES,
  ResourceServer,
} from '../../../src/apiserver/index.ts';
import { SystemClock, silentLog, Turn } from '../../../src/base/index.ts';
import { FollowedCertificates, followTls } from '../../../src/daemon/certificates.ts';
import { dial, Listener } from '../../../src/net/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-certificates-'));
const at = (name: string): string => join(folder, name);
const clock = new SystemClock();
const turn = new Turn();

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
}
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function authority(name: string): void {
  openssl(
    'req',
    '-x509',
    ...EC,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.crt`,
    '-subj',
    `/CN=${name}`,
  );
}

function certificate(name: string, signer: string): void {
  openssl('req', ...EC, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
  const by = ['-CA', `${signer}.crt`, '-CAkey', `${signer}.key`, '-CAcreateserial'];
  openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-out', `${name}.crt`, '-days', '2');
}

/** As certificate managers do: each file is replaced by a rename. */
function install(name: string, signer: string): void {
  for (const [from, to] of [
    [`${name}.crt`, 'used.crt'],
    [`${name}.key`, 'used.key'],
    [`${signer}.crt`, 'used-ca.crt'],
  ] as const) {
    copyFileSync(at(from), at('next'));
    renameSync(at('next'), at(to));
  }
}

before(() => {
  authority('old-ca');
  authority('new-ca');
  certificate('first', 'old-ca');
  certificate('second', 'new-ca');
});
after(() => rmSync(folder, { recursive: true }));

const followed = (): FollowedCertificates =>
  new FollowedCertificates({
    certFile: at('used.crt'),
    keyFile: at('used.key'),
    caFile: at('used-ca.crt'),
  });

/** What became of a connection: '' or why there is none. */
function attempt(port: number, tls: Parameters<typeof dial>[0]['tls']): Promise<string> {
  return new Promise((resolve) => {
    dial({ address: '127.0.0.1', port, timeoutMs: 5000, turn, tls }, (transport, error) => {
      if (transport === null) {
        resolve(error);
        return;
      }
      // The server judges the certificate after the client thinks that it is connected.
      let why = '';
      transport.start({
        onBytes: () => {},
        onDrained: () => {},
        onClosed: () => {
          why = 'closed';
        },
      });
      setTimeout(() => {
        resolve(why);
        transport.destroy();
      }, 150);
    });
  });
}

test('a renewed certificate, of another authority, holds on both ends for new connections', async () => {
  install('first', 'old-ca');
  const old = {
    cert: readFileSync(at('first.crt'), 'utf8'),
    key: readFileSync(at('first.key'), 'utf8'),
    ca: readFileSync(at('old-ca.crt'), 'utf8'),
  };
  const tls = followed();
  const listener = new Listener({
    turn,
    log: silentLog,
    maxConnections: 8,
    onConnection: () => {},
    tls,
  });
  const { port } = await listener.listen({ address: '127.0.0.1', port: 0 });
  assert.equal(await attempt(port, tls), '');
  assert.equal(await attempt(port, old), '');

  install('second', 'new-ca');
  tls.renew(silentLog);
  assert.equal(await attempt(port, tls), '', 'both ends have the new ones');
  assert.notEqual(await attempt(port, old), '', 'the old authority is none any more');
  listener.close();
});

test('a renewal that cannot be used is told once and changes nothing; mended, it is taken', () => {
  install('first', 'old-ca');
  const tls = followed();
  const told: string[] = [];
  const log = {
    ...silentLog,
    warn: (_fields: object, text: string) => told.push(text),
    info: (_fields: object, text: string) => told.push(text),
  };
  const before = tls.cert;
  tls.renew(log);
  assert.deepEqual(told, [], 'nothing is new');
  // The certificate is there already, its key not yet.
  copyFileSync(at('second.crt'), at('used.crt'));
  tls.renew(log);
  tls.renew(log);
  assert.equal(tls.cert, before);
  assert.deepEqual(told, ['the new certificate cannot be used; the old one stays in use']);
  writeFileSync(at('used.key'), 'nonsense');
  tls.renew(log);
  rmSync(at('used.key'));
  tls.renew(log);
  tls.renew(log);
  assert.equal(tls.cert, before);
  copyFileSync(at('second.key'), at('used.key'));
  let heard = 0;
  tls.onRenewed(() => {
    heard += 1;
  });
  tls.renew(log);
  tls.renew(log);
  assert.equal(tls.cert, readFileSync(at('second.crt'), 'utf8'));
  assert.equal(heard, 1);
  assert.equal(told.at(-1), 'a new certificate is used for new connections');
});

test('the API shows its renewed certificate to who connects anew', async () => {
  install('first', 'old-ca');
  const tls = new FollowedCertificates({
    certFile: at('used.crt'),
    keyFile: at('used.key'),
    caFile: null,
  });
  const registry = new KindRegistry();
  registry.register(NAMESPACES as never);
  const server = new ResourceServer({
    registry,
    store: new MemoryObjectStore(),
    log: silentLog,
    now: () => new Date(),
  });
  const app = await buildHttp({ server, version: '0.1.0', loopbackOnly: true, access: null, tls });
  const stop = followTls(tls, app, clock, silentLog);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const shown = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      });
      socket.once('error', reject);
    });
  assert.equal(await shown(), 'first');
  install('second', 'new-ca');
  tls.renew(silentLog);
  assert.equal(await shown(), 'second');
  stop();
  await app.close();
});
