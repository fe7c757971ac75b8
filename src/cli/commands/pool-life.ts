// Pools come and go: create, export, import, destroy. `ashlar serve` has done it when it answers; of the control plane, the
// pool's node does it, and is waited for.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { parseQuantity } from '../../base/index.ts';
import { type Client, ServerError } from '../client.ts';
import { clientOf } from '../connect.ts';
import type { ApiObject } from '../describe.ts';
import { fetchKinds, findKind, type Kind, pathOf } from '../kinds.ts';
import { printChanged, printStructured } from '../print.ts';
import { renderCells } from '../table.ts';
import {
  collect,
  GaveUp,
  groupCommand,
  type OutputFlags,
  outputOption,
  print,
  toInteger,
  UsageError,
} from '../usage.ts';

interface CreateFlags extends OutputFlags {
  readonly node?: string;
  readonly layout: string;
  readonly device: readonly string[];
  readonly sides?: string;
  readonly size?: string;
  readonly sparse?: boolean;
  readonly force?: boolean;
  readonly growthLimit?: string;
  readonly dryRun?: boolean;
}

interface ImportFlags extends OutputFlags {
  readonly node?: string;
  readonly as?: string;
  readonly device: readonly string[];
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

interface Importable {
  readonly items: readonly {
    readonly name: string;
    readonly id: string;
    readonly devices: number;
    readonly paths: readonly string[];
    readonly exported: boolean;
    /** Of the control plane. */
    readonly node?: string;
  }[];
}

export function addPoolLife(program: Command): void {
  groupCommand(program, 'create', 'make something new')
    .command('pool <name>')
    .description('make a pool of devices, partitions or files, and serve it')
    .addOption(
      new Option('--layout <layout>', 'mirror: of every two devices (of three: one mirror)')
        .choices(['stripe', 'mirror'])
        .default('stripe'),
    )
    .option(
      '--device <path...>',
      'its devices, by stable paths (/dev/disk/by-id/…); may be repeated',
    )
    .option('--node <name>', 'that has them; needed where there are several')
    .option('--sides <count>', 'of each mirror: 2 or 3')
    .option('--size <quantity>', 'of files that are to be made')
    .option('--sparse', 'files take space as it is written, and may find none')
    .option('--force', 'overwrite what the devices hold; never what is in use')
    .option('--growth-limit <percent>', 'writes that grow end when so much is in use (85)')
    .option('--dry-run', 'check only')
    .addOption(outputOption())
    .action(async (name: string, _flags: CreateFlags, command: Command) => {
      const flags = command.optsWithGlobals<CreateFlags>();
      const { layout, device = [], node, sides, size, sparse, force, growthLimit } = flags;
      if (device.length === 0) throw new UsageError('of what? Give --device, once for each');
      if (size !== undefined && parseQuantity(size) === null) {
        throw new UsageError(`--size: '${size}' is not a quantity; write it like 5Gi`);
      }
      const spec = {
        ...(node === undefined ? {} : { nodeName: node }),
        layout,
        devices: device,
        ...(sides === undefined ? {} : { sides: toInteger('--sides', sides) }),
        ...(size === undefined ? {} : { size }),
        ...(sparse === true ? { sparse } : {}),
        ...(force === true ? { force } : {}),
        ...(growthLimit === undefined
          ? {}
          : { growthLimitPercent: toInteger('--growth-limit', growthLimit) }),
      };
      await make(program, name, spec, 'created', flags);
    });

  program
    .command('import <kind> [pool]')
    .description('serve a pool that devices of this machine hold; without a name: show which do')
    .option('--as <name>', 'what it is called here')
    .option('--node <name>', 'that has its devices; needed where there are several')
    .option('--device <path>', 'look on this device or in this folder; repeat', collect, [])
    .option('--force', 'also one that was not exported where it was')
    .option('--dry-run', 'check only')
    .addOption(outputOption())
    .action(async (kindName: string, pool: string | undefined, flags: ImportFlags) => {
      const [word, named] = poolOf(kindName, pool);
      if (named === undefined) {
        await showImportable(program, word, flags);
        return;
      }
      const places = flags.device.length === 0 ? {} : { places: flags.device };
      const force = flags.force === true ? { force: true } : {};
      const node = flags.node === undefined ? {} : { nodeName: flags.node };
      const spec = { ...node, import: { pool: named, ...places, ...force } };
      await make(program, flags.as ?? named, spec, 'imported', flags);
    });

  program
    .command('export <kind> [pool]')
    .description('close a pool, so that another machine may import it')
    .option('--force', 'also while in use: sessions are ended')
    .option('--drain', 'of a node: its replicas go to other pools first')
    .addOption(outputOption())
    .action(
      async (
        kindName: string,
        pool: string | undefined,
        flags: OutputFlags & { force?: boolean; drain?: boolean },
      ) => {
        const { kind, path } = await existing(program, kindName, pool);
        const client = await clientOf(program);
        const body = {
          ...(flags.force === true ? { force: true } : {}),
          ...(flags.drain === true ? { drain: true } : {}),
        };
        const before = (await client.create(`${path}/export`, body)) as ApiObject;
        printChanged(kind, before, 'exported', flags.output);
      },
    );

  program
    .command('destroy <kind> [pool]')
    .description('give up a pool that holds no volumes: its devices are nobody’s then')
    .option('--yes-clear-its-devices', 'their labels are cleared, and the pool is gone')
    .addOption(outputOption())
    .action(
      async (
        kindName: string,
        pool: string | undefined,
        flags: OutputFlags & { yesClearItsDevices?: boolean },
      ) => {
        const { kind, path, name } = await existing(program, kindName, pool);
        const client = await clientOf(program);
        const found = (await client.get(path)) as PoolAnswer;
        if (flags.yesClearItsDevices !== true) {
          const now = found.status?.devices?.map((device) => device.path) ?? [];
          const devices = (now.length > 0 ? now : (found.spec.devices ?? [])).join(', ');
          throw new UsageError(
            `the labels of ${devices} would be cleared, and pool ${name} be gone for good; to move it to another machine, export it. If that is meant, say --yes-clear-its-devices`,
          );
        }
        await client.delete(path, {});
        await gone(client, path, name);
        printChanged(kind, found, 'destroyed', flags.output);
      },
    );
}

interface PoolAnswer extends ApiObject {
  readonly spec: { readonly devices?: readonly string[] };
  readonly status?: {
    readonly phase?: string;
    readonly devices?: readonly { readonly path: string }[];
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message: string;
    }[];
  };
}

