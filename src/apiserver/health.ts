// /livez, /readyz and /healthz, as Kubernetes' API server answers them: `ok`, or with `?verbose` a line for each check,
// and one check by itself below them (/readyz/startup). 503 rather than its 500: load balancers know what that means.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

/** Says why not; empty: all is well. */
export type HealthCheck = () => string;

export interface HealthOptions {
  /** By name, as `?verbose` shows them; `ping` is there by itself. */
  readonly live?: Readonly<Record<string, HealthCheck>>;
  readonly ready: Readonly<Record<string, HealthCheck>>;
}

const TEXT = 'text/plain; charset=utf-8';

export function addHealth(app: FastifyInstance, { live = {}, ready }: HealthOptions): void {
  const ping: HealthCheck = () => '';
  const endpoints: readonly [string, Readonly<Record<string, HealthCheck>>][] = [
    ['livez', { ping, ...live }],
    ['healthz', { ping, ...live }],
    ['readyz', { ping, ...ready }],
  ];
  for (const [name, checks] of endpoints) {
    app.get(`/${name}`, (request, reply) => answer(name, checks, request, reply));
    for (const [one, check] of Object.entries(checks)) {
      app.get(`/${name}/${one}`, (request, reply) =>
        answer(name, { [one]: check }, request, reply),
      );
    }
  }
}

function answer(
  name: string,
  checks: Readonly<Record<string, HealthCheck>>,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const asked = new URLSearchParams((request.raw.url ?? '').split('?')[1] ?? '');
  const excluded = new Set(asked.getAll('exclude'));
  const lines: string[] = [];
  const reasons: string[] = [];
  for (const [one, check] of Object.entries(checks)) {
    if (excluded.delete(one)) {
      lines.push(`[+]${one} excluded: ok`);
      continue;
    }
    const why = check();
    lines.push(why === '' ? `[+]${one} ok` : `[-]${one} failed: ${why}`);
    if (why !== '') reasons.push(why);
  }
  // A name that is misspelt excludes nothing: whoever wrote it is told.
  for (const unknown of excluded) lines.push(`warn: there is no check ${unknown} to exclude`);
  lines.push(`${name} check ${reasons.length === 0 ? 'passed' : 'failed'}`);
  const isVerbose = asked.has('verbose') && !['false', '0'].includes(asked.get('verbose') ?? '');
  const short = reasons.length === 0 ? 'ok' : `not ready: ${reasons.join('; ')}`;
  return reply
    .code(reasons.length === 0 ? 200 : 503)
    .header('cache-control', 'no-cache, private')
    .header('x-content-type-options', 'nosniff')
    .type(TEXT)
    .send(isVerbose ? `${lines.join('\n')}\n` : short);
}
