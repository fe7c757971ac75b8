// get, describe, logs, api-resources: what there is. Kinds, columns and names are the server's.
import type { Command } from 'commander';
import { type Client, ServerError, TABLE } from '../client.ts';
import { clientOf } from '../connect.ts';
import { type ApiObject, describeObject, type EventFacts } from '../describe.ts';
import { fetchKinds, type Kind, pathOf, type Wanted, wantedOf } from '../kinds.ts';
import { printStructured } from '../print.ts';
import { renderCells, type ServerTable, tableCells } from '../table.ts';
import {
  EXIT_FAILED,
  namespaceOption,
  type Output,
  outputOption,
  print,
  toInteger,
  UsageError,
} from '../usage.ts';

interface GetFlags {
  readonly output?: Output;
  readonly selector?: string;
  readonly fieldSelector?: string;
  readonly namespace: string;
  readonly allNamespaces?: boolean;
  readonly watch?: boolean;
  readonly watchOnly?: boolean;
}

export function addGet(program: Command): void {
  program
    .command('get <kinds> [names...]')
    .description('list objects of a kind, or show some; kinds: ashlar api-resources')
    .addOption(outputOption())
    .addOption(namespaceOption())
    .option('-A, --all-namespaces', 'of all namespaces')
    .option('-l, --selector <selector>', 'only those with these labels')
    .option('--field-selector <selector>', 'only those with these fields')
    .option('-w, --watch', 'go on and show changes')
    .action(async (kinds: string, names: string[], flags: GetFlags) => {
      const client = await clientOf(program);
      const wanted = await wantedOf(client, kinds, names);
      if (flags.watch === true) await watch(client, wanted, flags);
      else await show(client, wanted, flags);
    });

  program
    .command('describe <kinds> [names...]')
    .description('everything about some of them, in words, with their events')
    .addOption(namespaceOption())
    .option('-A, --all-namespaces', 'of all namespaces')
    .option('-l, --selector <selector>', 'only those with these labels')
    .action(async (kinds: string, names: string[], flags: GetFlags) => {
      const client = await clientOf(program);
      let first = true;
      for (const one of await wantedOf(client, kinds, names)) {
        for (const object of await fetchObjects(client, one, flags)) {
          if (!first) print('');
          first = false;
          for (const line of describeObject(object, await eventsOf(client, object))) print(line);
        }
      }
    });

  program
    .command('logs [pod]')
    .description('what a daemon has logged')
    .addOption(namespaceOption())
    .option('-l, --selector <selector>', 'of the pods with these labels')
    .option('-c, --container <name>', 'of this container')
    .option('-f, --follow', 'go on as it grows')
    .option('--tail <lines>', 'only the last lines')
    .action(async (pod: string | undefined, flags: LogFlags) => {
      await showLogs(await clientOf(program), pod, flags);
    });

  program
    .command('api-resources')
    .description('the kinds that the server has')
    .action(async () => {
      const kinds = await fetchKinds(await clientOf(program));
      const cells = kinds.map((kind) => [
        kind.plural,
        kind.shortNames.join(','),
        kind.apiVersion,
        String(kind.namespaced),
        kind.kind,
      ]);
      const header = ['NAME', 'SHORTNAMES', 'APIVERSION', 'NAMESPACED', 'KIND'];
      for (const line of renderCells([header, ...cells])) print(line);
    });
}

function queryOf(flags: Partial<GetFlags>, more: Record<string, string> = {}): string {
  const query = new URLSearchParams(more);
  if (flags.selector !== undefined) query.set('labelSelector', flags.selector);
  if (flags.fieldSelector !== undefined) query.set('fieldSelector', flags.fieldSelector);
  return query.size === 0 ? '' : `?${query}`;
}

const scopeOf = (flags: GetFlags): string | null =>
  flags.allNamespaces === true ? null : flags.namespace;

