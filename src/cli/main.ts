#!/usr/bin/env node
// The `ashlar` command. `serve` is the daemon; everything else speaks to its REST API, in the manner of kubectl.
// Exit codes: 0 done; 1 refused or failed; 2 called wrongly; 3 the API cannot be reached.
import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { Document, parseAllDocuments, stringify } from 'yaml';
import type { VolumeManifest, VolumeObject } from '../control/index.ts';
import { Client, ServerError, STANDARD_API, Unreachable } from './client.ts';
import {
  type ApiObject,
  findResource,
  type Resource,
  resourceNames,
  VOLUMES,
} from './resources.ts';
import { renderTable } from './table.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_UNREACHABLE = 3;

type Output = 'table' | 'wide' | 'json' | 'yaml' | 'name';
interface ApiFlags {
  readonly api?: string;
  readonly config?: string;
}
interface OutputFlags {
  readonly output?: Output;
}

/** Called wrongly: the message says how to call it. */
class UsageError extends Error {
  override readonly name = 'UsageError';
}

export function packageVersion(): string {
  // dist/src/cli/main.js and src/cli/main.ts are at different depths: the first package.json upwards is ours.
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const text = readFileSync(new URL(up, import.meta.url), 'utf8');
      const { name, version } = JSON.parse(text) as { name?: string; version?: string };
      if (name === 'ashlar' && version !== undefined) return version;
    } catch {
      // Not at this depth.
    }
  }
  return '0.0.0';
}

const print = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

const outputOption = (): Option =>
  new Option('-o, --output <format>', 'how to print').choices(['wide', 'json', 'yaml', 'name']);

function buildProgram(): Command {
  const program = new Command('ashlar');
  program
    .description('Block storage: iSCSI disks over a checksummed copy-on-write pool')
    .option('--api <address>', `address of the API (ASHLAR_API; standard ${STANDARD_API})`)
    .showHelpAfterError('(ashlar --help lists the commands)')
    .exitOverride();
  addServe(program);
  addCreate(program);
  addGet(program);
  addChanges(program);
  addVersion(program);
  return program;
}

function addServe(program: Command): void {
  program
    .command('serve')
    .description('run the storage daemon in the foreground')
    .option('--config <file>', 'configuration (standard: /etc/ashlar/ashlar.yaml if it is there)')
    .option('--data <dir>', 'where the pool file lives')
    .option('--portal <address...>', 'iSCSI portal to listen on; may be repeated')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace')
    .action(async (flags: Record<string, never>) => {
      const { serve } = await import('../daemon/index.ts');
      const { api } = program.opts<ApiFlags>();
      const all = { ...flags, ...(api === undefined ? {} : { api }) };
      const code = await serve(all, packageVersion());
      // Everything is closed; a timer that somebody left running must not hold the process.
      process.stdout.write('', () => process.exit(code));
    });

  const config = program.command('config').description('work with the configuration file');
  config
    .command('check')
    .description('say what is wrong with a configuration, or nothing')
    .argument('[file]', 'standard: /etc/ashlar/ashlar.yaml')
    .option('--config <file>', 'the same as the argument')
    .action(async (file: string | undefined, flags: { config?: string }) => {
      const { ConfigError, loadConfig, STANDARD_CONFIG_PATH } = await import('../daemon/index.ts');
      const path = file ?? flags.config ?? STANDARD_CONFIG_PATH;
      try {
        loadConfig({ config: path });
        print(`${path}: good`);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        for (const finding of error.findings) process.stderr.write(`${finding}\n`);
        process.exitCode = EXIT_FAILED;
      }
    });
}

const LIMIT_HELP = 'iops, iopsBurst, bandwidth, bandwidthBurst or queueDepth; may be repeated';

interface CreateFlags extends OutputFlags {
  readonly size: string;
  readonly blockSize?: string;
  readonly writeCache?: 'on' | 'off';
  readonly chapUser?: string;
  readonly chapSecretFile?: string;
  readonly mutualChapUser?: string;
  readonly mutualChapSecretFile?: string;
  readonly initiator?: readonly string[];
  readonly label?: readonly string[];
  readonly dryRun?: boolean;
  readonly limit?: readonly string[];
}