const LOOK_MS = 250;
const WAIT_MS = 60_000;

/** A node makes it or gives it up; what stands against that is in the object. */
function whyNot({ status }: PoolAnswer): string {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return ready === undefined || ready.status === 'True' ? '' : ready.message;
}

async function gone(client: Client, path: string, name: string): Promise<void> {
  let left: PoolAnswer | null = null;
  for (let waitedMs = 0; waitedMs < WAIT_MS; waitedMs += LOOK_MS) {
    try {
      left = (await client.get(path)) as PoolAnswer;
    } catch (error) {
      if (error instanceof ServerError && error.code === 404) return;
      throw error;
    }
    await sleep(LOOK_MS);
  }
  const why = left === null ? '' : whyNot(left);
  throw new GaveUp(`pool ${name} is still being destroyed${why === '' ? '' : `: ${why}`}`);
}

async function served(client: Client, path: string, made: PoolAnswer): Promise<PoolAnswer> {
  const { name } = made.metadata;
  let seen = made;
  for (let waitedMs = 0; ; waitedMs += LOOK_MS) {
    const { phase = 'Pending' } = seen.status ?? {};
    const why = whyNot(seen);
    if (phase !== 'Pending' && phase !== 'Offline') return seen;
    if (why !== '' || waitedMs >= WAIT_MS) {
      throw new GaveUp(
        `pool ${name} is asked for, and ${why === '' ? 'its node has not made it yet' : `not there: ${why}`}. It is tried again by itself; ashlar destroy pool ${name} gives it up`,
      );
    }
    await sleep(LOOK_MS);
    seen = (await client.get(path)) as PoolAnswer;
  }
}

