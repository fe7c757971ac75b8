// apply, delete, label, annotate, wait, resize, limit: making things as they should be, whatever their kind.
import type { Command } from 'commander';
import { type Client, ServerError } from '../client.ts';
import { clientOf } from '../connect.ts';
import type { ApiObject } from '../describe.ts';
import {
  fetchKinds,
  findKind,
  findManifestKind,
  type Kind,
  kindAndName,
  pathOf,
  wantedOf,
} from '../kinds.ts';
import { type Manifest, readManifests } from '../manifests.ts';
import { printChanged } from '../print.ts';
import {
  collect,
  GaveUp,
  namespaceOption,
  type OutputFlags,
  outputOption,
  print,
  toInteger,
  toMilliseconds,
  UsageError,
} from '../usage.ts';

interface ScopeFlags {
  readonly namespace: string;
}
interface FileFlags extends OutputFlags, ScopeFlags {
  readonly filename: readonly string[];
  readonly dryRun?: boolean;
}

export function addChanges(program: Command): void {
  program
    .command('apply')
    .description('make things as files say: create what is missing, change what differs')
    .requiredOption(
      '-f, --filename <file>',
      'YAML or JSON, a folder, - for standard input',
      collect,
      [],
    )
    .option('--dry-run', 'check only')
    .addOption(namespaceOption())
    .addOption(outputOption())
    .action(async (flags: FileFlags) => {
      const client = await clientOf(program);
      const kinds = await fetchKinds(client);
      for (const manifest of readManifests(flags.filename)) {
        await apply(
          client,
          findManifestKind(kinds, manifest.apiVersion, manifest.kind),
          manifest,
          flags,
        );
      }
    });
  addDelete(program);
  addMetadata(program, 'label', 'labels');
  addMetadata(program, 'annotate', 'annotations');
  addWait(program);
  addVolumeChanges(program);
}

/** Server-side: who applies owns what he applies, and what he leaves out of the next file goes. */
async function apply(
  client: Client,
  kind: Kind,
  manifest: Manifest,
  flags: FileFlags,
): Promise<void> {
  const path = pathOf(
    kind,
    manifest.metadata.namespace ?? flags.namespace,
    manifest.metadata.name!,
  );
  const before = await tryGet(client, path);
  const dryRun = flags.dryRun === true ? '&dryRun=All' : '';
  const query = `?fieldManager=ashlar&force=true${dryRun}`;
  const after = (await client.patch(
    path + query,
    manifest,
    'application/apply-patch+yaml',
  )) as ApiObject;
  // Only who manages what may have changed: that is no change of the thing.
  const verb = before === null ? 'created' : isSame(before, after) ? 'unchanged' : 'configured';
  printChanged(kind, after, flags.dryRun === true ? `${verb} (dry run)` : verb, flags.output);
}

function isSame(before: ApiObject, after: ApiObject): boolean {
  const parts = ({ metadata, status: _, ...wanted }: ApiObject): string =>
    JSON.stringify([metadata.labels, metadata.annotations, metadata.finalizers, wanted]);
  return parts(before) === parts(after);
}

async function tryGet(client: Client, path: string): Promise<ApiObject | null> {
  try {
    return (await client.get(path)) as ApiObject;
  } catch (error) {
    if (error instanceof ServerError && error.code === 404) return null;
    throw error;
  }
}

interface DeleteFlags extends ScopeFlags {
  readonly force?: boolean;
  readonly selector?: string;
  readonly all?: boolean;
  readonly filename?: readonly string[];
  readonly dryRun?: boolean;
  readonly wait: boolean;
}

function addDelete(program: Command): void {
  program
    .command('delete [kind] [names...]')
    .description('delete objects; a volume with its data, refused while an initiator is logged in')
    .option('--force', 'also while in use: sessions are ended')
    .option('-f, --filename <file>', 'what these files name', collect, [])
    .option('-l, --selector <selector>', 'those with these labels')
    .option('--all', 'all of the kind')
    .option('--dry-run', 'check only')
    .option('--no-wait', 'do not wait until they are gone')
    .addOption(namespaceOption())
    .action(async (kind: string | undefined, names: string[], flags: DeleteFlags) => {
      const client = await clientOf(program);
      for (const { kind: one, path } of await toDelete(client, kind, names, flags)) {
        await deleteOne(client, one, path, flags);
      }
    });
}