function addCreate(program: Command): void {
  program
    .command('create')
    .description('make something new')
    .command('volume <name>')
    .description('make a volume; returns when hosts can log in to it')
    .requiredOption('--size <quantity>', 'size, like 5Gi')
    .option('--block-size <bytes>', 'logical block size: 512 or 4096')
    .addOption(new Option('--write-cache <on|off>', 'volatile write cache').choices(['on', 'off']))
    .option('--chap-user <user>', 'CHAP: the user that initiators log in as')
    .option('--chap-secret-file <file>', 'CHAP: a file with its secret, - for standard input')
    .option('--mutual-chap-user <user>', 'mutual CHAP: the user that the target answers as')
    .option('--mutual-chap-secret-file <file>', 'mutual CHAP: a file with its secret')
    .option('--initiator <iqn>', 'initiator that may log in; may be repeated', collect, [])
    .option('--label <key=value>', 'label; may be repeated', collect, [])
    .option('--limit <key=value>', LIMIT_HELP, collect, [])
    .option('--dry-run', 'check only')
    .addOption(outputOption())
    .action(async (name: string, flags: CreateFlags) => {
      const client = await clientOf(program);
      const spec: VolumeManifest['spec'] = { size: flags.size };
      if (flags.blockSize !== undefined)
        spec.blockSize = toInteger('--block-size', flags.blockSize);
      if (flags.writeCache !== undefined) spec.writeCache = flags.writeCache === 'on';
      if ((flags.initiator ?? []).length > 0) spec.initiators = [...(flags.initiator ?? [])];
      const chap = readChap('chap', flags.chapUser, flags.chapSecretFile);
      if (chap !== null) spec.chap = chap;
      const mutual = readChap('mutual-chap', flags.mutualChapUser, flags.mutualChapSecretFile);
      if (mutual !== null) spec.mutualChap = mutual;
      if ((flags.limit ?? []).length > 0) {
        spec.limits = toLimits(flags.limit ?? []) as NonNullable<typeof spec.limits>;
      }
      const metadata: VolumeManifest['metadata'] = { name };
      if ((flags.label ?? []).length > 0) metadata.labels = toLabels(flags.label ?? []);
      const query = flags.dryRun === true ? '?dryRun=All' : '';
      const manifest = { apiVersion: 'ashlar.io/v1', kind: 'Volume', metadata, spec };
      const made = (await client.create(VOLUMES.path + query, manifest)) as VolumeObject;
      const suffix = flags.dryRun === true ? ' (dry run)' : '';
      printChanged(made, `created${suffix}`, flags.output);
    });
}

function addGet(program: Command): void {
  program
    .command('get <kind> [name]')
    .description(`list ${resourceNames()}, or show one`)
    .addOption(outputOption())
    .option('-l, --selector <selector>', 'only those with these labels')
    .action(
      async (
        kind: string,
        name: string | undefined,
        flags: OutputFlags & { selector?: string },
      ) => {
        const [resource, named] = resourceOf(kind, name);
        const client = await clientOf(program);
        const { output = 'table' } = flags;
        if (named !== undefined) {
          const object = (await client.get(pathOf(resource, named))) as ApiObject;
          printObjects(resource, [object], object, output);
          return;
        }
        const query =
          flags.selector === undefined
            ? ''
            : `?labelSelector=${encodeURIComponent(flags.selector)}`;
        const list = (await client.get(resource.path + query)) as { items: ApiObject[] };
        printObjects(resource, list.items, list, output);
      },
    );

  program
    .command('describe <kind> [name]')
    .description('everything about one of them, in words')
    .action(async (kind: string, name: string | undefined) => {
      const [resource, named] = resourceOf(kind, name);
      const client = await clientOf(program);
      const objects =
        named === undefined
          ? ((await client.get(resource.path)) as { items: ApiObject[] }).items
          : [(await client.get(pathOf(resource, named))) as ApiObject];
      objects.forEach((object, index) => {
        if (index > 0) print('');
        const lines = resource.describe(object);
        const width = Math.max(...lines.map(([label]) => label.length)) + 2;
        for (const [label, value] of lines) print(`${`${label}:`.padEnd(width)}${value}`);
      });
    });
}

