// Random requests at the API, made from its own OpenAPI document: no answer is a 500, none hangs, nothing leaks.
//
//   node --expose-gc dist/test/fuzz/api-fuzz.js [--requests 100000] [--seed 1]
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import type { FastifyInstance } from 'fastify';
import {
  buildHttp,
  type KindDefinition,
  KindRegistry,
  NAMESPACES,
  ownKinds,
  ResourceServer,
} from '../../src/apiserver/index.ts';
import { silentLog } from '../../src/base/index.ts';
import { allKinds } from '../../src/kinds/index.ts';
import { MemoryObjectStore } from '../../src/objects/index.ts';
import { anApi } from '../unit/control/builders.ts';
import { type ApiRequest, type Document, requestsOf } from './api-requests.ts';

/** What the heap may grow by after it has warmed up: histories of watches are bounded, and smaller. */
const MAX_GROWTH_BYTES = 48 * 1024 * 1024;

export interface FuzzOutcome {
  readonly requests: number;
  readonly codes: ReadonlyMap<number, number>;
  readonly growthBytes: number;
}

/** Every kind that there is, over a store in memory. */
export async function everyKind(): Promise<FastifyInstance> {
  const registry = new KindRegistry();
  const store = new MemoryObjectStore();
  const kinds = [...allKinds(store), ...ownKinds(store)] as KindDefinition[];
  const known = new Set<string>();
  for (const kind of kinds) {
    const key = `${kind.group}/${kind.plural}`;
    if (!known.has(key)) registry.register(kind);
    known.add(key);
  }
  const server = new ResourceServer({ registry, store, log: silentLog, now: () => new Date() });
  for (const name of ['default', 'openebs', 'a']) {
    await server.create(NAMESPACES, { metadata: { name } });
  }
  return await buildHttp({ server, version: '0.1.0', loopbackOnly: true, access: null });
}

/** The daemon's own API, over a pool in memory. */
export async function ofTheDaemon(): Promise<FastifyInstance> {
  return (await anApi()).app;
}

export async function fuzz(
  app: FastifyInstance,
  options: { requests: number; seed: number; progress?: (done: number) => void },
): Promise<FuzzOutcome> {
  const document = (await app.inject('/openapi.json')).json() as Document;
  const codes = new Map<number, number>();
  let done = 0;
  let warmBytes = 0;
  const warmAt = Math.floor(options.requests / 2);
  const check = async (request: ApiRequest): Promise<void> => {
    const { code, body } = await answerTo(app, request);
    codes.set(code, (codes.get(code) ?? 0) + 1);
    const shown = `${request.method} ${request.url} ${request.payload ?? ''}\n${body}`;
    assert.notEqual(code, 500, shown);
    if (code >= 400) {
      const status = JSON.parse(body);
      assert.equal(status.kind, 'Status', shown);
      assert.ok(status.message !== '', shown);
    }
    done += 1;
    if (done === warmAt) warmBytes = heapBytes();
    if (done % 1000 === 0) options.progress?.(done);
  };
  await fc.assert(fc.asyncProperty(requestsOf(document), check), {
    numRuns: options.requests,
    seed: options.seed,
    endOnFailure: true,
  });
  return { requests: done, codes, growthBytes: heapBytes() - warmBytes };
}

/** A watch that began is left: it would go on for as long as its client stays. */
async function answerTo(
  app: FastifyInstance,
  { mayWatch, ...request }: ApiRequest,
): Promise<{ code: number; body: string }> {
  const answer = await app.inject({ ...request, payloadAsStream: true });
  const { statusCode: code } = answer;
  const stream = answer.stream();
  if (code === 200 && mayWatch) {
    stream.on('error', () => {});
    answer.raw.res.destroy();
    return { code, body: '' };
  }
  return { code, body: await text(stream) };
}

function heapBytes(): number {
  const { gc } = globalThis as { gc?: () => void };
  gc?.();
  return process.memoryUsage().heapUsed;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { requests: { type: 'string' }, seed: { type: 'string' } },
  });
  const requests = Number(values.requests ?? 100_000);
  const seed = Number(values.seed ?? 1);
  const targets: [string, () => Promise<FastifyInstance>][] = [
    ['every kind', everyKind],
    ['the daemon', ofTheDaemon],
  ];
  for (const [name, build] of targets) {
    const app = await build();
    const started = performance.now();
    const outcome = await fuzz(app, {
      requests: Math.ceil(requests / targets.length),
      seed,
      progress: (done) => {
        if (process.stderr.isTTY) process.stderr.write(`\r${name}: ${done} requests`);
      },
    });
    await app.close();
    const seconds = (performance.now() - started) / 1000;
    const codes = [...outcome.codes].sort(([a], [b]) => a - b).map(([code, n]) => `${code}: ${n}`);
    const growth = (outcome.growthBytes / 2 ** 20).toFixed(1);
    process.stdout.write(
      `${name}: ${outcome.requests} requests in ${seconds.toFixed(0)} s, no 500, heap grew by ${growth} MiB in the second half (${codes.join(', ')})\n`,
    );
    assert.ok(outcome.growthBytes < MAX_GROWTH_BYTES, `the heap grew by ${growth} MiB`);
  }
}

if (process.argv[1]?.endsWith('api-fuzz.js') === true) await main();