async function toDelete(
  client: Client,
  kind: string | undefined,
  names: readonly string[],
  flags: DeleteFlags,
): Promise<{ kind: Kind; path: string }[]> {
  const kinds = await fetchKinds(client);
  const files = flags.filename ?? [];
  if (files.length > 0) {
    return readManifests(files).map(({ apiVersion, kind: name, metadata }) => {
      const found = findManifestKind(kinds, apiVersion, name);
      const namespace = metadata.namespace ?? flags.namespace;
      return { kind: found, path: pathOf(found, namespace, metadata.name!) };
    });
  }
  if (kind === undefined) throw new UsageError('delete what? Give a kind and a name, or -f');
  if (kind.includes('/')) {
    return (await wantedOf(client, kind, names)).flatMap((wanted) =>
      wanted.names.map((name) => ({
        kind: wanted.kind,
        path: pathOf(wanted.kind, flags.namespace, name),
      })),
    );
  }
  const found = findKind(kinds, kind);
  if (names.length > 0) {
    return names.map((name) => ({ kind: found, path: pathOf(found, flags.namespace, name) }));
  }
  if (flags.selector === undefined && flags.all !== true) {
    throw new UsageError(`which ${found.singular}? Give its name, -l, or --all`);
  }
  const query =
    flags.selector === undefined ? '' : `?labelSelector=${encodeURIComponent(flags.selector)}`;
  const list = (await client.get(pathOf(found, flags.namespace, null) + query)) as {
    items: ApiObject[];
  };
  return list.items.map(({ metadata }) => ({
    kind: found,
    path: pathOf(found, metadata.namespace ?? null, metadata.name),
  }));
}

async function deleteOne(
  client: Client,
  kind: Kind,
  path: string,
  flags: DeleteFlags,
): Promise<void> {
  const options = {
    apiVersion: 'v1',
    kind: 'DeleteOptions',
    ...(flags.force === true ? { gracePeriodSeconds: 0 } : {}),
  };
  const query = flags.dryRun === true ? '?dryRun=All' : '';
  const answer = (await client.delete(path + query, options)) as ApiObject;
  const name = decodeURIComponent(path.slice(path.lastIndexOf('/') + 1));
  const isMarked = answer.kind === kind.kind;
  if (flags.dryRun === true) print(`${kind.shown}/${name} deleted (dry run)`);
  else if (!isMarked) print(`${kind.shown}/${name} deleted`);
  else if (!flags.wait) print(`${kind.shown}/${name} marked, waits for its finalizers`);
  else {
    const uid = answer.metadata.uid ?? '';
    await until(
      client,
      path,
      DELETE_LIMIT_MS,
      `${kind.shown}/${name} to go`,
      (now) => now === null || now.metadata.uid !== uid,
    );
    print(`${kind.shown}/${name} deleted`);
  }
}

const DELETE_LIMIT_MS = 120_000;

function addMetadata(program: Command, command: string, field: 'labels' | 'annotations'): void {
  program
    .command(`${command} <kind> <name-and-changes...>`)
    .description(`set ${field} (key=value) and take them away (key-)`)
    .addOption(namespaceOption())
    .action(async (first: string, rest: string[], flags: ScopeFlags) => {
      const named = first.includes('/');
      const [kindName, name] = kindAndName(first, named ? undefined : rest[0]);
      const changes = named ? rest : rest.slice(1);
      if (changes.length === 0) throw new UsageError('change what? Write key=value or key-');
      const values = changes.map((change): [string, string | null] => {
        const at = change.indexOf('=');
        if (at > 0) return [change.slice(0, at), change.slice(at + 1)];
        if (change.endsWith('-') && change.length > 1) return [change.slice(0, -1), null];
        throw new UsageError(`'${change}' is no change; write key=value or key-`);
      });
      const client = await clientOf(program);
      const kind = findKind(await fetchKinds(client), kindName);
      const path = pathOf(kind, flags.namespace, name);
      const patch = { metadata: { [field]: Object.fromEntries(values) } };
      const after = (await client.patch(path, patch)) as ApiObject;
      printChanged(kind, after, field === 'labels' ? 'labeled' : 'annotated');
    });
}

interface WaitFlags extends ScopeFlags {
  readonly for: string;
  readonly timeout: string;
}