function addChanges(program: Command): void {
  program
    .command('resize <kind> [name]')
    .description('grow a volume while it is in use')
    .requiredOption('--size <quantity>', 'new size, like 10Gi')
    .addOption(outputOption())
    .action(
      async (kind: string, name: string | undefined, flags: OutputFlags & { size: string }) => {
        const path = volumePath(kind, name);
        const client = await clientOf(program);
        const patch = { spec: { size: flags.size } };
        printChanged((await client.patch(path, patch)) as VolumeObject, 'resized', flags.output);
      },
    );

  program
    .command('limit <kind> [name]')
    .description('limit the I/O of a volume, all its sessions together; effective at once')
    .requiredOption('--limit <key=value>', `${LIMIT_HELP}; none lifts it`, collect, [])
    .addOption(outputOption())
    .action(
      async (
        kind: string,
        name: string | undefined,
        flags: OutputFlags & { limit: readonly string[] },
      ) => {
        const path = volumePath(kind, name);
        const client = await clientOf(program);
        const patch = { spec: { limits: toLimits(flags.limit) } };
        printChanged((await client.patch(path, patch)) as VolumeObject, 'limited', flags.output);
      },
    );

  program
    .command('delete <kind> [name]')
    .description('delete a volume and its data; refused while an initiator is logged in')
    .option('--force', 'end its sessions and delete it all the same')
    .action(async (kind: string, name: string | undefined, flags: { force?: boolean }) => {
      const path = volumePath(kind, name);
      const client = await clientOf(program);
      const options = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        ...(flags.force === true ? { gracePeriodSeconds: 0 } : {}),
      };
      const gone = (await client.delete(path, options)) as VolumeObject;
      const waits = (gone.metadata.finalizers ?? []).length > 0;
      print(
        `volume/${gone.metadata.name} ${waits ? 'marked, waits for its finalizers' : 'deleted'}`,
      );
    });

  program
    .command('apply')
    .description('make things as a file says: create what is missing, change what differs')
    .requiredOption('-f, --filename <file>', 'YAML or JSON, - for standard input')
    .addOption(outputOption())
    .action(async (flags: OutputFlags & { filename: string }) => {
      const client = await clientOf(program);
      for (const manifest of readManifests(flags.filename))
        await apply(client, manifest, flags.output);
    });
}

function addVersion(program: Command): void {
  program
    .command('version')
    .description('versions of this command and of the server')
    .option('--client', 'only of this command')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['json', 'yaml']))
    .action(async (flags: OutputFlags & { client?: boolean }) => {
      const client = `v${packageVersion()}`;
      let server: string | null = null;
      let failure: unknown = null;
      if (flags.client !== true) {
        try {
          const answer = (await (await clientOf(program)).get('/version')) as {
            gitVersion: string;
          };
          server = answer.gitVersion;
        } catch (error) {
          failure = error;
        }
      }
      if (flags.output !== undefined) printStructured({ client, server }, flags.output);
      else {
        print(`Client: ${client}`);
        if (server !== null) print(`Server: ${server}`);
      }
      // The client's version was asked for too, and is there: a server that is down is only worth a word.
      if (failure !== null) process.stderr.write(`${(failure as Error).message}\n`);
    });
}

async function apply(client: Client, manifest: VolumeManifest, output?: Output): Promise<void> {
  const path = pathOf(VOLUMES as unknown as Resource, manifest.metadata.name ?? '');
  let before: VolumeObject | null = null;
  try {
    before = (await client.get(path)) as VolumeObject;
  } catch (error) {
    if (!(error instanceof ServerError) || error.code !== 404) throw error;
  }
  if (before === null) {
    printChanged((await client.create(VOLUMES.path, manifest)) as VolumeObject, 'created', output);
    return;
  }
  const after = (await client.patch(path, manifest)) as VolumeObject;
  const same = after.metadata.resourceVersion === before.metadata.resourceVersion;
  printChanged(after, same ? 'unchanged' : 'configured', output);
}

function readManifests(filename: string): VolumeManifest[] {
  const text = readInput(filename);
  const manifests: VolumeManifest[] = [];
  for (const document of parseAllDocuments(text)) {
    if (!(document instanceof Document)) continue;
    const [error] = document.errors;
    if (error !== undefined) throw new UsageError(`${filename}: ${error.message}`);
    const value = document.toJS() as { kind?: string; items?: unknown[] } | null;
    if (value === null) continue;
    const items = value.kind?.endsWith('List') === true ? (value.items ?? []) : [value];
    for (const item of items as VolumeManifest[]) {
      if (item.kind !== 'Volume') {
        throw new UsageError(
          `${filename}: kind: '${String(item.kind)}' cannot be applied; only Volume can`,
        );
      }
      if (typeof item.metadata?.name !== 'string') {
        throw new UsageError(`${filename}: metadata.name: is required`);
      }
      manifests.push(item);
    }
  }
  if (manifests.length === 0) throw new UsageError(`${filename}: holds no manifest`);
  return manifests;
}

async function clientOf(program: Command): Promise<Client> {
  const { api } = program.opts<ApiFlags>();
  return new Client(api ?? process.env['ASHLAR_API'] ?? (await configuredApi()));
}

