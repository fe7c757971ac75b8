// Pools come and go: create, export, import, destroy.
import { type Command, Option } from 'commander';
import { parseQuantity } from '../../base/index.ts';
import { clientOf } from '../connect.ts';
import type { ApiObject } from '../describe.ts';
import { fetchKinds, findKind, type Kind, pathOf } from '../kinds.ts';
import { printChanged, printStructured } from '../print.ts';
import { renderCells } from '../table.ts';
import {
  collect,
  groupCommand,
  type OutputFlags,
  outputOption,
  print,
  toInteger,
  UsageError,
} from '../usage.ts';

interface CreateFlags extends OutputFlags {
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
    .option('--sides <count>', 'of each mirror: 2 or 3')
    .option('--size <quantity>', 'of files that are to be made')
    .option('--sparse', 'files take space as it is written, and may find none')
    .option('--force', 'overwrite what the devices hold; never what is in use')
    .option('--growth-limit <percent>', 'writes that grow end when so much is in use (85)')
    .option('--dry-run', 'check only')
    .addOption(outputOption())
    .action(async (name: string, _flags: CreateFlags, command: Command) => {
      const flags = command.optsWithGlobals<CreateFlags>();
      const { layout, device = [], sides, size, sparse, force, growthLimit } = flags;
      if (device.length === 0) throw new UsageError('of what? Give --device, once for each');
      if (size !== undefined && parseQuantity(size) === null) {
        throw new UsageError(`--size: '${size}' is not a quantity; write it like 5Gi`);
      }
      const spec = {
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
      const spec = { import: { pool: named, ...places, ...force } };
      await make(program, flags.as ?? named, spec, 'imported', flags);
    });

  program
    .command('export <kind> [pool]')
    .description('close a pool, so that another machine may import it')
    .option('--force', 'also while in use: sessions are ended')
    .addOption(outputOption())
    .action(
      async (
        kindName: string,
        pool: string | undefined,
        flags: OutputFlags & { force?: boolean },
      ) => {
        const { kind, path } = await existing(program, kindName, pool);
        const client = await clientOf(program);
        const body = flags.force === true ? { force: true } : {};
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
        const found = (await client.get(path)) as ApiObject & { spec: { devices?: string[] } };
        if (flags.yesClearItsDevices !== true) {
          const devices = found.spec.devices?.join(', ') ?? '';
          throw new UsageError(
            `the labels of ${devices} would be cleared, and pool ${name} be gone for good; to move it to another machine, export it. If that is meant, say --yes-clear-its-devices`,
          );
        }
        await client.delete(path, {});
        printChanged(kind, found, 'destroyed', flags.output);
      },
    );
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
  if (kinds.some(({ plural }) => plural === 'storagepoolclaims')) {
    // Devices are claimed there, so that no two nodes ever think that one is theirs.
    throw new UsageError(
      'that is of `ashlar serve`; nodes make pools of a StoragePoolClaim, and give them up with it: docs/nodes.md',
    );
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
  spec: object,
  verb: string,
  flags: OutputFlags & { dryRun?: boolean },
): Promise<void> {
  const kind = await poolKind(program, 'pools.ashlar.io');
  const client = await clientOf(program);
  const manifest = { apiVersion: kind.apiVersion, kind: kind.kind, metadata: { name }, spec };
  const query = flags.dryRun === true ? '?dryRun=All' : '';
  const made = (await client.create(pathOf(kind, null, null) + query, manifest)) as ApiObject;
  printChanged(kind, made, flags.dryRun === true ? `${verb} (dry run)` : verb, flags.output);
}

async function showImportable(program: Command, word: string, flags: ImportFlags): Promise<void> {
  const kind = await poolKind(program, word);
  const query = flags.device.map((place) => `place=${encodeURIComponent(place)}`).join('&');
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
  const rows = items.map(({ name, id, devices, paths, exported }) => [
    name,
    id,
    `${paths.length}/${devices}`,
    exported ? 'yes' : 'no',
    paths.join(','),
  ]);
  for (const line of renderCells([['NAME', 'ID', 'DEVICES', 'EXPORTED', 'PATHS'], ...rows])) {
    print(line);
  }
}
