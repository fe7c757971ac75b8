// How long the API takes to list and to create, with as many objects as a large machine has.
//
//   node dist/bench/api.js [--volumes 1000] [--rounds 7]
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  buildHttp,
  EVENTS,
  type KindDefinition,
  KindRegistry,
  NAMESPACES,
  ResourceServer,
} from '../src/apiserver/index.ts';
import { silentLog } from '../src/base/index.ts';
import { allKinds, REPLICA, VOLUME } from '../src/kinds/index.ts';
import { openEmbeddedStore } from '../src/objects/index.ts';

const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      volumes: { type: 'string', default: '1000' },
      rounds: { type: 'string', default: '7' },
    },
  });
  const volumes = Number(values.volumes);
  const rounds = Number(values.rounds);
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-bench-api-'));
  const store = await openEmbeddedStore(join(folder, 'objects'));
  const registry = new KindRegistry();
  for (const kind of [...allKinds(store), NAMESPACES, EVENTS])
    registry.register(kind as KindDefinition);
  const server = new ResourceServer({ registry, store, log: silentLog, now: () => new Date() });
  await server.create(NAMESPACES, { metadata: { name: 'default' } });
  const made: number[] = [];
  for (let n = 0; n < volumes; n += 1) {
    const name = `volume-${String(n).padStart(5, '0')}`;
    const before = performance.now();
    await server.create(VOLUME, { metadata: { name }, spec: { size: '1Gi', replicaCount: 3 } });
    made.push(performance.now() - before);
    for (const letter of ['a', 'b', 'c']) {
      const spec = {
        volumeName: name,
        nodeName: `node-${letter}`,
        poolName: `pool-${letter}`,
        size: '1Gi',
      };
      await server.create(REPLICA, { metadata: { name: `${name}-${letter}` }, spec });
    }
  }
  const app = await buildHttp({ server, version: '0.0.0', loopbackOnly: true, access: null });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/apis/ashlar.io/v1`;
  const lines: string[] = [`create a volume: ${shown(made)}`];
  for (const [what, path, accept] of [
    [`${volumes} volumes as JSON`, '/volumes', 'application/json'],
    [`${volumes} volumes as a table`, '/volumes', TABLE],
    [`${3 * volumes} replicas as JSON`, '/replicas', 'application/json'],
    [`${3 * volumes} replicas as a table`, '/replicas', TABLE],
    [
      `${3 * volumes} replicas, one volume's by field`,
      '/replicas?fieldSelector=metadata.name%3Dvolume-00007-a',
      TABLE,
    ],
  ] as const) {
    const times: number[] = [];
    let bytes = 0;
    for (let round = 0; round < rounds; round += 1) {
      const before = performance.now();
      const answer = await fetch(base + path, { headers: { accept } });
      bytes = (await answer.arrayBuffer()).byteLength;
      times.push(performance.now() - before);
    }
    lines.push(`list ${what}: ${shown(times)} (${(bytes / 2 ** 20).toFixed(2)} MiB)`);
  }
  lines.push(`resident: ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB`);
  process.stdout.write(`${lines.join('\n')}\n`);
  await app.close();
  await store.close();
  rmSync(folder, { recursive: true });
}

function shown(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const ms = (value: number | undefined): string => (value ?? 0).toFixed(1);
  return `median ${ms(sorted[sorted.length >> 1])} ms, least ${ms(sorted[0])}, greatest ${ms(sorted.at(-1))}`;
}

await main();