function poolOf(kindName: string, name: string | undefined): [string, string | undefined] {
  const [word = '', within] = kindName.split('/', 2);
  return [word, name ?? within];
}

async function poolKind(program: Command, word: string): Promise<Kind> {
  const kinds = await fetchKinds(await clientOf(program));
  const kind = findKind(kinds, word);
  if (kind.plural !== 'pools') {
    throw new UsageError(`that is for pools, and not for ${kind.plural}`);
  }
  return kind;
}

async function existing(program: Command, kindName: string, given: string | undefined) {
  const [word, name] = poolOf(kindName, given);
  const kind = await poolKind(program, word);
  if (name === undefined) throw new UsageError('which pool? Give its name');
  return { kind, name, path: pathOf(kind, null, name) };
}

async function make(
  program: Command,
  name: string,
  spec: object & { nodeName?: string },
  verb: string,
  flags: OutputFlags & { dryRun?: boolean },
): Promise<void> {
  const kind = await poolKind(program, 'pools.ashlar.io');
  const client = await clientOf(program);
  const at = await nodeOf(client, spec);
  const manifest = {
    apiVersion: kind.apiVersion,
    kind: kind.kind,
    metadata: { name },
    spec: { ...at, ...spec },
  };
  const isDry = flags.dryRun === true;
  const query = isDry ? '?dryRun=All' : '';
  const made = (await client.create(pathOf(kind, null, null) + query, manifest)) as PoolAnswer;
  const shown = isDry ? made : await served(client, pathOf(kind, null, name), made);
  printChanged(kind, shown, isDry ? `${verb} (dry run)` : verb, flags.output);
}

/** The only node need not be named. */
async function nodeOf(client: Client, spec: { nodeName?: string }): Promise<object> {
  if (spec.nodeName !== undefined) return {};
  const kinds = await fetchKinds(client);
  const kind = kinds.find(({ plural, group }) => plural === 'nodes' && group === 'ashlar.io');
  if (kind === undefined) return {}; // One machine by itself.
  const { items } = (await client.get(pathOf(kind, null, null))) as { items: ApiObject[] };
  const names = items.map(({ metadata }) => metadata.name);
  if (names.length > 1) throw new UsageError(`on which node? Say --node: ${names.join(', ')}`);
  return { nodeName: names[0] };
}

async function showImportable(program: Command, word: string, flags: ImportFlags): Promise<void> {
  const kind = await poolKind(program, word);
  const query = [
    ...flags.device.map((place) => `place=${encodeURIComponent(place)}`),
    ...(flags.node === undefined ? [] : [`node=${encodeURIComponent(flags.node)}`]),
  ].join('&');
  const client = await clientOf(program);
  const path = `/apis/${kind.apiVersion}/importablepools${query === '' ? '' : `?${query}`}`;
  const { items } = (await client.get(path)) as Importable;
  if (flags.output === 'json' || flags.output === 'yaml') {
    printStructured({ items }, flags.output);
    return;
  }
  if (items.length === 0) {
    print(
      'No pool found. Files, and devices elsewhere, are looked for where --device says: a path, or a folder.',
    );
    return;
  }
  const hasNodes = items.some(({ node }) => node !== undefined);
  const rows = items.map(({ name, id, devices, paths, exported, node = '' }) => [
    name,
    id,
    `${paths.length}/${devices}`,
    exported ? 'yes' : 'no',
    ...(hasNodes ? [node] : []),
    paths.join(','),
  ]);
  const header = ['NAME', 'ID', 'DEVICES', 'EXPORTED', ...(hasNodes ? ['NODE'] : []), 'PATHS'];
  for (const line of renderCells([header, ...rows])) print(line);
}