/** Where the configuration of this machine says that the API is. */
async function configuredApi(): Promise<string> {
  const { loadConfig, showAddress } = await import('../daemon/config/index.ts');
  try {
    return showAddress(loadConfig({}).config.api.address);
  } catch {
    // Unreadable (it may be root's) or wrong: `config check` is there to say so; here the standard will do.
    return STANDARD_API;
  }
}

/** `get volume NAME`, and `get volume/NAME` as kubectl also takes it. */
function resourceOf(kind: string, name: string | undefined): [Resource, string | undefined] {
  const [first = '', second] = kind.split('/', 2);
  const resource = findResource(first);
  if (resource === null) throw new UsageError(`no kind '${first}'; there are ${resourceNames()}`);
  return [resource, second ?? name];
}

function volumePath(kind: string, name: string | undefined): string {
  const [resource, named] = resourceOf(kind, name);
  if (resource.kind !== 'Volume') throw new UsageError(`${resource.plural} cannot be changed`);
  if (named === undefined) throw new UsageError('which volume? Give its name');
  return pathOf(resource, named);
}

function pathOf(resource: Resource, name: string): string {
  return `${resource.path}/${encodeURIComponent(name)}`;
}

function printObjects(
  resource: Resource,
  objects: readonly ApiObject[],
  whole: unknown,
  output: Output,
): void {
  if (output === 'json' || output === 'yaml') {
    printStructured(whole, output);
  } else if (output === 'name') {
    for (const { metadata } of objects) print(`${resource.kind.toLowerCase()}/${metadata.name}`);
  } else if (objects.length === 0) {
    process.stderr.write(`No ${resource.plural} found.\n`);
  } else {
    for (const line of renderTable(resource.columns, objects, output === 'wide')) print(line);
  }
}

function printChanged(volume: VolumeObject, verb: string, output: Output = 'table'): void {
  if (output === 'table') print(`volume/${volume.metadata.name} ${verb}`);
  else printObjects(VOLUMES as unknown as Resource, [volume], volume, output);
}

function printStructured(value: unknown, output: Output): void {
  if (output === 'yaml') process.stdout.write(stringify(value));
  else print(JSON.stringify(value, null, 2));
}

function readChap(
  name: string,
  user: string | undefined,
  secretFile: string | undefined,
): { user: string; secret: string } | null {
  if (user === undefined && secretFile === undefined) return null;
  if (user === undefined || secretFile === undefined) {
    throw new UsageError(`--${name}-user and --${name}-secret-file go together`);
  }
  // An editor ends the file with a newline, which is no part of the secret.
  return { user, secret: readInput(secretFile).replace(/\r?\n$/, '') };
}

function readInput(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file}: cannot be read: ${(error as Error).message}`);
  }
}

function toLabels(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair): [string, string] => {
      const at = pair.indexOf('=');
      if (at <= 0) throw new UsageError(`--label: '${pair}' is not a label; write it like app=db`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** `iops=1000`, `bandwidth=100Mi`; `none` takes a limit away, where there is one to take away. */
function toLimits(pairs: readonly string[]): Record<string, string | number | null> {
  return Object.fromEntries(
    pairs.map((pair): [string, string | number | null] => {
      const at = pair.indexOf('=');
      if (at <= 0) {
        throw new UsageError(`--limit: '${pair}' is not a limit; write it like iops=1000`);
      }
      const [key, value] = [pair.slice(0, at), pair.slice(at + 1)];
      if (value === 'none') return [key, null];
      return [key, key.startsWith('bandwidth') ? value : toInteger('--limit', value)];
    }),
  );
}

function toInteger(flag: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${flag}: '${text}' is not a number`);
  return Number(text);
}

function collect(value: string, before: readonly string[]): string[] {
  if (value === '') throw new InvalidArgumentError('is empty');
  return [...before, value];
}

/** Runs one command line; the exit code ends up in `process.exitCode`. */
async function main(): Promise<void> {
  // `ashlar get volumes | head -1` closes the pipe on us; that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  try {
    await buildProgram().parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (error instanceof ServerError) {
    process.stderr.write(`Error from server (${error.reason}): ${error.message}\n`);
    return EXIT_FAILED;
  }
  if (error instanceof Unreachable) {
    process.stderr.write(`error: ${error.message}\n`);
    return EXIT_UNREACHABLE;
  }
  if (error instanceof UsageError) {
    process.stderr.write(`error: ${error.message}\n`);
    return EXIT_USAGE;
  }
  process.stderr.write(
    `error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return EXIT_FAILED;
}

await main();