async function fetchObjects(
  client: Client,
  { kind, names }: Wanted,
  flags: GetFlags,
): Promise<ApiObject[]> {
  if (names.length > 0) {
    return await Promise.all(
      names.map(
        async (name) => (await client.get(pathOf(kind, flags.namespace, name))) as ApiObject,
      ),
    );
  }
  const path = pathOf(kind, scopeOf(flags), null) + queryOf(flags);
  const list = (await client.get(path)) as { items: ApiObject[] };
  return list.items.map((item) => ({ ...item, kind: kind.kind, apiVersion: kind.apiVersion }));
}

async function show(client: Client, wanted: readonly Wanted[], flags: GetFlags): Promise<void> {
  const { output = 'table' } = flags;
  if (output === 'table' || output === 'wide') {
    await showTables(client, wanted, flags, output === 'wide');
    return;
  }
  const found: { kind: Kind; objects: ApiObject[] }[] = [];
  for (const one of wanted) {
    found.push({ kind: one.kind, objects: await fetchObjects(client, one, flags) });
  }
  if (output === 'name') {
    for (const { kind, objects } of found) {
      for (const { metadata } of objects) print(`${kind.shown}/${metadata.name}`);
    }
    return;
  }
  const objects = found.flatMap((one) => one.objects);
  const [only] = objects;
  const isOne = wanted.length === 1 && wanted[0]?.names.length === 1 && only !== undefined;
  const list = {
    apiVersion: 'v1',
    kind: 'List',
    metadata: { resourceVersion: '' },
    items: objects,
  };
  printStructured(isOne ? only : list, output);
}

async function showTables(
  client: Client,
  wanted: readonly Wanted[],
  flags: GetFlags,
  wide: boolean,
): Promise<void> {
  const several = wanted.length > 1;
  let shown = 0;
  for (const one of wanted) {
    const { kind } = one;
    const tables = await fetchTables(client, one, flags);
    const [first] = tables;
    const rows = tables.flatMap((table) => table.rows);
    if (first === undefined || rows.length === 0) {
      if (!several) process.stderr.write(`No ${kind.plural} found.\n`);
      continue;
    }
    if (shown > 0) print('');
    shown += 1;
    const look = {
      wide,
      withNamespace: kind.namespaced && flags.allNamespaces === true,
      namePrefix: several ? `${kind.shown}/` : '',
    };
    for (const line of renderCells(tableCells({ ...first, rows }, look))) print(line);
  }
  if (several && shown === 0) process.stderr.write('Nothing found.\n');
}

async function fetchTables(
  client: Client,
  { kind, names }: Wanted,
  flags: GetFlags,
): Promise<ServerTable[]> {
  if (names.length === 0) {
    const path = pathOf(kind, scopeOf(flags), null) + queryOf(flags);
    return [(await client.get(path, TABLE)) as ServerTable];
  }
  const tables: ServerTable[] = [];
  for (const name of names) {
    try {
      tables.push((await client.get(pathOf(kind, flags.namespace, name), TABLE)) as ServerTable);
    } catch (error) {
      // The others are shown all the same.
      if (!(error instanceof ServerError) || names.length === 1) throw error;
      process.stderr.write(`Error from server (${error.reason}): ${error.message}\n`);
      process.exitCode = EXIT_FAILED;
    }
  }
  return tables;
}

