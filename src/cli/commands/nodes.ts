// cordon, uncordon, drain: what a node may get, and what it must give away.
import type { Command } from 'commander';
import { clientOf } from '../connect.ts';
import { counted, GaveUp, print, toMilliseconds } from '../usage.ts';

const NODES = '/apis/ashlar.io/v1/nodes';
const REPLICAS = '/apis/ashlar.io/v1/replicas';
const VOLUMES = '/apis/ashlar.io/v1/volumes';
const LOOK_MS = 500;
/** Reasons of a volume's condition Healthy: what is on the node stays there until somebody makes room. */
const STUCK = ['ReplicasMissing'];

interface Replica {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName: string; readonly volumeName: string };
}
interface Volume {
  readonly metadata: { readonly name: string };
  readonly status?: {
    readonly target?: { readonly nodeName: string };
    readonly conditions?: readonly {
      readonly type: string;
      readonly reason?: string;
      readonly message?: string;
    }[];
  };
}

export function addNodes(program: Command): void {
  const change = async (name: string, spec: object, word: string): Promise<void> => {
    const client = await clientOf(program);
    await client.patch(`${NODES}/${encodeURIComponent(name)}`, { spec });
    print(`node/${name} ${word}`);
  };
  program
    .command('cordon <node>')
    .description('a node gets no new replica and no new coordinator')
    .action((name: string) => change(name, { unschedulable: true }, 'cordoned'));
  program
    .command('uncordon <node>')
    .description('a node gets replicas and coordinators again')
    .action((name: string) => change(name, { unschedulable: null, drain: null }, 'uncordoned'));
  program
    .command('drain <node>')
    .description('move all replicas and coordinators away from a node; returns when it is empty')
    .option('--timeout <duration>', 'how long to wait: 30s, 10m; 0: do not wait', '10m')
    .action(async (name: string, flags: { timeout: string }) => {
      await change(name, { unschedulable: true, drain: true }, 'draining');
      const limitMs = flags.timeout === '0' ? 0 : toMilliseconds('--timeout', flags.timeout);
      if (limitMs === 0) return;
      const client = await clientOf(program);
      const endMs = Date.now() + limitMs;
      let told = '';
      const said = new Map<string, string>();
      for (;;) {
        const replicas = ((await client.get(REPLICAS)) as { items: Replica[] }).items;
        const volumes = ((await client.get(VOLUMES)) as { items: Volume[] }).items;
        const here = replicas.filter(({ spec }) => spec.nodeName === name);
        const served = volumes.filter(({ status }) => status?.target?.nodeName === name);
        if (here.length + served.length === 0) break;
        const left = `${counted(here.length, 'replicas')} and ${counted(served.length, 'coordinators')} are left`;
        if (left !== told) print(left);
        told = left;
        const names = new Set([
          ...here.map(({ spec }) => spec.volumeName),
          ...served.map(({ metadata }) => metadata.name),
        ]);
        const waiting = volumes.filter(({ metadata }) => names.has(metadata.name));
        const isOver = Date.now() > endMs;
        for (const { metadata, status } of waiting) {
          const healthy = status?.conditions?.find(({ type }) => type === 'Healthy');
          const isStuck = STUCK.includes(healthy?.reason ?? '');
          const why = healthy?.message ?? '';
          // What cannot leave is told at once, and once: nothing may come of waiting.
          if (!isOver && (!isStuck || said.get(metadata.name) === why)) continue;
          said.set(metadata.name, why);
          print(`volume/${metadata.name}: ${why}`);
        }
        if (isOver) throw new GaveUp(`node ${name} is not empty after ${flags.timeout}: ${left}`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
      print(`node/${name} drained`);
    });
}