function addWait(program: Command): void {
  program
    .command('wait <kind> [names...]')
    .description('until something is so')
    .requiredOption('--for <what>', 'condition=NAME[=STATUS], delete, or jsonpath={.field}=value')
    .option('--timeout <duration>', 'give up after', '30s')
    .addOption(namespaceOption())
    .action(async (kindName: string, names: string[], flags: WaitFlags) => {
      const { words, isMet } = awaited(flags.for);
      const limitMs = toMilliseconds('--timeout', flags.timeout);
      const client = await clientOf(program);
      const wanted = (await wantedOf(client, kindName, names)).flatMap((one) =>
        one.names.map((name) => ({ kind: one.kind, name })),
      );
      if (wanted.length === 0) throw new UsageError(`which ${kindName}? Give a name`);
      for (const { kind, name } of wanted) {
        const path = pathOf(kind, flags.namespace, name);
        await until(client, path, limitMs, `${words} of ${kind.shown}/${name}`, (now) => {
          if (now === null && flags.for !== 'delete') {
            throw new ServerError('NotFound', `${kind.plural} "${name}" not found`, 404);
          }
          return isMet(now);
        });
        print(`${kind.shown}/${name} condition met`);
      }
    });
}

interface Awaited {
  readonly words: string;
  readonly isMet: (now: ApiObject | null) => boolean;
}

function awaited(text: string): Awaited {
  if (text === 'delete') return { words: 'the deletion', isMet: (now) => now === null };
  const condition = /^condition=([^=]+)(?:=(.+))?$/.exec(text);
  if (condition !== null) {
    const [, type = '', status = 'true'] = condition;
    return {
      words: `the condition ${type}`,
      isMet: (now) => {
        const { conditions = [] } = (now?.['status'] ?? {}) as {
          conditions?: { type: string; status: string }[];
        };
        const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
        return conditions.some((one) => same(one.type, type) && same(one.status, status));
      },
    };
  }
  const path = /^jsonpath='?\{?\.([\w.]+)\}?'?=(.+)$/.exec(text);
  if (path !== null) {
    const [, fields = '', value] = path;
    return {
      words: `.${fields} being ${value}`,
      isMet: (now) => {
        let at: unknown = now;
        for (const field of fields.split('.')) at = (at as Record<string, unknown> | null)?.[field];
        return String(at) === value;
      },
    };
  }
  throw new UsageError(`--for: '${text}' is nothing to wait for; write condition=Ready or delete`);
}

const LOOK_MS = 250;

/** Looks until it is so. Throws GaveUp after `limitMs`. */
async function until(
  client: Client,
  path: string,
  limitMs: number,
  what: string,
  isMet: (now: ApiObject | null) => boolean,
): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!isMet(await tryGet(client, path))) {
    if (Date.now() >= deadline) throw new GaveUp(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function addVolumeChanges(program: Command): void {
  program
    .command('resize <kind> [name]')
    .description('grow a volume, or a claim, while it is in use')
    .requiredOption('--size <quantity>', 'new size, like 10Gi')
    .addOption(namespaceOption())
    .addOption(outputOption())
    .action(
      async (
        kindName: string,
        name: string | undefined,
        flags: ScopeFlags & OutputFlags & { size: string },
      ) => {
        const isClaim = (kind: Kind): boolean => kind.plural === 'persistentvolumeclaims';
        await patchOne(program, kindName, name, flags, 'resized', (kind) =>
          isClaim(kind)
            ? { spec: { resources: { requests: { storage: flags.size } } } }
            : { spec: { size: flags.size } },
        );
      },
    );

  program
    .command('limit <kind> [name]')
    .description('limit what hosts may do to a volume; effective at once')
    .requiredOption('--limit <key=value>', `${LIMIT_HELP}; none takes it off`, collect, [])
    .addOption(namespaceOption())
    .addOption(outputOption())
    .action(
      async (
        kindName: string,
        name: string | undefined,
        flags: ScopeFlags & OutputFlags & { limit: string[] },
      ) => {
        const limits = toLimits(flags.limit);
        await patchOne(program, kindName, name, flags, 'limited', () => ({ spec: { limits } }));
      },
    );
}

async function patchOne(
  program: Command,
  kindName: string,
  name: string | undefined,
  flags: ScopeFlags & OutputFlags,
  verb: string,
  patch: (kind: Kind) => object,
): Promise<void> {
  const [first, named] = kindAndName(kindName, name);
  const client = await clientOf(program);
  const kind = findKind(await fetchKinds(client), first);
  const path = pathOf(kind, flags.namespace, named);
  printChanged(kind, (await client.patch(path, patch(kind))) as ApiObject, verb, flags.output);
}

export const LIMIT_HELP =
  'iops, iopsBurst, bandwidth, bandwidthBurst or queueDepth; may be repeated';

export function toLimits(pairs: readonly string[]): Record<string, string | number | null> {
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