/** What there is, then each change as a line. Ends with the process, or when the server stops. */
async function watch(client: Client, wanted: readonly Wanted[], flags: GetFlags): Promise<void> {
  const [one, ...more] = wanted;
  if (one === undefined || more.length > 0) throw new UsageError('one kind at a time is watched');
  const { output = 'table' } = flags;
  if (one.names.length > 1) throw new UsageError('one object or all of a kind are watched');
  const [name] = one.names;
  const selected =
    name === undefined ? flags : { ...flags, fieldSelector: `metadata.name=${name}` };
  const isTable = output === 'table' || output === 'wide';
  const path = pathOf(one.kind, scopeOf(flags), null) + queryOf(selected, { watch: 'true' });
  let widths: number[] = [];
  for await (const { type, object } of client.watch(path, isTable ? TABLE : 'application/json')) {
    if (type === 'BOOKMARK') continue;
    if (type === 'ERROR') {
      const { message, reason, code } = object as { message: string; reason: string; code: number };
      throw new ServerError(reason, message, code);
    }
    if (!isTable) {
      const { metadata } = object as ApiObject;
      if (output === 'name') print(`${one.kind.shown}/${metadata.name}`);
      else printStructured(object, output);
      continue;
    }
    const table = object as ServerTable;
    const look = {
      wide: output === 'wide',
      withNamespace: one.kind.namespaced && flags.allNamespaces === true,
      namePrefix: '',
    };
    widths = printWatched(table, look, widths);
  }
}

/** The columns are as wide as the first rows made them; a longer cell pushes its own line only. */
function printWatched(
  table: ServerTable,
  look: { wide: boolean; withNamespace: boolean; namePrefix: string },
  before: readonly number[],
): number[] {
  const isFirst = before.length === 0;
  const columns = isFirst ? table.columnDefinitions : lastColumns;
  lastColumns = columns;
  const cells = tableCells({ ...table, columnDefinitions: columns }, look);
  const widths = isFirst
    ? cells[0]!.map((_, index) => Math.max(...cells.map((line) => line[index]!.length)))
    : [...before];
  for (const line of isFirst ? cells : cells.slice(1)) {
    print(
      line
        .map((cell, index) => (cell || '<none>').padEnd((widths[index] ?? 0) + 3))
        .join('')
        .trimEnd(),
    );
  }
  return widths;
}
/** The server sends them once a watch. */
let lastColumns: ServerTable['columnDefinitions'] = [];

async function eventsOf(client: Client, object: ApiObject): Promise<EventFacts[]> {
  const { name, namespace, uid } = object.metadata;
  const selector = `involvedObject.name=${name},involvedObject.kind=${object.kind},involvedObject.uid=${uid ?? ''}`;
  const path = `/api/v1/namespaces/${namespace ?? 'default'}/events?fieldSelector=${encodeURIComponent(selector)}`;
  try {
    return ((await client.get(path)) as { items: EventFacts[] }).items;
  } catch (error) {
    // Who may not see events sees the object.
    if (error instanceof ServerError) return [];
    throw error;
  }
}

interface LogFlags {
  readonly namespace: string;
  readonly selector?: string;
  readonly container?: string;
  readonly follow?: boolean;
  readonly tail?: string;
}

async function showLogs(client: Client, pod: string | undefined, flags: LogFlags): Promise<void> {
  if ((pod === undefined) === (flags.selector === undefined)) {
    throw new UsageError('name a pod, or select some with -l');
  }
  const pods = `/api/v1/namespaces/${encodeURIComponent(flags.namespace)}/pods`;
  let names = pod === undefined ? [] : [pod.replace(/^pods?\//, '')];
  if (flags.selector !== undefined) {
    const list = (await client.get(pods + queryOf({ selector: flags.selector }))) as {
      items: ApiObject[];
    };
    names = list.items.map(({ metadata }) => metadata.name);
    if (names.length === 0) process.stderr.write(`No pods found in ${flags.namespace}.\n`);
  }
  const query = new URLSearchParams();
  if (flags.container !== undefined) query.set('container', flags.container);
  if (flags.follow === true) query.set('follow', 'true');
  const tail = flags.tail ?? (flags.selector === undefined ? undefined : '10');
  if (tail !== undefined && tail !== '-1')
    query.set('tailLines', String(toInteger('--tail', tail)));
  const one = async (name: string): Promise<void> => {
    const path = `${pods}/${encodeURIComponent(name)}/log?${query}`;
    for await (const chunk of client.stream(path, '*/*')) process.stdout.write(chunk);
  };
  if (flags.follow === true) await Promise.all(names.map(one));
  else for (const name of names) await one(name);
}
