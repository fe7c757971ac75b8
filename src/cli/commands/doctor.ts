// doctor: one command that looks at the whole and says what is wrong and what to do.
import type { Command } from 'commander';
import { type Client, ServerError } from '../client.ts';
import { clientAt, clientOf } from '../connect.ts';
import {
  type Facts,
  type Finding,
  judge,
  type NodeFacts,
  parseMetrics,
  type Seen,
} from '../doctor.ts';
import { counted, print } from '../usage.ts';

/** As monitoring systems read it; 2 too where the API does not answer. */
const EXIT = { care: 1, broken: 2 } as const;

const PATHS: Readonly<Record<string, string>> = {
  nodes: '/apis/ashlar.io/v1/nodes',
  pools: '/apis/ashlar.io/v1/pools',
  volumes: '/apis/ashlar.io/v1/volumes',
  replicas: '/apis/ashlar.io/v1/replicas',
  snapshots: '/apis/ashlar.io/v1/snapshots',
  storagepoolclaims: '/apis/openebs.io/v1alpha1/storagepoolclaims',
  persistentvolumeclaims: '/api/v1/persistentvolumeclaims',
  leases: '/apis/coordination.k8s.io/v1/leases',
};

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description(
      'look at everything; says what is wrong and what to do. Exit code 0, 1 (care), 2 (broken)',
    )
    .option('-o, --output <format>', 'json: the findings as JSON')
    .action(async (flags: { output?: string }) => {
      const { findings, summary } = await examine(program);
      if (flags.output === 'json') print(JSON.stringify({ findings, summary }, null, 2));
      else show(findings, summary);
      const [worst] = findings;
      process.exitCode = worst === undefined ? 0 : EXIT[worst.level];
    });
}

async function examine(program: Command): Promise<{ findings: Finding[]; summary: string }> {
  try {
    const client = await clientOf(program);
    const facts = await gather(client, (address) => clientAt(program, address));
    return { findings: judge(facts), summary: summaryOf(facts) };
  } catch (error) {
    const { message } = error as Error;
    const todo = 'systemctl status ashlar ashlar-node; journalctl -u ashlar -u ashlar-node -n 100';
    return { findings: [{ level: 'broken', what: message, todo }], summary: '' };
  }
}

async function gather(client: Client, at: (address: string) => Promise<Client>): Promise<Facts> {
  const objects = new Map<string, readonly Seen[]>();
  for (const [plural, path] of Object.entries(PATHS)) {
    try {
      objects.set(plural, ((await client.get(path)) as { items: Seen[] }).items);
    } catch (error) {
      // `ashlar serve` has not all of them.
      if (!(error instanceof ServerError) || error.code !== 404) throw error;
    }
  }
  const nodes = objects.get('nodes');
  if (nodes === undefined) {
    return { nowMs: Date.now(), objects, nodes: [await ask(null, client)] };
  }
  const scheme = client.url.startsWith('https:') ? 'https://' : '';
  const asked = nodes.map(async ({ metadata, status }) => {
    const address = `${scheme}${status?.['apiAddress'] ?? ''}`;
    return await ask(metadata.name, await at(address));
  });
  return { nowMs: Date.now(), objects, nodes: await Promise.all(asked) };
}

async function ask(node: string | null, client: Client): Promise<NodeFacts> {
  const { address } = client;
  const startedMs = Date.now();
  const none = { node, address, clockAheadMs: null, roundTripMs: 0, metrics: [] };
  try {
    const metrics = parseMetrics(await client.text('/metrics'));
    const endedMs = Date.now();
    const roundTripMs = endedMs - startedMs;
    const seconds = metrics.find(({ name }) => name === 'ashlar_clock_timestamp_seconds')?.value;
    const clockAheadMs = seconds === undefined ? null : seconds * 1000 - (startedMs + endedMs) / 2;
    let notReady = '';
    try {
      await client.text('/readyz');
    } catch (error) {
      notReady = (error as Error).message;
    }
    return { node, address, silent: '', notReady, clockAheadMs, roundTripMs, metrics };
  } catch (error) {
    return { ...none, silent: (error as Error).message, notReady: '' };
  }
}

function summaryOf({ objects, nodes }: Facts): string {
  const count = (plural: string): number | undefined => objects.get(plural)?.length;
  const sessions = nodes
    .flatMap(({ metrics }) => metrics)
    .filter(({ name, labels }) => name === 'ashlar_sessions' && labels['type'] === 'Normal')
    .reduce((sum, { value }) => sum + value, 0);
  const counts = ['nodes', 'pools', 'volumes', 'replicas', 'snapshots'].flatMap((plural) =>
    count(plural) === undefined ? [] : [counted(count(plural) ?? 0, plural)],
  );
  return [...counts, counted(sessions, 'sessions')].join(', ');
}

function show(findings: readonly Finding[], summary: string): void {
  for (const { level, what, todo } of findings) {
    print(`${level === 'broken' ? 'BROKEN' : 'care  '}  ${what}`);
    print(`        do: ${todo}`);
  }
  if (findings.length === 0) print('All is well.');
  if (summary !== '') print(`Looked at ${summary}.`);
}
