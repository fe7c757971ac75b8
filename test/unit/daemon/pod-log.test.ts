// Goal: log lines of a part of another node are had from that node, over whatever the APIs are served over; and nobody but a
// node with a certificate of the nodes' authority gets in without a token, nor that one any further.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type RequestOptions, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import {
  buildHttp,
  type KindDefinition,
  KindRegistry,
  NAMESPACES,
  NODE_SERVER_NAME,
  type PeerIdentity,
  ResourceServer,
  TokenAccess,
} from '../../../src/apiserver/index.ts';
import { silentLog } from '../../../src/base/index.ts';
import { podLog } from '../../../src/daemon/pod-log.ts';
import { type Node, POD, type Pod } from '../../../src/kinds/index.ts';
import { LogBook } from '../../../src/node/index.ts';
import { MemoryObjectStore } from '../../../src/objects/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ashlar-pod-log-'));
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const openssl = (...args: string[]) =>
  execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
const TOKEN = 'read-token-0123456789';
const PATH = '/api/v1/namespaces/openebs/pods/far/log';
let theirs: FastifyInstance;
let address = '';

function identity(name: string, authority: string): PeerIdentity {
  const text = (file: string): string => readFileSync(join(folder, file), 'utf8');
  return { cert: text(`${name}.crt`), key: text(`${name}.key`), ca: text(`${authority}.crt`) };
}

const POD_FIELDS = {
  metadata: { name: 'far', namespace: 'openebs' },
  spec: { nodeName: 'node-2', containers: [{ name: 'x' }] },
};

before(async () => {
  for (const ca of ['nodes', 'api', 'strangers']) {
    openssl(
      'req',
      '-x509',
      ...EC,
      '-keyout',
      `${ca}.key`,
      '-out',
      `${ca}.crt`,
      '-subj',
      `/CN=${ca}`,
    );
  }
  for (const [name, by] of [
    ['one', 'nodes'],
    ['two', 'nodes'],
    ['served', 'api'],
    ['stranger', 'strangers'],
  ] as const) {
    openssl('req', ...EC, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const signer = ['-CA', `${by}.crt`, '-CAkey', `${by}.key`, '-CAcreateserial'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...signer, '-out', `${name}.crt`, '-days', '2');
  }
  const registry = new KindRegistry();
  const server = new ResourceServer({
    registry,
    store: new MemoryObjectStore(),
    log: silentLog,
    now: () => new Date(),
  });
  const pods = {
    ...POD,
    verbs: ['get', 'list', 'create'],
    log: async function* (pod: Pod, { tailLines }: { tailLines: number | null }) {
      yield `a line of ${pod.metadata.name}, the last ${tailLines}\n`;
    },
  };
  for (const kind of [NAMESPACES, pods]) registry.register(kind as unknown as KindDefinition);
  await server.create(NAMESPACES, { metadata: { name: 'openebs' } });
  await server.create(POD, POD_FIELDS);
  theirs = await buildHttp({
    server,
    version: '0.1.0',
    loopbackOnly: true,
    access: new TokenAccess([{ name: 'reader', role: 'read', token: TOKEN }]),
    tls: identity('served', 'api'),
    peers: identity('two', 'nodes'),
  });
  await theirs.listen({ host: '127.0.0.1', port: 0 });
  address = `127.0.0.1:${(theirs.server.address() as AddressInfo).port}`;
});
after(async () => {
  await theirs.close();
  rmSync(folder, { recursive: true });
});

/** What node-1 gets of node-2's, where nodes know each other so. */
async function linesOf(peers: PeerIdentity | null, asked: object = {}): Promise<string> {
  const client = { get: async () => ({ status: { apiAddress: address } }) as Node } as never;
  const book = new LogBook();
  const log = podLog({ book, client, nodeName: 'node-1', isSecured: true, peers });
  const pod = { apiVersion: 'v1', kind: 'Pod', ...POD_FIELDS } as unknown as Pod;
  const options = { tailLines: 3, follow: false, timestamps: false, limitBytes: null };
  const more = { sinceSeconds: null, sinceTime: null, container: null, previous: false };
  let text = '';
  const { signal } = new AbortController();
  for await (const part of log(pod, { ...options, ...more, ...asked, signal })) text += part;
  return text;
}

test('a node is given the lines of another one for its certificate', async () => {
  assert.equal(await linesOf(identity('one', 'nodes')), 'a line of far, the last 3\n');
});

test('without certificates for nodes it says whom to ask', async () => {
  await assert.rejects(linesOf(null), /node-2 has these lines itself.*replication\.tls/);
});

test('one who is not a node of theirs is none, and does not take the other for one', async () => {
  const mine = identity('stranger', 'nodes');
  await assert.rejects(linesOf(mine), /node node-2.*(Unauthorized|cannot be asked)/);
  await assert.rejects(
    linesOf(identity('one', 'strangers')),
    /node-2 \(127\.0\.0\.1:\d+\) cannot be asked for these lines: .*(certificate|signature)/,
  );
});

test('a process before this one, and a container that the pod has not, are refused', async () => {
  const mine = identity('one', 'nodes');
  await assert.rejects(linesOf(mine, { previous: true }), /previous terminated container "x"/);
  await assert.rejects(linesOf(mine, { container: 'y' }), /container y is not valid for pod far/);
  assert.match(await linesOf(mine, { container: 'x' }), /^a line/);
});

/** The status code that the API answers with. */
function ask(path: string, options: RequestOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    const url = `https://${address}${path}`;
    const asked = request(
      url,
      { agent: false, rejectUnauthorized: false, ...options },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      },
    );
    asked.on('error', reject);
    asked.end();
  });
}

test('the certificate opens the logs, by the name of nodes, and nothing else', async () => {
  const { cert, key } = identity('one', 'nodes');
  const node = { cert, key, servername: NODE_SERVER_NAME };
  assert.equal(await ask(PATH, node), 200);
  assert.equal(await ask('/api/v1/namespaces/openebs/pods', node), 403);
  assert.equal(await ask('/api/v1/namespaces/openebs/pods/far', node), 403);
  assert.equal(await ask(PATH, { ...node, method: 'DELETE' }), 403);
  assert.equal(await ask(PATH, { cert, key }), 401, 'by another name');
  assert.equal(await ask(PATH, { servername: NODE_SERVER_NAME }), 401, 'without a certificate');
  const stranger = identity('stranger', 'nodes');
  const asNode = { cert: stranger.cert, key: stranger.key, servername: NODE_SERVER_NAME };
  assert.equal(await ask(PATH, asNode), 401, 'with one of somebody else');
  // People are served as before: by the API's own certificate, for a token.
  const ca = readFileSync(join(folder, 'api.crt'), 'utf8');
  const person = { ca, rejectUnauthorized: true, checkServerIdentity: () => undefined };
  assert.equal(await ask(PATH, person), 401);
  const headers = { authorization: `Bearer ${TOKEN}` };
  assert.equal(await ask(PATH, { ...person, headers }), 200);
});
