// What `ashlar drain` prints while a node is emptied, what it sends, and how it ends. The server is played: each look at the
// replicas is the next of a row of states.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));

interface Volume {
  readonly name: string;
  /** Its replicas on the node. */
  readonly replicas: number;
  readonly served: boolean;
  readonly reason: string;
  readonly message: string;
}
const db: Volume = {
  name: 'db',
  replicas: 1,
  served: true,
  reason: 'Healthy',
  message: 'all well',
};
const stuck: Volume = {
  name: 'log',
  replicas: 1,
  served: false,
  reason: 'ReplicasMissing',
  message: '3 of 3 replicas in sync; the one on n1 has no other place: pool p2 is full',
};

const servers = new Set<Server>();
after(() => {
  for (const server of servers) server.close();
});

/** The states one after the other, the last one for ever. */
async function drain(states: readonly (readonly Volume[])[], ...flags: string[]) {
  const patches: unknown[] = [];
  let look = -1;
  const server = createServer((request, response) => {
    const answer = (body: object): void => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(body));
    };
    const url = request.url ?? '';
    if (request.method === 'PATCH') {
      let text = '';
      request.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      request.on('end', () => {
        patches.push([url, JSON.parse(text)]);
        answer({});
      });
      return;
    }
    if (url.endsWith('/replicas')) look = Math.min(look + 1, states.length - 1);
    const volumes = states[Math.max(0, look)]!;
    if (url.endsWith('/replicas')) {
      const items = volumes.flatMap(({ name, replicas }) => [
        ...Array.from({ length: replicas }, (_, index) => replicaOf(name, 'n1', index)),
        replicaOf(name, 'n2', 9),
      ]);
      answer({ items });
    } else answer({ items: volumes.map(objectOf) });
  });
  servers.add(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return await new Promise<{ code: number; out: string[]; err: string; patches: unknown[] }>(
    (resolve) => {
      const env = { ...process.env, ASHLAR_API: `127.0.0.1:${port}` };
      execFile(process.execPath, [MAIN, 'drain', 'n1', ...flags], { env }, (error, out, err) => {
        const code = error === null ? 0 : Number(error.code);
        resolve({ code, out: out.trimEnd().split('\n'), err, patches });
      });
    },
  );
}

const replicaOf = (volumeName: string, nodeName: string, index: number): object => ({
  metadata: { name: `${volumeName}-${nodeName}-${index}` },
  spec: { nodeName, volumeName },
});
const objectOf = ({ name, served, reason, message }: Volume): object => ({
  metadata: { name },
  status: {
    target: { nodeName: served ? 'n1' : 'n2' },
    conditions: [{ type: 'Healthy', reason, message }],
  },
});

test('what is left is told when it changes, what cannot leave at once and once, and the end', async () => {
  const moved = { ...stuck, message: 'moving', reason: 'Rebuilding' };
  const states = [[db, stuck], [db, stuck], [moved], []];
  const { code, out, err, patches } = await drain(states);
  assert.deepEqual(out, [
    'node/n1 draining',
    '2 replicas and 1 coordinator are left',
    `volume/log: ${stuck.message}`,
    '1 replica and 0 coordinators are left',
    'node/n1 drained',
  ]);
  assert.deepEqual([code, err], [0, '']);
  assert.deepEqual(patches, [
    ['/apis/ashlar.io/v1/nodes/n1', { spec: { unschedulable: true, drain: true } }],
  ]);
});

test('a reason that changes is told anew', async () => {
  const other = { ...stuck, message: 'no other place: pool p2 is gone' };
  const { out } = await drain([[stuck], [other], [other], []]);
  assert.deepEqual(
    out.filter((line) => line.startsWith('volume/')),
    [`volume/log: ${stuck.message}`, `volume/log: ${other.message}`],
  );
});

test('who has waited long enough hears of every volume that is left, and why', async () => {
  const { code, out, err } = await drain([[db, stuck]], '--timeout', '1s');
  assert.notEqual(code, 0);
  assert.deepEqual(out.slice(-2), [`volume/db: ${db.message}`, `volume/log: ${stuck.message}`]);
  assert.match(err, /node n1 is not empty after 1s: 2 replicas and 1 coordinator are left/);
});

test('who does not want to wait does not', async () => {
  const { code, out, patches } = await drain([[db]], '--timeout', '0');
  assert.deepEqual([code, out, patches.length], [0, ['node/n1 draining'], 1]);
});
